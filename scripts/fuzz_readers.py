"""Read damaged files of every kind, and stop at the first error that no reader documents.

    python scripts/fuzz_readers.py [CASES] [SEED]

Run it from the root of the checkout. It prints the slowest case and the memory of the process for
each kind of file, and keeps a file that fails as ``fuzz-failure.*``.
"""

import random
import resource
import sys
import tempfile
import time
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests import fuzz

_SLOWEST = 10.0  # seconds of a case


def main(cases: int, seed: int) -> None:
    warnings.simplefilter("ignore")
    for name, reader in fuzz.READERS.items():
        whole, refused, slowest = reader.whole(), 0, 0.0
        for number in range(cases // len(fuzz.READERS)):
            content = fuzz.mutated(whole, random.Random(f"{name} {seed} {number}"))
            with tempfile.TemporaryDirectory() as folder:
                start = time.perf_counter()
                try:
                    refused += fuzz.try_one(reader, content, Path(folder)) is not None
                except BaseException:
                    failure = Path(f"fuzz-failure.{reader.ending}")
                    failure.write_bytes(content)
                    print(f"{name}, case {number}: see {failure}", file=sys.stderr)
                    raise
            slowest = max(slowest, time.perf_counter() - start)
            if slowest > _SLOWEST:
                sys.exit(f"{name}, case {number}: took {slowest:.0f} s")
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        print(f"{name:15} {refused} refused, slowest {slowest:.2f} s, at most {memory} MiB so far")


if __name__ == "__main__":
    main(*(int(word) for word in (*sys.argv[1:], *("20000", "0")[len(sys.argv) - 1 :])))
