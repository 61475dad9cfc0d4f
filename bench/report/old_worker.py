"""Times the cases of one source tree, as asked: python old_worker.py TREE DEVICE

Requests and answers are lines of JSON. It knows of the tree's benchmarks what all trees have had:
`collect.all_cases`, `kit.call`, `kit.inputs`, and the fields of a case.
"""

import itertools
import json
import os
import sys
import time
from pathlib import Path
from typing import Any


class Worker:
    """Cases of a tree, one of them ready to run."""

    def __init__(self, tree: str, device: str) -> None:
        folder = Path(tree).resolve()
        sys.path[0] = str(folder)  # before what is installed, and in place of this file's folder
        import ganfast
        from bench import collect, kit

        if not Path(str(ganfast.__file__)).resolve().is_relative_to(folder):
            raise ImportError(f"ganfast comes from {ganfast.__file__}")
        self._kit: Any = kit
        self._device = device
        self._info = ganfast.build_info()
        self._cases = {
            (case.family, case.name): case
            for case in collect.all_cases()
            if device in case.devices and kit.SUBJECT in case.providers
        }

    def cases(self) -> list[list[Any]]:
        """Family, name and modes of each case."""
        return [[*key, case.modes] for key, case in self._cases.items()]

    def info(self) -> dict[str, Any]:
        """What the kernels are."""
        return self._info

    def prepare(self, family: str, name: str, mode: str) -> float:
        """Make a case the next to run; seconds of a call."""
        case = self._cases[family, name]
        self._run, self._mode = case.providers[self._kit.SUBJECT], mode
        first, self._pool = self._kit.inputs(case, mode, self._device)
        self._kit.call(self._run, mode, first)
        return self.block(1)

    def block(self, calls: int) -> float:
        """Seconds of a call, mean of a block."""
        inputs = list(itertools.islice(self._pool, calls))
        self._wait()
        start = time.perf_counter()
        for x in inputs:
            self._kit.call(self._run, self._mode, x)
        self._wait()
        return (time.perf_counter() - start) / calls

    def _wait(self) -> None:
        if self._device == "cuda":
            import torch

            torch.cuda.synchronize()


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    worker: Worker | None = None
    for line in sys.stdin:
        try:
            if worker is None:
                worker = Worker(*sys.argv[1:])
            name, *arguments = json.loads(line)
            answer = {"value": getattr(worker, name)(*arguments)}
        except Exception as error:
            words = str(error).strip().partition("\n")[0]
            answer = {"error": f"{type(error).__name__}: {words}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
