"""The log survives being cut anywhere."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ganfast.train.journal import Journal, read_records


@given(
    steps=st.lists(st.integers(0, 20), min_size=1, max_size=6).map(sorted),
    cut=st.integers(0, 200),
    keep=st.integers(-1, 20),
)
def test_a_cut_log_keeps_its_whole_records_up_to_the_step(tmp_path_factory, steps, cut, keep):
    path = tmp_path_factory.mktemp("log") / "metrics.jsonl"
    written = [{"step": step, "loss_d": 0.5 + i} for i, step in enumerate(steps)]
    with Journal(path, kept=-1, step=0, steps=99) as log:
        for record in written:
            log.write(record)
    content = path.read_bytes()
    assert content == b"".join(json.dumps(r).encode() + b"\n" for r in written)

    cut = min(cut, len(content))
    path.write_bytes(content[:cut])
    with Journal(path, kept=keep, step=0, steps=99) as log:
        log.write({"step": 99})
    newlines = content[:cut].count(b"\n")
    # A last record that lacks only its newline is whole too.
    whole = newlines + content[cut : cut + 1].startswith(b"\n")
    kept = [r for r in written[:whole] if r["step"] <= keep]
    assert read_records(path) == [*kept, {"step": 99}]


@pytest.mark.parametrize("line", ["no json", "[1]", '{"loss": 1}', '{"step": "x"}'])
def test_nonsense_before_the_end_is_named(tmp_path, line):
    path = tmp_path / "metrics.jsonl"
    path.write_text(f'{{"step": 1}}\n{line}\n{{"step": 2}}\n')
    with pytest.raises(ValueError, match="line 2 is not a record"):
        read_records(path)
