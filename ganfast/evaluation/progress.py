"""Progress bars of long work."""

import sys
from typing import Any

from ganfast.distributed import is_first


def progress_bar(name: str, n: int, quiet: bool) -> Any:
    """Return a bar with images/s and the time left, shown by the first process on a terminal."""
    from tqdm import tqdm

    hidden = quiet or not sys.stderr.isatty() or not is_first()
    return tqdm(total=n, desc=name, unit="img", dynamic_ncols=True, disable=hidden)
