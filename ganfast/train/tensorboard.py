"""Records for TensorBoard, where it is installed."""

from collections.abc import Callable
from pathlib import Path

from ganfast.train.log import Record


def tensorboard(out: Path) -> Callable[[Record], None]:
    """A function for ``on_record`` of a trainer: writes each figure to ``out``/tensorboard.

    Raises ValueError where TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ValueError("tensorboard is not installed: pip install tensorboard") from error
    writer = SummaryWriter(str(out / "tensorboard"))

    def write(record: Record) -> None:
        for name, value in record.items():
            if name != "step":
                writer.add_scalar(name, value, int(record["step"]))
        writer.flush()

    return write
