"""Progress bars of long work."""

import sys
from typing import Any

from ganfast.distributed import is_first


def progress_bar(name: str, n: int | None, quiet: bool) -> Any:
    """Return a bar with images/s, shown by the first process on a terminal.

    With ``n`` known it also shows the time left.
    """
    from tqdm import tqdm

    hidden = quiet or not sys.stderr.isatty() or not is_first()
    return tqdm(total=n, desc=name, unit="img", dynamic_ncols=True, disable=hidden)
