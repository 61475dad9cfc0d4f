"""Batches of decoded images: all images in order, and no more bytes than there may be."""

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from ganfast.data.image_source import Arrays
from ganfast.evaluation import collect
from ganfast.features import Encoder


def encoder(size: int) -> Encoder:
    def net(images: Tensor, layers: tuple[str, ...]) -> Mapping[str, Tensor]:
        return {"features": images.float().mean((2, 3))}

    mode = "clean" if size else "none"
    settings = {"weights": "none"}
    return Encoder(net, "FD (means)", ("features",), 3, size, mode, settings=settings)


@pytest.mark.parametrize(
    ("size", "most", "expected"),
    [
        (0, 10**9, [7, 7, 6]),
        (0, 1, [2, 2, 2, 1] * 2 + [2, 2, 2]),  # two are read at a time on two cores
        (0, 700, [4, 3, 4, 3, 4, 2]),
        (8, 10**9, [7, 7, 6]),
        (8, 1, [3, 3, 1, 3, 3, 1, 3, 3]),
    ],
)
def test_a_batch_ends_where_its_images_are_large(
    monkeypatch: pytest.MonkeyPatch, size: int, most: int, expected: list[int]
) -> None:
    """Twenty images of 192 bytes, in batches of seven."""
    monkeypatch.setattr(collect.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(collect, "_AT_ONCE", 3)
    monkeypatch.setattr(collect, "_MOST_SHRUNK" if size else "_MOST_WHOLE", most)
    images = torch.randint(256, (20, 3, 8, 8), dtype=torch.uint8)
    source = Arrays(images, "random", 3)
    work = collect.Work(encoder(size), batch_size=7)
    batches = list(collect._ahead(collect._batches(source.shards(), work)))
    assert [len(batch.content) for batch in batches] == expected
    assert torch.equal(torch.stack([x for batch in batches for x in batch.content]), images)
    assert [batch.end for batch in batches] == torch.tensor(expected).cumsum(0).tolist()
    found = collect.collect(source, work)
    torch.testing.assert_close(found.rows["features"], images.float().mean((2, 3)))
