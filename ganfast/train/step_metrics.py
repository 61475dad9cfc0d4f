"""Losses, probabilities and diversity of each round, and whether a run has diverged."""

from typing import Any

import torch
from torch import Tensor

from ganfast.distributed import Processes
from ganfast.train.journal import Record

NAMES = ("loss_d", "d_real", "d_fake", "diversity", "loss_g")


class StepMetrics:
    """One row of figures per round, overwritten after ``rounds`` rows; read only when asked."""

    def __init__(self, rounds: int, device: torch.device, processes: Processes) -> None:
        self.rows = torch.zeros(rounds, len(NAMES), device=device)
        self._processes = processes

    def put(self, step: int, row: Tensor) -> None:
        """Keep this process's figures (5,) of round ``step`` (from 1)."""
        self.rows[(step - 1) % len(self.rows)] = row

    def means(self, step: int) -> Record:
        """Means over processes since the last full interval, up to round ``step``.

        Here the host waits.

        Raises:
            FloatingPointError: one is not finite; names the first round where.
        """
        count = (step - 1) % len(self.rows) + 1 if step else 0
        rows = self.rows[:count].double()
        self._processes.average([rows])
        rows = rows.cpu()
        for round_, row in enumerate(rows, start=step - count + 1):
            if not row.isfinite().all():
                figures = zip(NAMES, row.tolist(), strict=True)
                text = ", ".join(f"{name} {value:.4g}" for name, value in figures)
                raise FloatingPointError(f"training failed at step {round_}: {text}")
        return dict(zip(NAMES, rows.mean(0).tolist(), strict=True))


def probability(
    outputs: Tensor | list[Tensor] | tuple[Tensor, ...], from_probs: bool = False
) -> Tensor:
    """D(x): mean sigmoid over one tensor of logits, or over a list of them; or mean probability."""
    if isinstance(outputs, Tensor):
        wide = outputs.detach().float()
        return (wide if from_probs else wide.sigmoid()).mean()
    return torch.stack([probability(each, from_probs) for each in outputs]).mean()


def diversity(real: Tensor, fake: Tensor) -> Tensor:
    """Variance of fake pixels over that of real ones, each over the batch: 0 for one image alone.

    A batch of one has none to compare and gives 1.
    """
    if len(real) < 2:
        return torch.ones((), device=real.device)
    wide = [x.detach().float() for x in (real, fake)]
    spread = [(x - x.mean(0)).square().mean() for x in wide]  # var(0) itself is slow
    return spread[1] / spread[0].clamp_min(1e-12)


STRIKES = 5  # in a row that must be ill
_WON = 0.01  # of D(G(z)), and of 1 - D(x)
_COLLAPSED = 0.05  # of the diversity of real images


class Health:
    """Count records in a row in which the discriminator wins outright, or the fakes are all one.

    Where a record has ``d_real`` and ``d_fake``: D(x) > 0.99 and D(G(z)) < 0.01. Where it has
    ``diversity`` (of pixels) or ``feature_diversity`` (of a score's features): below 0.05 of that
    of real images, once it has been above. Before, the generator has only begun.

    Args:
        probabilities: D's outputs are logits or probabilities; those of a Wasserstein critic are
            not, and large differences of them are what it is for.
    """

    def __init__(self, probabilities: bool = True) -> None:
        self.probabilities = probabilities
        self.strikes: dict[str, int] = {}
        self.diverse: list[str] = []  # what has been above its threshold

    def state_dict(self) -> dict[str, Any]:
        return {"strikes": dict(self.strikes), "diverse": list(self.diverse)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.strikes, self.diverse = dict(state["strikes"]), list(state["diverse"])

    def check(self, record: Record) -> str | None:
        """What is wrong, in words, when it has been so for ``STRIKES`` records; else None."""
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
