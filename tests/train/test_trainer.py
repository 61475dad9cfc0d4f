"""The loop against a plain one, exact resume, and what it says when something is wrong."""

import copy
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from ganfast import data
from ganfast.losses import AdversarialLoss
from ganfast.models import mlp
from ganfast.train import Trainer, TrainOptions
from ganfast.train.loop import StopSignal

sys.path.insert(0, str(Path(__file__).parent))
import toy

PARTS = ("generator", "discriminator", "ema", "optimizer_g", "optimizer_d")


def flat(value):
    """Nested state as a dict from path to leaf."""
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list | tuple):
        items = enumerate(value)
    else:
        return {"": value}
    return {f"/{k}{path}": leaf for k, v in items for path, leaf in flat(v).items()}


def assert_same_state(a, b):
    a, b = flat(a), flat(b)
    assert a.keys() == b.keys()
    for key in a:
        if isinstance(a[key], torch.Tensor):
            assert torch.equal(a[key], b[key]), key
        else:
            assert a[key] == b[key], key


def state(trainer):
    saved = torch.load(trainer.checkpoint_path, weights_only=True)
    del saved["seconds"]
    return saved


def records(out):
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        row.pop("images_per_s", None)
    return rows


def test_weights_are_those_of_a_plain_loop(tmp_path):
    """Without dropout, since the two loops draw from the global generator in another order."""
    g, d = toy.generator(), toy.discriminator()
    g[3].p = 0.0
    plain_g, plain_d = copy.deepcopy(g), copy.deepcopy(d)
    trainer = toy.trainer(tmp_path, g=g, d=d)
    assert trainer.run()

    options = toy.options()
    noise = torch.Generator().manual_seed(options.seed)
    torch.randn(options.samples, 4, generator=noise)
    data = toy.Stream()
    optimizer_g = torch.optim.Adam(plain_g.parameters(), options.lr_g, options.betas_g)
    optimizer_d = torch.optim.Adam(plain_d.parameters(), options.lr_d, options.betas_g)
    average = copy.deepcopy(plain_g)
    for _ in range(options.steps):
        for _ in range(options.d_steps):
            real, _ = next(data)
            fake = plain_g(torch.randn(8, 4, generator=noise)).detach()
            loss = F.softplus(-plain_d(real)).mean() + F.softplus(plain_d(fake)).mean()
            optimizer_d.zero_grad()
            loss.backward()
            optimizer_d.step()
        loss = F.softplus(-plain_d(plain_g(torch.randn(8, 4, generator=noise)))).mean()
        optimizer_g.zero_grad()
        loss.backward()
        optimizer_g.step()
        for key, value in plain_g.state_dict().items():
            old = average.state_dict()[key]
            old.copy_(0.9 * old + 0.1 * value if value.is_floating_point() else value)

    for module, plain in ((g, plain_g), (d, plain_d), (trainer.ema, average)):
        for (key, value), expected in zip(
            module.state_dict().items(), plain.state_dict().values(), strict=True
        ):
            torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-5, msg=key)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(stop=st.integers(1, 11), log_every=st.integers(1, 6))
def test_a_resumed_run_ends_with_the_same_bits(tmp_path_factory, stop, log_every):
    out = tmp_path_factory.mktemp("runs")
    whole = toy.trainer(out / "whole", log_every=log_every)
    assert whole.run()

    first = toy.trainer(out / "parts", log_every=log_every, hooks=stop_at(stop), sample_every=1)
    assert not first.run()
    assert first.step == stop
    torch.manual_seed(99)  # nothing of the new process's state may matter
    second = toy.trainer(out / "parts", log_every=log_every, hooks=stop_at(0), sample_every=1)
    second.resume()
    assert second.run()

    a, b = state(whole), state(second)
    assert a["options"].pop("sample_every") != b["options"].pop("sample_every")
    assert_same_state(a, b)
    assert records(out / "whole") == records(out / "parts")


def stop_at(step):
    """A hook that has the process told to stop while round ``step`` is under way."""

    def on_sample(now, images):
        if now == step and step > 0:
            signal.raise_signal(signal.SIGTERM)

    return {"on_sample": on_sample}


def test_a_stopped_run_goes_on_when_called_again(tmp_path):
    stopped = toy.trainer(tmp_path / "a", hooks=stop_at(5), sample_every=1)
    assert not stopped.run()
    assert stopped.run()
    whole = toy.trainer(tmp_path / "b", hooks=stop_at(0), sample_every=1)
    assert whole.run()
    assert_same_state(state(stopped), state(whole))
    assert records(tmp_path / "a") == records(tmp_path / "b")


def test_steps_may_grow_on_resume(tmp_path):
    assert toy.trainer(tmp_path / "a", steps=15).run()
    assert toy.trainer(tmp_path / "b", steps=9).run()
    longer = toy.trainer(tmp_path / "b", steps=15)
    longer.resume()
    assert longer.run()
    a, b = state(toy.trainer(tmp_path / "a")), state(longer)
    assert_same_state({k: a[k] for k in PARTS}, {k: b[k] for k in PARTS})


def spawn(out, rounds):
    """A process that trains in ``out`` and has reached ``rounds``."""
    process = subprocess.Popen(
        [sys.executable, toy.__file__, out],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    for line in process.stdout:
        if int(line) == rounds:
            return process
    raise AssertionError(f"ended with {process.wait()}")


@pytest.mark.slow
def test_kill_9_leaves_a_run_that_resumes_exactly(tmp_path, restored_threads):
    torch.set_num_threads(1)  # as toy.py: the same bits need the same number of threads
    rounds = 23
    process = spawn(tmp_path / "killed", rounds)
    process.kill()
    process.communicate()

    reached = torch.load(tmp_path / "killed" / "checkpoint.pt", weights_only=True)["step"]
    assert reached >= rounds - 1
    hooks = {"on_sample": lambda step, images: None}
    steps = reached + 5
    resumed = toy.trainer(tmp_path / "killed", steps=steps, hooks=hooks, **toy.EVERY_ROUND)
    resumed.resume()
    assert resumed.step == reached
    assert resumed.run()
    whole = toy.trainer(tmp_path / "whole", steps=steps, hooks=hooks, **toy.EVERY_ROUND)
    assert whole.run()
    assert_same_state(state(resumed), state(whole))
    assert records(tmp_path / "killed") == records(tmp_path / "whole")


DIES_IN_SAVE = """
import os, pathlib, signal, sys, toy
trainer = toy.trainer(pathlib.Path(sys.argv[1]))
fsync = os.fsync
def kill_at_6(descriptor):
    if trainer.step == 6:
        os.kill(os.getpid(), signal.SIGKILL)
    fsync(descriptor)
os.fsync = kill_at_6
trainer.run()
"""


@pytest.mark.slow
def test_kill_9_during_a_save_leaves_the_checkpoint_before(tmp_path):
    died = subprocess.run(
        [sys.executable, "-c", DIES_IN_SAVE, tmp_path / "killed"],
        cwd=Path(toy.__file__).parent,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    assert died.returncode == -signal.SIGKILL
    resumed = toy.trainer(tmp_path / "killed")
    resumed.resume()
    assert resumed.step == 3
    assert resumed.run()
    whole = toy.trainer(tmp_path / "whole")
    assert whole.run()
    assert_same_state(state(resumed), state(whole))
    assert records(tmp_path / "killed") == records(tmp_path / "whole")


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_signals_end_the_run_with_a_checkpoint(tmp_path, number):
    process = spawn(tmp_path, rounds=3)
    process.send_signal(number)
    printed, _ = process.communicate()
    assert process.returncode == 0
    last = [3, *map(int, printed.split())][-1]
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == last


def test_signal_handlers_are_put_back(tmp_path):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    toy.trainer(tmp_path / "a").run()
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    toy.trainer(tmp_path / "b", hooks=stop_at(4), sample_every=1).run()
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_the_log_forgets_what_the_checkpoint_does_not_know(tmp_path):
    toy.trainer(tmp_path, log_every=1, checkpoint_every=9, steps=9).run()
    kept = records(tmp_path)
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 10, "loss_d": 1.0}\n{"step": 11, "lo')
    resumed = toy.trainer(tmp_path, log_every=1, checkpoint_every=9, steps=11)
    resumed.resume()
    resumed.run()
    rows = records(tmp_path)
    assert [row["step"] for row in rows] == list(range(1, 12))
    assert rows[:9] == kept


def test_figures_are_means_since_the_last_record(tmp_path):
    toy.trainer(tmp_path / "each", log_every=1, steps=7).run()
    toy.trainer(tmp_path / "five", log_every=5, steps=7).run()
    each, five = records(tmp_path / "each"), records(tmp_path / "five")
    assert [row["step"] for row in five] == [5, 7]
    for row, part in zip(five, (each[:5], each[5:]), strict=True):
        for name in ("loss_d", "loss_g", "d_real", "d_fake"):
            mean = sum(r[name] for r in part) / len(part)
            assert row[name] == pytest.approx(mean, rel=1e-6)
            assert name.startswith("loss") or 0 < row[name] < 1


def test_hooks_see_the_moving_average_at_start_every_n_and_end(tmp_path):
    scored, sampled = [], []

    def score(ema):
        assert not ema.training
        scored.append(copy.deepcopy(ema.state_dict()))
        return {"fd": float(len(scored))}

    trainer = toy.trainer(
        tmp_path,
        steps=7,
        score_every=3,
        sample_every=5,
        samples=6,
        hooks={"score": score, "on_sample": lambda step, images: sampled.append((step, images))},
    )
    trainer.run()
    assert [(r["step"], r["fd"]) for r in records(tmp_path) if "fd" in r] == [
        (0, 1.0),
        (3, 2.0),
        (6, 3.0),
        (7, 4.0),
    ]
    assert [step for step, _ in sampled] == [0, 5, 7]
    assert sampled[0][1].shape == (6, 1, 6, 6)
    assert not torch.equal(sampled[0][1], sampled[2][1])
    assert_same_state(scored[-1], trainer.ema.state_dict())


def test_the_discriminator_is_frozen_only_in_the_generators_step(tmp_path):
    d = toy.discriminator()
    d[1].weight.requires_grad_(False)  # the user's own choice outlives the trainer
    frozen, seen = d[1].weight.clone(), []

    class Loss(toy.NonSaturating):
        def generator(self, fake_logits):
            seen.append([p.requires_grad for p in d.parameters()])
            return super().generator(fake_logits)

    toy.trainer(tmp_path, d=d, loss=Loss()).run()
    assert seen
    assert not any(any(flags) for flags in seen)
    assert [p.requires_grad for p in d.parameters()] == [False, True, True, True, True]
    assert torch.equal(d[1].weight, frozen)


def test_the_generator_has_no_graph_in_the_discriminators_step(tmp_path):
    class Watch(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.graphs = toy.discriminator(), []

        def forward(self, images):
            self.graphs.append(images.requires_grad)
            return self.inner(images)

    watch = Watch()
    toy.trainer(tmp_path, d=watch, d_steps=1, steps=2).run()
    assert watch.graphs == [False, False, True] * 2


@pytest.mark.parametrize("kind", ["tensor", "tuple", "list", "dict", "DataLoader"])
def test_loaders_are_taken_as_they_are(tmp_path, kind):
    images = torch.rand(20, 1, 6, 6)
    data = {
        "tensor": [images[:8], images[8:]],
        "tuple": [(images[:8], torch.zeros(8)), (images[8:], torch.zeros(12))],
        "list": [[images[:8]], [images[8:]]],
        "dict": [{"images": images[:8]}, {"images": images[8:]}],
        "DataLoader": DataLoader(TensorDataset(images), batch_size=8),
    }[kind]
    trainer = toy.trainer(tmp_path, data=data)
    assert trainer.run()
    batches = [8, 12] if kind != "DataLoader" else [8, 8, 4]
    rounds = 12 * 2
    assert trainer.images == sum(batches[i % len(batches)] for i in range(rounds))


def test_a_list_of_logits_and_latents_of_any_shape(tmp_path):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = toy.discriminator(), toy.discriminator()

        def forward(self, images):
            return [self.a(images), self.b(images)]

    class Sum(toy.NonSaturating):
        def discriminator(self, real_logits, fake_logits):
            pairs = zip(real_logits, fake_logits, strict=True)
            return sum(super(Sum, self).discriminator(r, f) for r, f in pairs)

        def generator(self, fake_logits):
            return sum(super(Sum, self).generator(f) for f in fake_logits)

    g = nn.Sequential(nn.Flatten(), toy.generator())
    assert toy.trainer(tmp_path, g=g, d=Two(), loss=Sum(), latent_dim=(4, 1, 1)).run()


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ([torch.zeros(8, 1, 6, 6, dtype=torch.uint8)], TypeError, "torch.uint8"),
        ([{"image": torch.zeros(8, 1, 6, 6)}], TypeError, "dict"),
        ([["a"]], TypeError, "str"),
        (7, TypeError, "int"),
        ([], ValueError, "data must give a batch, got none"),
        (iter([torch.zeros(8, 1, 6, 6)]), ValueError, "data must give a batch, got none"),
        ([torch.zeros(0, 1, 6, 6)], ValueError, r"\(0, 1, 6, 6\)"),
        ([torch.zeros(8, 3, 6, 6)], ValueError, r"\(8, 3, 6, 6\), got \(8, 1, 6, 6\)"),
    ],
)
def test_wrong_data_are_refused(tmp_path, data, error, message):
    with pytest.raises(error, match=message):
        toy.trainer(tmp_path, data=data).run()


def test_state_that_could_not_be_loaded_again_is_refused_when_saved(tmp_path):
    class Odd(toy.Stream):
        def state_dict(self):
            return {"path": Path("x")}

    with pytest.raises(TypeError, match="state_dict"):
        toy.trainer(tmp_path, data=Odd()).run()
    assert not (tmp_path / "checkpoint.pt").exists()


@pytest.mark.parametrize(
    ("field", "value"),
    [("lr_d", 0.02), ("betas_g", (0.4, 0.999)), ("d_steps", 1), ("seed", 4), ("latent_dim", (4,))],
)
def test_resume_names_the_option_that_differs(tmp_path, field, value):
    toy.trainer(tmp_path).run()
    with pytest.raises(ValueError, match=f"{field}=.*{field}="):
        toy.trainer(tmp_path, **{field: value}).resume()


def test_resume_names_the_parameter_that_differs(tmp_path):
    toy.trainer(tmp_path).run()
    with pytest.raises(ValueError, match=r"generator .* 0\.weight is \(10, 4\) there"):
        toy.trainer(tmp_path, g=toy.generator(width=11)).resume()
    deeper = nn.Sequential(*toy.discriminator(), nn.Linear(1, 1))
    with pytest.raises(ValueError, match=r"discriminator .* 5\.weight is absent there"):
        toy.trainer(tmp_path, d=deeper).resume()


def test_resume_refuses_data_that_cannot_go_on(tmp_path):
    toy.trainer(tmp_path).run()
    with pytest.raises(ValueError, match="only the checkpoint's data"):
        toy.trainer(tmp_path, data=[torch.zeros(8, 1, 6, 6)]).resume()


def test_resume_without_or_with_a_broken_checkpoint(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"checkpoint\.pt"):
        toy.trainer(tmp_path).resume()
    (tmp_path / "checkpoint.pt").write_bytes(b"nonsense")
    with pytest.raises(ValueError, match="cannot be read"):
        toy.trainer(tmp_path).resume()
    torch.save({"a": 1}, tmp_path / "checkpoint.pt")
    with pytest.raises(ValueError, match="not a checkpoint"):
        toy.trainer(tmp_path).resume()


def test_an_earlier_run_is_not_overwritten(tmp_path):
    toy.trainer(tmp_path).run()
    before = (tmp_path / "checkpoint.pt").read_bytes()
    with pytest.raises(FileExistsError, match="exists: resume it"):
        toy.trainer(tmp_path).run()
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


def test_a_loss_that_is_not_finite_names_its_step_and_keeps_the_checkpoint(tmp_path):
    class Breaks(toy.NonSaturating):
        calls = 0

        def generator(self, fake_logits):
            self.calls += 1
            return super().generator(fake_logits) * (float("nan") if self.calls == 8 else 1.0)

    with pytest.raises(FloatingPointError, match=r"step 8: .*loss_g nan"):
        toy.trainer(tmp_path, loss=Breaks(), log_every=100, checkpoint_every=6).run()
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == 6


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    class Explodes(toy.NonSaturating):
        def generator(self, fake_logits):
            loss = super().generator(fake_logits)
            loss.register_hook(lambda gradient: gradient * float("inf"))
            return loss

    with pytest.raises(FloatingPointError, match=r"generator's .* is no longer finite"):
        toy.trainer(tmp_path, loss=Explodes(), checkpoint_every=1).run()
    assert not (tmp_path / "checkpoint.pt").exists()


def test_modules_without_parameters_are_refused(tmp_path):
    with pytest.raises(ValueError, match="generator must have parameters"):
        toy.trainer(tmp_path, g=nn.Identity())


def test_a_crash_during_a_save_leaves_the_checkpoint_before(tmp_path, monkeypatch):
    toy.trainer(tmp_path, steps=3).run()
    before = (tmp_path / "checkpoint.pt").read_bytes()
    longer = toy.trainer(tmp_path, steps=6)
    longer.resume()

    def fails(descriptor):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OSError, match="disk full"):
        longer.save()
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint.pt", "metrics.jsonl"]


def test_the_second_signal_of_a_kind_acts(request):
    # A run in the background of a script starts with SIGINT ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    with StopSignal() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.received
        signal.raise_signal(signal.SIGTERM)  # as torchrun sends it after Ctrl-C
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_loss_by_its_name_and_a_device(tmp_path):
    networks = [mlp.Generator(4, (8,)), mlp.Discriminator((8,), dropout=0)]
    stream = data.BatchStream(data.digits(), 8, 0)
    options = TrainOptions(steps=1, latent_dim=4)
    trainer = Trainer(*networks, stream, "least_squares", options, tmp_path, device="cpu")
    assert trainer._steps.loss.kind == "least_squares"
    assert trainer.run()
    with pytest.raises(ValueError, match=r"loss must be one of .*did you mean 'hinge'"):
        Trainer(*networks, stream, "hing", options, tmp_path / "other")


def test_probabilities_under_a_loss_of_logits_are_refused(tmp_path):
    stream = data.BatchStream(data.digits(), 8, 0)
    options = TrainOptions(steps=1, latent_dim=4)
    networks = [mlp.Generator(4, (8,)), mlp.Discriminator((8,), dropout=0, sigmoid=True)]
    trainer = Trainer(*networks, stream, "non_saturating", options, tmp_path / "a")
    with pytest.raises(ValueError, match="discriminator must return logits for this loss, got pro"):
        trainer.run()
    probabilities = AdversarialLoss("non_saturating", from_probs=True)
    assert Trainer(*networks, stream, probabilities, options, tmp_path / "b").run()
    assert Trainer(*networks, stream, "least_squares", options, tmp_path / "c").run()
