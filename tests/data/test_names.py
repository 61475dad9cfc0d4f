"""Many names: in order, in groups, and in little memory."""

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ganfast.data import names
from tests.measured import peak

PARTS = st.text("ab-.\udc80é\n", min_size=1, max_size=3)
PATHS = st.lists(st.lists(PARTS, min_size=1, max_size=3).map("/".join), max_size=40)


@given(PATHS, st.integers(1, 9))
def test_names_are_kept_and_ordered_as_paths(found: list[str], room: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(names, "IN_MEMORY", room)
        patch.setattr(names, "_BLOCK", 3)
        kept = names.kept(iter(found))
        assert list(kept) == found
        assert [kept[i] for i in range(len(kept))] == found
        assert kept[1:-1] == found[1:-1]
        assert not found or kept[-1] == found[-1]
        with pytest.raises(IndexError):
            kept[len(found)]
        ordered = [path.split("/") for path in names.path_order(iter(found))]
        assert ordered == sorted(path.split("/") for path in found)


@given(PATHS, st.integers(1, 9))
def test_groups_hold_each_name_once(found: list[str], room: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(names, "IN_MEMORY", room)
        groups = names.Groups(found, lambda name: len(name) % 4, 4)
        for i in range(4):
            assert list(groups.numbers[i]) == [n for n, x in enumerate(found) if len(x) % 4 == i]
            assert groups.names(i) == [x for x in found if len(x) % 4 == i]


MANY = """
import sys
from pathlib import Path
import ganfast.evaluation, ganfast.features
from ganfast.data import file_source, listing
from ganfast.evaluation.state import Merger, Part, State

def walk(root):
    for i in range(count):
        yield f"{i % 1000:05}/img{i * 7919 % count:08}.png"

count = int(sys.argv[1])
listing.walk = walk
source = file_source.Folder(Path(), 3)
shards = source.shards()
total, found = Merger(), 0
for position, shard in enumerate(shards):
    part = shard.open()
    found += len(part)
    state = State({"features": "none"}, limit=0, n=len(part))
    total.add(state.in_part("all", Part("all", len(shards), frozenset((position,)))))
assert found == len(source) == count and len(total.state().parts["all"].positions) == len(shards)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="measures memory on Linux")
def test_ten_million_images_take_little_memory(tmp_path: Path) -> None:
    """Listed, shared out, opened and merged: 300 MB at most above the process itself."""
    least, _ = peak(MANY, tmp_path, "1000")
    most, _ = peak(MANY, tmp_path, "10000000")
    assert most - least < 300
