"""Losses, probabilities and diversity of each round, and signs of divergence in them."""

from typing import Any

import torch
from torch import Tensor

from ganfast.distributed import Processes
from ganfast.train.journal import Record

NAMES = ("loss_d", "d_real", "d_fake", "diversity", "loss_g")


class StepMetrics:
    """One row of metrics per round on the device, overwritten after ``rounds`` rows.

    The host reads them in ``means`` alone.
    """

    def __init__(self, rounds: int, device: torch.device, processes: Processes) -> None:
        self.rows = torch.zeros(rounds, len(NAMES), device=device)
        self._processes = processes
        self._since = 0  # the rows of rounds up to this one are not known

    def put(self, step: int, row: Tensor) -> None:
        """Store this process's metrics (5,) of round ``step`` (from 1)."""
        self.rows[(step - 1) % len(self.rows)] = row

    def means(self, step: int) -> Record:
        """Return the means over processes since the last full interval, up to round ``step``.

        The host waits for the device here.

        Raises:
            FloatingPointError: a metric is not finite; the error names the first such round.
        """
        count = (step - 1) % len(self.rows) + 1 if step else 0
        first = max(step - count, self._since)
        rows = self.rows[count - (step - first) : count].double()
        self._processes.average([rows])
        rows = rows.cpu()
        for round_, row in enumerate(rows, start=first + 1):
            if not row.isfinite().all():
                values = zip(NAMES, row.tolist(), strict=True)
                text = ", ".join(f"{name} {value:.4g}" for name, value in values)
                raise FloatingPointError(f"training failed at step {round_}: {text}")
        return dict(zip(NAMES, rows.mean(0).tolist(), strict=True))

    def restore(self, saved: Tensor, step: int) -> None:
        """Take the rows of a run that is at round ``step``, also with another number of rounds.

        Raises:
            ValueError: they are no rows of metrics.
        """
        if saved.dim() != 2 or saved.shape[1] != len(NAMES) or not len(saved):
            raise ValueError(
                f"figures must have shape (rounds, {len(NAMES)}), got {tuple(saved.shape)}"
            )
        known = min(step, len(saved), len(self.rows))
        self._since = 0 if len(saved) == len(self.rows) else step - known
        if not self._since:
            self.rows[: len(saved)] = saved[: len(self.rows)].to(self.rows)
        for round_ in range(self._since + 1, step + 1) if self._since else ():
            self.put(round_, saved[(round_ - 1) % len(saved)])


def mean_output(
    outputs: Tensor | list[Tensor] | tuple[Tensor, ...], as_they_are: bool = False
) -> Tensor:
    """Return D(x): the mean sigmoid of logits, a tensor or a list of tensors.

    With ``as_they_are`` the mean is that of the outputs themselves, which are probabilities already
    or never are.
    """
    if isinstance(outputs, Tensor):
        values = outputs.detach().float()
        return (values if as_they_are else values.sigmoid()).mean()
    return torch.stack([mean_output(each, as_they_are) for each in outputs]).mean()


def diversity(real: Tensor, fake: Tensor) -> Tensor:
    """Return the variance of fake pixels over the batch, divided by that of real pixels.

    It is 0 if all fakes are equal, and 1 for a batch of one image, which has nothing to compare.
    """
    if len(real) < 2:
        return torch.ones((), device=real.device)
    # var(0) itself is slow.
    real_variance, fake_variance = (
        (x - x.mean(0)).square().mean() for x in (real.detach().float(), fake.detach().float())
    )
    return fake_variance / real_variance.clamp_min(1e-12)


STRIKES = 5  # bad records in a row that mean divergence
_WON = 0.01  # upper bound of D(G(z)) and of 1 - D(x)
_COLLAPSED = 0.05  # share of the diversity of real images


class Health:
    """Count the records in a row that show an overpowering discriminator or a collapsed generator.

    The discriminator wins outright if D(x) > 0.99 and D(G(z)) < 0.01 (``d_real`` and ``d_fake``).
    The generator has collapsed if ``diversity`` (of pixels) or ``feature_diversity`` (of a score's
    features) is below 0.05 of that of real images after having been above: a generator that has
    only begun is not diverse yet.

    Args:
        probabilities: the discriminator's outputs are logits or probabilities. A Wasserstein
            critic's are neither, and it is meant to make their differences large.
    """

    def __init__(self, probabilities: bool = True) -> None:
        self.probabilities = probabilities
        self.strikes: dict[str, int] = {}
        self.diverse: list[str] = []  # metrics that have been above the threshold

    def state_dict(self) -> dict[str, Any]:
        return {"strikes": dict(self.strikes), "diverse": list(self.diverse)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.strikes, self.diverse = dict(state["strikes"]), list(state["diverse"])

    def check(self, record: Record) -> str | None:
        """Return a description of what has been wrong for ``STRIKES`` records, or None."""
        signs = []
        if self.probabilities and "d_real" in record:
            real, fake = record["d_real"], record["d_fake"]
            words = f"the discriminator wins outright, D(x) {real:.4f} and D(G(z)) {fake:.4f}"
            signs.append(("d_wins", real > 1 - _WON and fake < _WON, words))
        for name in ("diversity", "feature_diversity"):
            if name in record:
                words = f"the generator has collapsed, its {name} is {record[name]:.3f} of real"
                low = record[name] < _COLLAPSED
                signs.append((name, low and name in self.diverse, words))
                if not low and name not in self.diverse:
                    self.diverse.append(name)
        found = None
        for name, wrong, words in signs:
            count = self.strikes.pop(name, 0) + 1
            if wrong:
                self.strikes[name] = count
                found = words if count >= STRIKES else found
        return found
