import json
from itertools import islice

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ganfast.data import BatchStream, ImageData, to_float


def numbered(count: int, labelled: bool = True) -> ImageData:
    """Images that show their own number, which is also their label."""
    images = torch.arange(count, dtype=torch.uint8).view(count, 1, 1, 1)
    return ImageData(images, torch.arange(count) if labelled else None, "numbered")


def numbers(batch: tuple[Tensor, Tensor | None]) -> list[int]:
    images, labels = batch
    assert labels is not None
    assert torch.equal(images, to_float(labels.to(torch.uint8).view(-1, 1, 1, 1)))
    return labels.tolist()


@given(count=st.integers(1, 40), data=st.data(), seed=st.integers(0, 2**63))
def test_an_epoch_shows_each_image_at_most_once_and_drops_the_rest(
    count: int, data: st.DataObject, seed: int
) -> None:
    size = data.draw(st.integers(1, count))
    stream = BatchStream(numbered(count), size, seed)
    per_epoch = count // size
    for _ in range(2):
        seen = [n for batch in islice(stream, per_epoch) for n in numbers(batch)]
        assert len(seen) == len(set(seen)) == per_epoch * size


@given(
    count=st.integers(2, 20), data=st.data(), before=st.integers(0, 30), seed=st.integers(0, 2**63)
)
def test_a_resumed_stream_continues_with_the_next_batch(
    count: int, data: st.DataObject, before: int, seed: int
) -> None:
    size = data.draw(st.integers(1, count))
    stream = BatchStream(numbered(count), size, seed)
    for _ in range(before):
        next(stream)
    state = json.loads(json.dumps(stream.state_dict()))
    resumed = BatchStream(numbered(count), size, seed)
    next(resumed)
    resumed.load_state_dict(state)
    for _ in range(12):
        assert numbers(next(resumed)) == numbers(next(stream))


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    stream = BatchStream(numbered(100), 100, seed=0)
    orders = [numbers(next(stream)) for _ in range(5)]
    orders += [numbers(next(BatchStream(numbered(100), 100, seed))) for seed in (1, 2)]
    assert len({tuple(order) for order in orders}) == 7
    assert list(range(100)) not in orders


def test_the_order_does_not_hang_on_the_global_generator() -> None:
    torch.manual_seed(0)
    first = numbers(next(BatchStream(numbered(50), 50, seed=3)))
    torch.manual_seed(1)
    state = torch.get_rng_state()
    assert numbers(next(BatchStream(numbered(50), 50, seed=3))) == first
    assert torch.equal(torch.get_rng_state(), state)


def test_first_places_are_uniform() -> None:
    # 2,000 epochs of 5 images: each opens 400 times; 100 is more than 5 standard deviations (17.9).
    stream = BatchStream(numbered(5), 5, seed=0)
    first = torch.tensor([numbers(next(stream))[0] for _ in range(2000)])
    assert (first.bincount(minlength=5) - 400).abs().max() < 100


def test_batches_are_floats_with_int64_labels_or_none() -> None:
    images, labels = next(BatchStream(numbered(4), 3, seed=0))
    assert (images.dtype, images.shape) == (torch.float32, (3, 1, 1, 1))
    assert labels is not None
    assert (labels.dtype, labels.shape) == (torch.int64, (3,))
    assert next(BatchStream(numbered(4, labelled=False), 3, seed=0))[1] is None


def test_settings_that_cannot_be() -> None:
    for size in (0, 5):
        with pytest.raises(ValueError, match=f"batch_size must be from 1 to 4, .* got {size}"):
            BatchStream(numbered(4), size, seed=0)
    with pytest.raises(ValueError, match="seed must be at least 0, got -1"):
        BatchStream(numbered(4), 2, seed=-1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "must have seed = 0, as this stream has, got 1"),
        ({"batch_size": 3}, "must have batch_size = 2, as this stream has, got 3"),
        ({"images": 5}, "must have images = 4, as this stream has, got 5"),
        ({"batch": 3}, r"batch from 0 to 2, got epoch = 0, batch = 3"),
        ({"epoch": -1}, "got epoch = -1"),
        ({"extra": 0}, "must have the keys"),
    ],
)
def test_a_state_of_another_stream_is_refused(change: dict[str, int], message: str) -> None:
    stream = BatchStream(numbered(4), 2, seed=0)
    with pytest.raises(ValueError, match=message):
        stream.load_state_dict({**stream.state_dict(), **change})
    assert stream.state_dict() == {"seed": 0, "batch_size": 2, "images": 4, "epoch": 0, "batch": 0}


@given(parts=st.integers(1, 4), share=st.integers(1, 4), data=st.data())
def test_parts_of_a_batch_make_it_up(parts: int, share: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(parts * share, 40))
    whole = BatchStream(numbered(count), parts * share, seed=1)
    streams = [BatchStream(numbered(count), parts * share, 1, (k, parts)) for k in range(parts)]
    for _ in range(5):
        together = [n for stream in streams for n in numbers(next(stream))]
        assert together == numbers(next(whole))
    assert [stream.state_dict() for stream in streams] == [whole.state_dict()] * parts


def test_parts_must_be_equal() -> None:
    with pytest.raises(ValueError, match="must be a multiple of 2, the number of processes"):
        BatchStream(numbered(9), 3, 0, (0, 2))


def test_mirrored_batches_are_flipped_by_halves_and_resume() -> None:
    images = torch.arange(40 * 6, dtype=torch.uint8).view(40, 1, 1, 6)
    whole = ImageData(images, torch.arange(40), "rows")

    def rows(stream: BatchStream, count: int) -> list[tuple[int, bool]]:
        found = []
        for _ in range(count):
            pixels, labels = next(stream)
            assert labels is not None
            for row, label in zip(pixels, labels.tolist(), strict=True):
                original = to_float(images[label])
                flipped = not torch.equal(row, original)
                assert torch.equal(row, original.flip(2) if flipped else original)
                found.append((label, flipped))
        return found

    stream = BatchStream(whole, 8, seed=3, mirror=True)
    plain = BatchStream(whole, 8, seed=3)
    seen = rows(stream, 10)  # two epochs
    assert [label for label, _ in seen] == [label for label, _ in rows(plain, 10)]
    flips = [flipped for _, flipped in seen]
    assert 20 < sum(flips) < 60
    assert flips[:40] != flips[40:]
    position = stream.state_dict()
    following = rows(stream, 7)
    other = BatchStream(whole, 8, seed=3, mirror=True)
    other.load_state_dict(position)
    assert rows(other, 7) == following
    parts = [BatchStream(whole, 8, seed=3, part=(k, 2), mirror=True) for k in range(2)]
    assert rows(parts[0], 1) + rows(parts[1], 1) == seen[:8]
