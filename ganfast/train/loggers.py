"""Loggers for ``on_record``: TensorBoard, and Weights & Biases."""

import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ganfast._files import atomic_write
from ganfast.train.journal import Record


def tensorboard(out: Path) -> Callable[[Record], None]:
    """Return a function for a trainer's ``on_record`` that writes to ``out``/tensorboard.

    Raises:
        ValueError: TensorBoard is not installed.
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


def wandb(project: str, out: Path, settings: Mapping[str, Any]) -> Callable[[Record], None]:
    """Return a function for a trainer's ``on_record`` that logs to Weights & Biases.

    ``out``/wandb-run names the run there, so that a resumed run continues it. Set
    WANDB_MODE=offline to log without a network.

    Raises:
        ValueError: wandb is not installed.
    """
    try:
        import wandb as client
    except ImportError as error:
        raise ValueError("wandb is not installed: pip install wandb") from error
    name, run = out / "wandb-run", None

    def write(record: Record) -> None:
        nonlocal run
        if run is None:  # starts with the first record
            if not name.exists():
                with atomic_write(name) as file:
                    file.write(uuid.uuid4().hex[:8].encode())
            run = client.init(
                project=project, dir=str(out), id=name.read_text(), resume="allow",
                config=dict(settings),
            )  # fmt: skip
        values = {key: value for key, value in record.items() if key != "step"}
        run.log(values, step=int(record["step"]))

    return write
