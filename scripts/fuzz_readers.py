"""Read damaged files of every kind, and stop at the first error that no reader documents.

A case that takes more than ten seconds, or a kind that takes more than 512 MiB, is an error too.

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
_MOST = 512  # MiB that the process grows by


def main(cases: int, seed: int) -> None:
    warnings.simplefilter("ignore")
    begun = memory()
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
        more = memory() - begun
        print(f"{name:18} {refused} refused, slowest {slowest:.2f} s, {more} MiB more at most")
        if more > _MOST:
            sys.exit(f"{name}: took {more} MiB")


def memory() -> int:
    """Return the peak of this process in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


if __name__ == "__main__":
    main(*(int(word) for word in (*sys.argv[1:], *("20000", "0")[len(sys.argv) - 1 :])))
