"""Losses and probabilities of the last rounds, kept on the device."""

import torch
from torch import Tensor

from ganfast.train.log import Record

NAMES = ("loss_d", "d_real", "d_fake", "loss_g")


class Figures:
    """One row of figures per round, overwritten after ``rounds`` rows; read only when asked."""

    def __init__(self, rounds: int, device: torch.device) -> None:
        self.rows = torch.zeros(rounds, len(NAMES), device=device)

    def put(self, step: int, d_figures: list[Tensor], g_losses: list[Tensor]) -> None:
        """Keep the means over the optimizer steps of round ``step`` (from 1)."""
        row = torch.cat([torch.stack(d_figures).mean(0), torch.stack(g_losses).mean(0)[None]])
        self.rows[(step - 1) % len(self.rows)] = row

    def means(self, step: int) -> Record:
        """Means since the last full interval, up to round ``step``; here the host waits.

        Raises:
            FloatingPointError: one is not finite; names the first round where.
        """
        count = (step - 1) % len(self.rows) + 1 if step else 0
        rows = self.rows[:count].double().cpu()
        for round_, row in enumerate(rows, start=step - count + 1):
            if not row.isfinite().all():
                figures = zip(NAMES, row.tolist(), strict=True)
                text = ", ".join(f"{name} {value:.4g}" for name, value in figures)
                raise FloatingPointError(f"training failed at step {round_}: {text}")
        return dict(zip(NAMES, rows.mean(0).tolist(), strict=True))


def probability(logits: Tensor | list[Tensor] | tuple[Tensor, ...]) -> Tensor:
    """D(x): mean sigmoid over one tensor of logits, or over a list of them."""
    if isinstance(logits, Tensor):
        return logits.detach().float().sigmoid().mean()
    return torch.stack([probability(each) for each in logits]).mean()
