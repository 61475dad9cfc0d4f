"""Write a synthetic data set in the formats that others read."""

import io
import json
from pathlib import Path
from typing import Literal

import numpy as np
from torch import Tensor

from ganfast._files import atomic_write
from ganfast.reporting import images

Format = Literal["npz", "folder", "parquet", "safetensors"]

_ROWS = 1000  # in a group of the parquet file


def export(out: Path, made: Tensor, labels: Tensor, form: Format, names: list[str]) -> None:
    """Write uint8 images (N, C, H, W) and int64 labels (N,), whose classes have names, in a format.

    ``safetensors`` are the shards, which are there.
    """
    if form == "npz":
        with atomic_write(out / "data.npz") as file:
            np.savez_compressed(file, images=made.numpy(), labels=labels.numpy())
    if form == "folder":
        for i, (image, label) in enumerate(zip(made, labels.tolist(), strict=True)):
            path = out / "images" / names[label] / f"{i:06d}.png"
            if not path.exists():
                images.write_png(images.grid(image[None], padding=0), path)
    if form == "parquet":
        _write_parquet(out / "data.parquet", made, labels, names)


def _write_parquet(path: Path, made: Tensor, labels: Tensor, names: list[str]) -> None:
    """Write rows of an image and a label, as the Hugging Face datasets library reads them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    feature = {
        "image": {"_type": "Image"},
        "label": {"names": names, "_type": "ClassLabel"},
    }
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema(
        [("image", kind), ("label", pa.int64())],
        metadata={"huggingface": json.dumps({"info": {"features": feature}})},
    )
    with atomic_write(path) as file, pq.ParquetWriter(file, schema) as writer:
        for start in range(0, len(made), _ROWS):
            part = range(start, min(start + _ROWS, len(made)))
            pictures = [{"bytes": _png(made[i]), "path": f"{i:06d}.png"} for i in part]
            columns = [pa.array(pictures, kind), pa.array(labels[part.start : part.stop].tolist())]
            writer.write_table(pa.table(columns, schema=schema))


def _png(image: Tensor) -> bytes:
    file = io.BytesIO()
    images.grid(image[None], padding=0).save(file, format="PNG")
    return file.getvalue()
