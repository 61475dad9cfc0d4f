"""Exact resume with every state there is, damaged checkpoints, retention, the best, divergence."""

import copy
import itertools
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from ganfast.models.checkpoint import load
from ganfast.train import Relativistic
from ganfast.train.health import STRIKES, Health

sys.path.insert(0, str(Path(__file__).parent))
import toy
from test_trainer import assert_same_state, records, state, stop_at


class Labelled(toy.Stream):
    def __next__(self):
        images, _ = super().__next__()
        return images, torch.randint(3, (8,), generator=self.generator)


class With(nn.Module):
    """A toy network that takes labels."""

    def __init__(self, body):
        super().__init__()
        self.body, self.scale = body, nn.Embedding(3, 1)

    def forward(self, x, labels):
        return self.body(x) * self.scale(labels).view(-1, *(1,) * (self.body(x).dim() - 1))


def conditional():
    torch.manual_seed(7)
    return {"g": With(toy.generator()), "d": With(toy.discriminator()), "data": Labelled()}


@pytest.mark.parametrize(
    ("changes", "loss", "parts"),
    [
        ({"penalty": "r1_r2", "penalty_every": 3, "lecam": 0.1}, None, dict),
        ({"penalty": "wgan_gp", "consistency": 1.0, "clip_weights": 0.2}, Relativistic(), dict),
        ({"penalty": "dragan", "lr_decay": "cosine", "clip_gradients": 0.1}, None, dict),
        ({"classes": 3, "accumulate": 2, "penalty": "r1", "lecam": 0.1}, None, conditional),
        ({"precision": "bf16", "lr_decay": "linear"}, None, dict),
        ({"precision": "fp16", "reuse_fakes": True}, None, dict),
    ],
    ids=["r1_r2+lecam", "wgan_gp+cr", "dragan+decay", "conditional", "bf16", "fp16"],
)
def test_all_state_is_in_the_checkpoint(tmp_path, changes, loss, parts):
    def make(out, step=0):
        hooks = stop_at(step)
        return toy.trainer(out, loss=loss, hooks=hooks, sample_every=1, **parts(), **changes)

    whole = make(tmp_path / "whole")
    assert whole.run()
    assert not make(tmp_path / "parts", 7).run()
    torch.manual_seed(99)
    second = make(tmp_path / "parts")
    second.resume()
    assert second.run()
    assert_same_state(state(whole), state(second))
    assert records(tmp_path / "whole") == records(tmp_path / "parts")


@pytest.mark.parametrize(
    ("batch", "error", "message"),
    [
        (torch.zeros(8, 1, 6, 6), TypeError, r"int64 labels .*got NoneType"),
        ((torch.zeros(8, 1, 6, 6), torch.zeros(8)), TypeError, "float32"),
        ((torch.zeros(8, 1, 6, 6), torch.zeros(7).long()), ValueError, r"\(8,\), got \(7,\)"),
        ({"images": torch.zeros(8, 1, 6, 6), "labels": torch.ones(8).long() * 3}, ValueError, "3"),
    ],
)
def test_wrong_labels_are_refused(tmp_path, batch, error, message):
    with pytest.raises(error, match=message):
        toy.trainer(tmp_path, **{**conditional(), "data": [batch]}, classes=3).run()


def test_a_discriminator_for_other_images_is_named(tmp_path):
    d = nn.Sequential(nn.Flatten(), nn.Linear(35, 1))
    message = r"discriminator must accept images of shape \(8, 1, 6, 6\), got"
    with pytest.raises(ValueError, match=message):
        toy.trainer(tmp_path, d=d).run()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    assert toy.trainer(out, keep_checkpoints=2).run()
    return out


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_damaged_checkpoint_is_named_or_changes_nothing(run, tmp_path_factory, data):
    path = tmp_path_factory.mktemp("damaged") / "checkpoint.pt"
    content = bytearray((run / "checkpoint.pt").read_bytes())
    before = load(run / "checkpoint.pt")
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    else:
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        after = load(path)
    except ValueError as error:
        said = str(error)
    else:
        said = str(path)
        assert_same_state(before, after)
    assert str(path) in said


def test_the_checkpoint_before_a_damaged_one_is_offered_and_resumes(run, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(run, out)
    content = bytearray((out / "checkpoint.pt").read_bytes())
    content[len(content) // 2] ^= 1
    (out / "checkpoint.pt").write_bytes(content)
    trainer = toy.trainer(out, keep_checkpoints=2)
    with pytest.raises(
        ValueError, match=r"cannot be read.*checkpoint-00000009\.pt is older and intact"
    ):
        trainer.resume()
    trainer.resume(out / "checkpoint-00000009.pt")
    assert trainer.step == 9
    assert trainer.run()
    assert_same_state(state(trainer), state(toy.trainer(run, keep_checkpoints=2)))
    assert records(out) == records(run)


@pytest.mark.parametrize(("keep", "older"), [(1, []), (2, [9]), (3, [9, 6]), (9, [9, 6, 3])])
def test_as_many_checkpoints_are_kept(tmp_path, keep, older):
    toy.trainer(tmp_path, keep_checkpoints=keep).run()
    names = sorted(p.name for p in tmp_path.glob("*.pt"))
    assert names == [f"checkpoint-{step:08d}.pt" for step in sorted(older)] + ["checkpoint.pt"]
    assert [load(tmp_path / name)["step"] for name in names] == [*sorted(older), 12]


@pytest.mark.slow
def test_a_hundred_deaths_at_random_moments(tmp_path, restored_threads):
    torch.set_num_threads(1)
    program = Path(toy.__file__).with_name("killed.py")
    done = subprocess.run(
        [sys.executable, program, tmp_path / "killed", "100"],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    steps = [step for step, _, _ in lines]
    assert len(lines) == 100
    assert {number for _, number, _ in lines} == {signal.SIGALRM}
    # Each took up what the one before left, and lost one round at most.
    assert all(later > earlier for earlier, later in itertools.pairwise(steps))
    torn = [left for _, _, left in lines]
    assert max(torn) == 1  # the next one cleans up
    assert sum(torn) >= 5, "hardly a death was within a save"

    hooks = {"on_sample": lambda step, images: None}
    whole = toy.trainer(tmp_path / "whole", hooks=hooks, steps=steps[-1], **toy.EVERY_ROUND)
    assert whole.run()
    killed = load(tmp_path / "killed" / "checkpoint.pt")
    expected = state(whole)
    for name in ("seconds", "options"):
        killed.pop(name, None)
        expected.pop(name, None)
    assert_same_state(killed, expected)


def scored(*scores):
    """A score that gives these in turn."""
    values = iter(scores)
    return {"score": lambda ema: {"fd": next(values)}}


def test_the_best_is_kept_and_patience_ends_the_run(tmp_path):
    hooks = scored(9.0, 5.0, 2.0, 3.0, 2.5, 1.0)
    trainer = toy.trainer(tmp_path, score_every=1, patience=2, hooks=hooks)
    assert trainer.run()
    assert trainer.step == 4
    assert load(trainer.best_path)["step"] == 2
    assert load(trainer.best_path)["best"] == 2.0
    assert load(trainer.checkpoint_path)["step"] == 4
    assert [r["fd"] for r in records(tmp_path) if "fd" in r] == [9.0, 5.0, 2.0, 3.0, 2.5]


def test_patience_needs_its_score(tmp_path):
    with pytest.raises(ValueError, match="patience must be 0 without a score, got"):
        toy.trainer(tmp_path, score_every=1, patience=2)
    hooks = {"score": lambda ema: {"kid": 1.0}}
    with pytest.raises(ValueError, match=r"best_by must be one of the scores \['kid', 'step'\]"):
        toy.trainer(tmp_path, score_every=1, patience=2, hooks=hooks).run()


def test_patience_is_remembered(tmp_path):
    changes = {"score_every": 1, "patience": 3, "checkpoint_every": 1}
    toy.trainer(tmp_path, steps=3, hooks=scored(1.0, 2.0, 2.0, 0.5), **changes).run()
    longer = toy.trainer(tmp_path, hooks=scored(0.7, 0.6, 0.8), **changes)
    longer.resume()
    assert longer.run()
    assert longer.step == 6


@given(ill=st.lists(st.booleans(), max_size=30))
def test_health_wants_several_records_in_a_row(ill):
    health, row = Health(), 0
    for wrong in ill:
        row = row + 1 if wrong else 0
        record = {"step": 1, "d_real": 0.999, "d_fake": 0.001 if wrong else 0.02}
        found = health.check(record)
        assert (found is not None) == (row >= STRIKES)
        assert health.strikes == ({"d_wins": row} if row else {})


@pytest.mark.parametrize("name", ["diversity", "feature_diversity"])
def test_collapse_is_named(name):
    health = Health(probabilities=False)
    critic = {"d_real": 1.0, "d_fake": 0.0}
    for _ in range(2 * STRIKES):  # it has only begun
        assert health.check({"step": 1, name: 0.04, **critic}) is None
    assert health.check({"step": 1, name: 0.5, **critic}) is None
    for _ in range(STRIKES - 1):
        assert health.check({"step": 1, name: 0.04, **critic}) is None
    assert f"collapsed, its {name} is 0.040" in health.check({"step": 1, name: 0.04, **critic})
    assert health.check({"step": 1, name: 0.06}) is None


class Winning(toy.NonSaturating):
    """A loss from which the generator learns nothing."""

    def discriminator(self, real_logits, fake_logits):
        return super().discriminator(real_logits - 8, fake_logits + 8)

    def generator(self, fake_logits):
        return 0.0 * fake_logits.mean()


def separable():
    torch.manual_seed(6)
    d = nn.Sequential(nn.Flatten(), nn.Linear(36, 10), nn.Softplus(), nn.Linear(10, 1))
    return {"d": d, "data": [torch.arange(288.0).view(8, 1, 6, 6) / 288 + 5], "loss": Winning()}


WINNING = {"steps": 200, "lr_d": 0.01, "log_every": 5, "checkpoint_every": 5}


def test_a_run_in_which_the_discriminator_wins_is_stopped(tmp_path):
    with pytest.raises(FloatingPointError, match=r"diverged at step .*discriminator wins outright"):
        toy.trainer(tmp_path, **separable(), divergence="stop", **WINNING).run()
    last = records(tmp_path)[-1]
    assert last["d_real"] > 0.99
    assert last["d_fake"] < 0.01
    assert load(tmp_path / "checkpoint.pt")["step"] == last["step"] - 5


def test_or_it_is_said_and_goes_on(tmp_path):
    with pytest.warns(UserWarning, match="discriminator wins outright"):
        assert toy.trainer(tmp_path, **separable(), **{**WINNING, "steps": 100}).run()


def test_or_it_rolls_back_three_times(tmp_path):
    trainer = toy.trainer(tmp_path, **separable(), divergence="roll_back", **WINNING)
    with (
        pytest.warns(UserWarning, match="rolled back to step"),
        pytest.raises(FloatingPointError, match="wins outright"),
    ):
        trainer.run()
    assert trainer.rollbacks == 3
    assert trainer._steps.optimizer_d.param_groups[0]["lr"] == pytest.approx(0.01 / 8)


class BreaksOnce(toy.NonSaturating):
    calls = 0

    def generator(self, fake_logits):
        self.calls += 1
        return super().generator(fake_logits) * (float("nan") if self.calls == 8 else 1.0)


def test_a_loss_that_is_not_finite_rolls_back_to_the_checkpoint(tmp_path):
    trainer = toy.trainer(tmp_path, loss=BreaksOnce(), divergence="roll_back", log_every=1)
    with pytest.warns(UserWarning, match=r"step 8: .*rolled back to step 6"):
        assert trainer.run()
    assert trainer.step == 12
    assert trainer.rollbacks == 1
    assert [r["step"] for r in records(tmp_path)] == list(range(1, 13))
    fresh = toy.trainer(tmp_path, divergence="roll_back", log_every=1)
    fresh.resume()
    assert fresh.rollbacks == 1


def test_with_no_checkpoint_there_is_no_way_back(tmp_path):
    trainer = toy.trainer(
        tmp_path, loss=BreaksOnce(), divergence="roll_back", log_every=1, checkpoint_every=0
    )
    with pytest.raises(FloatingPointError, match="step 8"):
        trainer.run()


def test_records_reach_the_users_own_log(tmp_path):
    seen = []
    hooks = {"on_record": lambda record: seen.append(copy.copy(record)), **scored(3.0, 2.0)}
    toy.trainer(tmp_path, steps=6, log_every=3, score_every=6, hooks=hooks).run()
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert seen == [json.loads(line) for line in lines]
    assert len(seen) == 4


VALUES = (7, "x", {}, [], {"a": 1}, torch.zeros(3))
PARTS = sorted(
    {"device", "rng", "random", "generator", "discriminator", "ema", "optimizer_g", "optimizer_d"}
    | {"scaler", "lecam", "health", "step", "seconds", "images", "rollbacks", "best", "since_best"}
    | {"data", "figures", "options"}
)


@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_is_missing_is_one_sentence(run, tmp_path, part):
    out = tmp_path / "run"
    shutil.copytree(run, out)
    state = load(out / "checkpoint.pt")
    del state[part]
    torch.save(state, out / "checkpoint.pt")
    with pytest.raises(ValueError, match=rf"^the checkpoint lacks {part}$"):
        toy.trainer(out, keep_checkpoints=2).resume()


@pytest.mark.parametrize("value", VALUES, ids=repr)
@pytest.mark.parametrize("part", sorted({*PARTS} - {"seconds", "images", "best", "step", "scaler"}))
def test_a_part_of_another_kind_is_one_sentence_or_does_no_harm(run, tmp_path, part, value):
    out = tmp_path / "run"
    shutil.copytree(run, out)
    state = load(out / "checkpoint.pt")
    state[part] = value
    torch.save(state, out / "checkpoint.pt")
    trainer = toy.trainer(out, keep_checkpoints=2)
    before = [p.clone() for p in trainer.generator.parameters()]
    if (part == "lecam" and value == {}) or (
        part in ("rollbacks", "since_best") and value is VALUES[0]
    ):
        return  # which it could be
    with pytest.raises(ValueError, match=r"^.*checkpoint.*$"):
        trainer.resume()
    if part not in ("rng", "random", "data", "figures", "rollbacks", "since_best"):
        assert all(map(torch.equal, before, trainer.generator.parameters()))


SMALL_DISK = """
import resource, signal, sys
from pathlib import Path
from ganfast.train.checkpoint import Checkpoints
import torch
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
checkpoints = Checkpoints(Path(sys.argv[1]), 2)
checkpoints.save({"step": 1, "x": torch.zeros(10)})
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    checkpoints.save({"step": 2, "x": torch.zeros(100_000)})
except OSError as error:
    print(error.strerror, error.filename)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no limits of resources")
def test_a_disk_that_is_full_says_so_and_the_checkpoint_stays(tmp_path):
    run = subprocess.run(
        [sys.executable, "-c", SMALL_DISK, str(tmp_path)],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    assert run.stdout == f"File too large {tmp_path / 'checkpoint.pt'}\n"
    assert load(tmp_path / "checkpoint.pt")["step"] == 1
    assert not list(tmp_path.glob(".*.tmp"))


def test_another_process_may_not_train_to_the_same_folder(tmp_path):
    program = (
        "import sys\nfrom ganfast._lock import hold\n"
        "with hold(sys.argv[1]):\n    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as other:  # fmt: skip
        assert other.stdout.readline() == "held\n"
        trainer = toy.trainer(tmp_path)
        with pytest.raises(BlockingIOError, match=f"process {other.pid} on"):
            trainer.run()
        assert trainer.step == 0
        other.kill()
    assert trainer.run()
