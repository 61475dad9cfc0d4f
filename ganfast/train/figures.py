"""Losses, probabilities and diversity in the last rounds, kept on the device."""

import torch
from torch import Tensor

from ganfast.train.log import Record
from ganfast.train.processes import Processes

NAMES = ("loss_d", "d_real", "d_fake", "diversity", "loss_g")


class Figures:
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
