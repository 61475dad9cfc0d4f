"""Stop between two steps when asked to."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class StopSignal:
    """Within the block, turn the first Ctrl-C, and the first SIGTERM, into ``received``.

    The next one of its kind acts. torchrun passes on a Ctrl-C as a SIGTERM that comes on top.
    """

    def __init__(self) -> None:
        self.received = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "StopSignal":
        if threading.current_thread() is threading.main_thread():  # Python allows it only there
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        self._before.clear()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received = True
        before = self._before.pop(signal.Signals(number))
        signal.signal(number, before if before is not None else signal.SIG_DFL)
