"""What a person sees while a run goes on: a bar on a terminal, a few plain lines elsewhere."""

import sys
from typing import Any

from ganfast.train.log import Record

_PLAIN_LINES = 20  # at most, in a whole run


class Progress:
    """Show the newest figures of a run of ``steps`` rounds that starts after ``step``."""

    def __init__(self, steps: int, step: int) -> None:
        self._steps, self._step = steps, step
        self._lines = self._due()
        self._figures: Record = {}
        self._bar: Any = None
        if sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=steps, initial=step, unit="step", dynamic_ncols=True)

    def advance(self) -> None:
        self._step += 1
        if self._bar is not None:
            self._bar.update()

    def show(self, figures: Record) -> None:
        self._figures.update(figures)
        text = ", ".join(f"{k} {v:.4g}" for k, v in self._figures.items() if k != "step")
        if self._bar is not None:
            self._bar.set_postfix_str(text)
        elif self._due() > self._lines:
            self._lines = self._due()
            print(f"step {self._step}/{self._steps}: {text}", file=sys.stderr, flush=True)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()

    def _due(self) -> int:
        return self._step * _PLAIN_LINES // self._steps
