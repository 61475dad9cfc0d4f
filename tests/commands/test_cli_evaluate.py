"""ganfast eval, fid, stats and weights: numbers, files, refusals."""

import json
import os
import subprocess
import sys
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import linalg
from torch import nn

from ganfast import cli, data, features, metrics
from ganfast.data import image_source
from ganfast.evaluation import State, generators
from ganfast.features import weight_files
from ganfast.features.inception import Inception
from ganfast.features.resize import resize
from ganfast.workflows.gan import Config
from ganfast.workflows.train import train
from tests.features import public_inception

REAL, FAKE = slice(0, 60), slice(60, 130)
LAYOUT = data.digits().images


def run(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["ganfast", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    printed, said = capsys.readouterr()
    return stop.value.code, printed, said


@pytest.fixture
def ganfast(monkeypatch, capsys):
    """Run a command on the digits' features; gives exit code, output and messages."""

    def call(command, *arguments):
        more = [] if command == "weights" else ["--features", "digits"]
        return run(monkeypatch, capsys, command, *arguments, *more)

    return call


@pytest.fixture
def folders(tmp_path):
    """Real and fake digits as files."""
    for name, part in (("real", REAL), ("fake", FAKE)):
        (tmp_path / name / "sub").mkdir(parents=True)
        for i, image in enumerate(LAYOUT[part]):
            Image.fromarray(image[0].numpy()).save(tmp_path / name / "sub" / f"{i:03d}.png")
    return tmp_path / "real", tmp_path / "fake"


def encoded(part, layer="features"):
    return features.load("digits")(LAYOUT[part], (layer,))[layer]


def test_numbers_are_those_of_the_functions(ganfast, folders):
    wanted = "fid,kid,is,prdc,mifid,mind,cmmd,realism"
    code, printed, _ = ganfast("eval", *folders, "--metrics", wanted, "--json")
    assert code == 0
    result = json.loads(printed)
    real, fake = encoded(REAL), encoded(FAKE)
    score = metrics.inception_score(encoded(FAKE, "logits"))
    kid = metrics.kid(fake, real, subset_size=60)
    prdc = metrics.prdc(real, fake)
    assert result["metrics"] == pytest.approx(
        {
            "fid": float(metrics.frechet_distance_from_features(real, fake)),
            "kid": kid.mean,
            "kid_std": kid.std,
            "is": score.mean,
            "is_std": score.std,
            **prdc._asdict(),
            "f_score": prdc.f_score,
            "mifid": metrics.mifid(real, fake),
            "mind": metrics.mind(fake, real),
            "cmmd": metrics.cmmd(real, fake),
            "realism": float(metrics.realism(real, fake, k=5).quantile(0.5)),
        },
        rel=1e-4,
        abs=1e-9,
    )
    assert result["names"]["fid"] == "FD (digits)"
    assert result["real"] == {"name": str(folders[0]), "n": 60}
    assert result["settings"]["resize"] == "clean"


def test_archives_arrays_and_names_give_the_same(ganfast, folders, tmp_path):
    with zipfile.ZipFile(tmp_path / "real.zip", "w") as archive:
        for file in sorted(folders[0].rglob("*.png")):
            archive.write(file, file.name)
    np.savez(tmp_path / "fake.npz", LAYOUT[FAKE].permute(0, 2, 3, 1).numpy())
    _, one, _ = ganfast("fid", *folders, "--json")
    _, two, _ = ganfast("fid", tmp_path / "real.zip", tmp_path / "fake.npz", "--json")
    assert json.loads(one)["metrics"] == pytest.approx(json.loads(two)["metrics"], rel=1e-6)
    _, same, _ = ganfast("fid", "digits", "digits", "--json")
    assert json.loads(same)["metrics"]["fid"] == 0


def test_statistics_files(ganfast, folders, tmp_path):
    out = tmp_path / "real.npz"
    code, printed, _ = ganfast("stats", folders[0], "-o", out)
    assert code == 0
    assert "FD (digits), 60 images, 64 features" in printed
    exact = encoded(REAL).double()
    with np.load(out) as file:
        assert file["mu"] == pytest.approx(exact.mean(0).numpy(), rel=1e-4, abs=1e-6)
        assert file["sigma"] == pytest.approx(np.cov(exact.numpy().T), rel=1e-3, abs=1e-5)
    _, printed, _ = ganfast("fid", out, folders[1], "--json")
    distance = metrics.frechet_distance_from_features(encoded(REAL), encoded(FAKE))
    assert json.loads(printed)["metrics"]["fid"] == pytest.approx(float(distance), rel=1e-4)
    code, _, said = ganfast("eval", out, folders[1], "--metrics", "kid")
    assert code == 1
    assert "a statistics file holds moments alone" in said
    found = [
        json.loads(ganfast("eval", real, folders[1], "--metrics", "fid_infinity,is", "--json")[1])
        for real in (out, folders[0])
    ]
    assert found[0]["metrics"] == pytest.approx(found[1]["metrics"], rel=1e-4, abs=1e-6)
    code, _, said = ganfast("fid", out, folders[1], "--resize", "tf1")
    assert code == 1
    assert "statistics of resize clean, but this run has resize tf1" in said


def test_statistics_of_another_size(ganfast, folders, tmp_path):
    np.savez(tmp_path / "other.npz", mu=np.zeros(3), sigma=np.eye(3))
    code, _, said = ganfast("fid", tmp_path / "other.npz", folders[1])
    assert code == 1
    assert "has 3 features" in said
    assert "64" in said


def test_inception_from_files_to_numbers(monkeypatch, capsys, tmp_path):
    weights = tmp_path / "random.pth"
    torch.save(public_inception.random_state(), weights)
    sha256 = weight_files.sha256_of(weights)
    draw = np.random.default_rng(0)
    pictures = draw.integers(0, 256, (8, 60, 50, 3), dtype=np.uint8)
    np.savez(tmp_path / "real.npz", pictures[:4])
    np.savez(tmp_path / "fake.npz", pictures[4:] // 2)
    code, printed, _ = run(
        monkeypatch, capsys, "eval", tmp_path / "real.npz", tmp_path / "fake.npz",
        "--metrics", "fid,sfid,is", "--resize", "tf1", "--weights", weights, "--sha256", sha256,
        "--json", "--device", "cpu",
    )  # fmt: skip
    assert code == 0
    net = Inception()
    net.load_public(torch.load(weights))
    layers = ("2048", "spatial", "logits")
    real, fake = (
        net((resize(torch.from_numpy(x).permute(0, 3, 1, 2), 299, "tf1") - 128) / 128, layers)
        for x in (pictures[:4], pictures[4:] // 2)
    )
    result = json.loads(printed)
    distance = metrics.frechet_distance_from_features
    score = metrics.inception_score(fake["logits"], splits=4)
    assert result["metrics"] == pytest.approx(
        {
            "fid": float(distance(real["2048"], fake["2048"])),
            "sfid": float(distance(real["spatial"], fake["spatial"])),
            "is": score.mean,
            "is_std": score.std,
        },
        rel=1e-4,
        abs=1e-6,
    )
    assert result["names"]["fid"] == f"FD (inception 2048, weights {sha256[:8]})"
    code, _, said = run(
        monkeypatch, capsys, "fid", tmp_path / "real.npz", tmp_path / "fake.npz",
        "--weights", weights,
    )  # fmt: skip
    assert code == 1
    assert "must have sha256 6726825d" in said


def test_within_classes(ganfast, tmp_path):
    labels = data.digits().labels
    for name, part in (("real", slice(0, 120)), ("fake", slice(120, 260))):
        for i, (image, y) in enumerate(zip(LAYOUT[part], labels[part].tolist(), strict=True)):
            file = tmp_path / name / f"digit {y}" / f"{i:03d}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[0].numpy()).save(file)
    real, fake = tmp_path / "real", tmp_path / "fake"
    distances = metrics.intra_frechet_distance(
        encoded(slice(0, 120)), labels[:120], encoded(slice(120, 260)), labels[120:260]
    )
    mean = sum(distances.values()) / 10
    # Numbers stand for the sorted names of the other side.
    np.savez(
        tmp_path / "fake.npz",
        images=LAYOUT[120:260].permute(0, 2, 3, 1).numpy(),
        labels=labels[120:260].numpy(),
    )
    for other in (fake, tmp_path / "fake.npz"):
        code, printed, _ = ganfast("eval", real, other, "--metrics", "fid_intra", "--json")
        assert code == 0
        assert json.loads(printed)["metrics"]["fid_intra"] == pytest.approx(mean, rel=1e-4)
    # An image that is left out takes its label with it.
    (fake / "digit 0" / "!.png").write_bytes(b"broken")
    _, printed, _ = ganfast(
        "eval", real, fake, "--metrics", "fid_intra", "--json", "--on-error", "skip"
    )
    assert json.loads(printed)["metrics"]["fid_intra"] == pytest.approx(mean, rel=1e-4)
    # So does a class that has no image in the end.
    (fake / "junk").mkdir()
    (fake / "junk" / "1.png").write_bytes(b"broken")
    _, printed, _ = ganfast(
        "eval", real, fake, "--metrics", "fid_intra", "--json", "--on-error", "skip"
    )
    assert json.loads(printed)["metrics"]["fid_intra"] == pytest.approx(mean, rel=1e-4)
    (fake / "digit 9").rename(fake / "digit x")
    # Said before any image is read, the broken one included.
    for arguments, words in (
        ((real, fake), "only one side has digit 9, digit x, junk"),
        ((real, f"{__name__}:brightness"), "brightness has none"),
    ):
        code, _, said = ganfast("eval", *arguments, "--metrics", "fid_intra", "--samples", "20")
        assert code == 1
        assert words in said


class Linear(nn.Module):
    """Grey pictures whose brightness is a linear function of the latent."""

    latent_dim = 2

    def forward(self, z):
        return (z[:, :1] * 0.1).tanh()[..., None, None].expand(-1, 1, 28, 28)


def test_path_length(ganfast, folders):
    arguments = ("eval", folders[0], f"{__name__}:Linear", "--samples", "90", "--metrics", "ppl")
    code, printed, _ = ganfast(*arguments, "--json")
    assert code == 0
    found = json.loads(printed)
    assert found["names"]["ppl"] == "PPL by features of digits"
    # The same by differences of a larger step, through the resizing and the net.
    draw = torch.Generator().manual_seed(2020)
    a, b = (torch.randn(90, 2, generator=draw) for _ in range(2))
    net, eps = features.digits(), 1e-2
    ends = [net(Linear()(z)) for z in (a, torch.lerp(a, b, eps))]
    values = (ends[1] - ends[0]).double().square().sum(1) / eps**2
    assert found["metrics"]["ppl"] == pytest.approx(float(values.mean()), rel=0.1)
    code, _, said = ganfast("eval", *folders, "--metrics", "ppl")
    assert code == 1
    assert "needs a generator as FAKE" in said
    code, _, said = ganfast(
        "eval", folders[0], f"{__name__}:brightness", "--samples", "20", "--metrics", "ppl"
    )
    assert code == 1
    assert "is a function of a number" in said


class Generator(nn.Module):
    """Digits that depend on the latent alone."""

    latent_dim = 5

    def forward(self, z):
        return LAYOUT[(z[:, 0].abs() * 1000).long() % 5000].float() / 127.5 - 1


def brightness(n):
    return torch.randint(0, 256, (n, 1, 28, 28)).to(torch.uint8)


def test_all_classes_of_a_checkpoint_in_turn(tmp_path):
    labels = []

    class Conditional(nn.Module):
        def forward(self, z, y):
            labels.extend(y.tolist())
            return torch.zeros(len(z), 1, 4, 4)

    sampler = generators.LatentSampler(Conditional(), (5,), 100, torch.device("cpu"))
    source = generators.GeneratedImages(sampler, "conditional", None, 300, 0, 1)
    source.read(0, 300)
    assert labels[:300] == [i % 100 for i in range(300)]
    assert list(source.labels) == [str(y) for y in labels[:300]]


@pytest.mark.parametrize("name", ["Generator", "brightness"])
def test_generators(ganfast, name):
    once = ganfast("fid", "digits", f"{__name__}:{name}", "--samples", "100", "--json")
    again = ganfast("fid", "digits", f"{__name__}:{name}", "--samples", "100", "--json")
    other = ganfast(
        "fid", "digits", f"{__name__}:{name}", "--samples", "100", "--json", "--seed", "3"
    )
    values = [json.loads(printed)["metrics"]["fid"] for _, printed, _ in (once, again, other)]
    assert values[0] == values[1] != values[2]
    assert json.loads(once[1])["fake"]["n"] == 100


def test_checkpoint(ganfast, tmp_path):
    for model in ("dcgan", "cdcgan"):
        out = tmp_path / model
        train(Config(model=model, steps=1, limit=100, score_every=0), out)
        code, printed, _ = ganfast(
            "fid", "digits", out / "checkpoint.pt", "--samples", 80, "--json"
        )
        assert code == 0
        assert json.loads(printed)["fake"]["n"] == 80
    torch.save({"anything": 1}, tmp_path / "other.pt")
    code, _, said = ganfast("fid", "digits", tmp_path / "other.pt", "--samples", 80)
    assert code == 1
    assert "is not a checkpoint of this trainer" in said


def test_report(ganfast, folders, tmp_path):
    out = tmp_path / "out.html"
    code, printed, _ = ganfast("eval", *folders, "--metrics", "fid", "--report", out)
    assert code == 0
    assert "FD (digits)" in printed
    page = out.read_text()
    for words in (
        "Nearest neighbours",
        "Precision and recall",
        "Real: the first 24",
        "--metrics fid",
    ):
        assert words in page
    assert page.count("data:image/png") == 4


def test_offending_files_are_named_or_left_out(ganfast, folders):
    (folders[1] / "a.png").write_bytes(b"")
    (folders[1] / "sub" / "zz.png").write_bytes(b"broken")
    code, _, said = ganfast("fid", *folders)
    assert code == 1
    assert "2 of 72 images cannot be used (--on-error skip leaves them out)" in said
    assert "a.png" in said
    assert "zz.png" in said
    code, printed, _ = ganfast("fid", *folders, "--on-error", "skip")
    assert code == 0
    assert "(70 images)" in printed
    assert "2 images were left out" in printed
    assert "zz.png" in printed


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(image_source, "_SMALLEST", 16)


@pytest.mark.usefixtures("small_shards")
def test_state_goes_on_and_is_never_taken_for_another(ganfast, folders, tmp_path, monkeypatch):
    state = tmp_path / "state"
    whole = json.loads(ganfast("eval", *folders, "--metrics", "fid,prdc", "--json")[1])["metrics"]
    # Stopped in the middle of the second input: what was finished is kept.
    calls = []
    through = features.Encoder.of_shrunk

    def stopped(self, images, layers):
        calls.append(len(images))
        if len(calls) == 6:
            raise KeyboardInterrupt
        return through(self, images, layers)

    monkeypatch.setattr(features.Encoder, "of_shrunk", stopped)
    arguments = ("eval", *folders, "--metrics", "fid,prdc", "--json", "--state", state)
    code, _, said = ganfast(*arguments)
    assert code == 130
    assert "goes on from here" in said
    assert len(list(state.glob("*.state"))) == 5
    calls.clear()
    calls += [0] * 10
    code, printed, _ = ganfast(*arguments)
    assert code == 0
    assert len(calls) == 10 + 4  # 4 of 9 shards were left
    assert json.loads(printed)["metrics"] == pytest.approx(whole, rel=1e-9)
    # Another setting is another key, and another image is one of its shard alone.
    _, printed, _ = ganfast(*arguments, "--resize", "tf1")
    assert len(list(state.glob("*.state"))) == 18
    file = folders[0] / "sub" / "000.png"
    Image.fromarray(LAYOUT[4000][0].numpy()).save(file)
    ganfast(*arguments)
    assert len(list(state.glob("*.state"))) == 19


def test_what_may_change_unseen_is_not_kept(ganfast, folders, tmp_path):
    state = tmp_path / "state"
    name = f"{__name__}:brightness"
    ganfast("fid", folders[0], name, "--samples", 20, "--state", state)
    assert len(list(state.glob("*.state"))) == 1  # the real images alone


def _cut(path, found):
    path.write_bytes(path.read_bytes()[:100])


def _changed(path, found):
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)


# The rest is written by the code under test itself, with a checksum that fits.


def _fewer(path, found):
    replace(found, n=found.n - 1).limited(found.n - 1).save(path)


def _other_layer(path, found):
    replace(found, rows={"logits": found.rows["features"]}).save(path)


def _other_network(path, found):
    replace(found, settings={"features": "inception"}).save(path)


def _not_finite(path, found):
    rows = found.rows["features"].clone()
    rows[0, 0] = float("nan")
    replace(found, rows={"features": rows}).save(path)


def _other_counts(path, found):
    replace(found, numbers=found.numbers[1:]).save(path)


def _problems_that_were_none(path, found):
    found.problems.add({0: "broken"})
    found.save(path)


@pytest.mark.parametrize(
    "damage",
    [_cut, _changed, _fewer, _other_layer, _other_network, _not_finite, _other_counts,
     _problems_that_were_none],
)  # fmt: skip
def test_a_damaged_shard_is_named_and_computed_again(ganfast, folders, tmp_path, damage):
    arguments = ("eval", *folders, "--metrics", "fid,kid", "--json", "--state", tmp_path / "state")
    _, printed, _ = ganfast(*arguments)
    victim = sorted((tmp_path / "state").glob("*.state"))[0]
    whole = victim.read_bytes()
    damage(victim, State.load(victim))
    assert victim.read_bytes() != whole
    with pytest.warns(UserWarning, match=rf"{victim.name} is damaged and computed again"):
        code, again, _ = ganfast(*arguments)
    assert code == 0
    assert json.loads(again)["metrics"] == json.loads(printed)["metrics"]
    assert victim.read_bytes() == whole


def test_the_features_of_the_first_version_are_refused(ganfast, folders, tmp_path):
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / f"{'0' * 32}-000000.safetensors").write_bytes(b"")
    code, _, said = ganfast("fid", *folders, "--state", tmp_path / "state")
    assert code == 1
    assert "got those of 0.1.0, which cannot be used: give another folder" in said


def test_nothing_is_left_of_a_failed_write(ganfast, folders, tmp_path, monkeypatch):
    def full(*arguments, **options):
        raise OSError(28, "No space left on device", "disk")

    monkeypatch.setattr(os, "fsync", full)
    code, _, said = ganfast("stats", folders[0], "-o", tmp_path / "out" / "real.npz")
    assert code == 1
    assert "No space left on device" in said
    assert list((tmp_path / "out").iterdir()) == []


def test_weights(ganfast, tmp_path, monkeypatch):
    monkeypatch.setenv("GANFAST_CACHE", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    code, printed, _ = ganfast("weights")
    assert code == 0
    assert "inception  missing, sha256 6726825d" in printed
    assert str(tmp_path / "weights") in printed
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "pt_inception-2015-12-05-6726825d.pth").write_bytes(b"cut off")
    code, _, said = ganfast("weights")
    assert code == 1
    assert "the download may have been cut off" in said


def broken(x):
    return x.float().mean((2, 3)) / 0


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["eval", "digits", "digits", "--metrics", "fid,fad"], 2, "got fad"),
        (["eval", "digits", "digits", "--metrics", "sfid"], 1, "no spatial"),
        (["fid", "digits", "nowhere"], 1, "nowhere must be a folder or a file of images"),
        (["fid", "digits", "C:\\data"], 1, "C:\\data must be a folder or a file of images"),
        (["fid", "digits", "stats.pkl"], 1, "stats.pkl: a pickle can run code"),
        (["fid", "digits", "no:where"], 1, "No module named 'no'"),
        (["fid", "digits", "digits", "--on-error", "ignore"], 2, "must be stop or skip"),
        (["fid", "digits", "digits", "--device", "abacus"], 2, "device must be cpu"),
        (["fid", "digits", "digits", "--dtype", "int8"], 1, "dtype must be one of"),
        (["fid", "digits", "digits", "--graphs"], 1, "graphs must be False unless"),
        (["stats", "digits", "-o", "out.txt"], 2, "must end in .npz"),
    ],
)
def test_one_sentence_and_no_traceback(ganfast, arguments, code, words):
    found, printed, said = ganfast(*arguments)
    assert found == code
    assert printed == ""
    assert said.startswith("ganfast: ")
    assert words in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1 / 0", "own:make has failed with ZeroDivisionError: division by zero"),
        ("import nothing_of_that_name", "own:make has failed with ModuleNotFoundError"),
        ("def make(n):\n    return {}['key']", "own:make has failed with KeyError: 'key'"),
        ("def make(n):\n    raise SystemError('two\\nlines')", "failed with SystemError: two"),
    ],
)
def test_the_users_own_errors_come_with_their_traceback(
    ganfast, tmp_path, monkeypatch, text, words
):
    (tmp_path / "own.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own", raising=False)
    code, printed, said = ganfast("fid", "digits", "own:make")
    assert (code, printed) == (1, "")
    assert "Traceback" in said
    assert "own.py" in said or "nothing_of_that_name" in said
    last = said.splitlines()[-1]
    assert last.startswith("ganfast: ")
    assert words in last


def test_few_images_and_nan(monkeypatch, capsys, ganfast, folders, tmp_path):
    (tmp_path / "one").mkdir()
    Image.fromarray(LAYOUT[0][0].numpy()).save(tmp_path / "one" / "a.png")
    code, _, said = ganfast("fid", folders[0], tmp_path / "one")
    assert code == 1
    assert "must hold at least 2 images, got 1" in said
    code, _, said = run(monkeypatch, capsys, "fid", *folders, "--features", f"{__name__}:broken")
    assert code == 1
    assert "hold NaN or infinity" in said


@pytest.mark.slow
def test_processes_agree_with_one(folders, ganfast, tmp_path):
    _, printed, _ = ganfast("eval", *folders, "--metrics", "fid,kid,prdc,is", "--json")
    program = (
        "import sys; from ganfast.data import image_source; image_source._SMALLEST = 16; "
        "from ganfast.cli import main; main()"
    )
    script = tmp_path / "main.py"
    script.write_text(program)
    done = subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
            script, "eval", *folders, "--metrics", "fid,kid,prdc,is", "--json",
            "--features", "digits", "--threads", "1",
        ],
        capture_output=True, text=True, timeout=170, check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    # To the rounding of float32 features, which depends on threads and on what makes a batch.
    assert json.loads(done.stdout)["metrics"] == pytest.approx(
        json.loads(printed)["metrics"], rel=1e-6
    )


def test_two_statistics_files_need_no_network_and_no_weights(ganfast, tmp_path, monkeypatch):
    def none(*arguments, **options):
        raise AssertionError("a network was loaded")

    monkeypatch.setattr(features, "load", none)
    draw = np.random.default_rng(0)
    moments = []
    for name in "ab":
        x = draw.normal(size=(500, 8)) + (name == "b")
        moments.append((x.mean(0), np.cov(x, rowvar=False)))
        np.savez(tmp_path / f"{name}.npz", mu=moments[-1][0], sigma=moments[-1][1])
    files = [tmp_path / "a.npz", tmp_path / "b.npz"]
    code, printed, _ = ganfast("fid", *files, "--json")
    assert code == 0
    (m1, s1), (m2, s2) = moments
    want = ((m1 - m2) ** 2).sum() + np.trace(s1 + s2 - 2 * linalg.sqrtm(s1 @ s2).real)
    assert json.loads(printed)["metrics"]["fid"] == pytest.approx(want, rel=1e-9)
    assert "FD (digits)" in ganfast("eval", *files, "--metrics", "fid")[1]
    code, _, said = ganfast("eval", *files, "--metrics", "fid,sfid")
    assert code == 1
    assert "mu_s" in said


def test_statistics_of_two_networks_are_not_compared(ganfast, tmp_path):
    for name, net in (("a", "digits"), ("b", "inception")):
        metrics.save_moments(
            tmp_path / f"{name}.npz",
            metrics.Moments(torch.zeros(3).double(), torch.eye(3).double(), 10),
            settings={"features": net},
        )
    code, _, said = ganfast("fid", tmp_path / "a.npz", tmp_path / "b.npz")
    assert code == 1
    assert "statistics of features inception, but this run has features digits" in said


def test_references_with_moments_and_images_serve_every_metric(ganfast, tmp_path):
    """As guided-diffusion's: FID from the moments, all else from the images."""
    images = data.digits().images[:300].expand(-1, 3, -1, -1).permute(0, 2, 3, 1).numpy()
    encoder = features.load("digits")
    found = encoder(data.digits().images[:2000])["features"].double()
    moments = {"mu": found.mean(0).numpy(), "sigma": found.T.cov().numpy()}
    np.savez(tmp_path / "ref.npz", arr_0=images, **moments)
    np.savez(tmp_path / "moments.npz", **moments)
    arguments = ("digits", "--features", "digits", "--json")
    both = ("--metrics", "fid,prdc,kid", "--kid-subset-size", "200")
    code, printed, _ = ganfast("eval", tmp_path / "ref.npz", *arguments, *both)
    assert code == 0
    scores = json.loads(printed)["metrics"]
    _, printed, _ = ganfast("fid", tmp_path / "moments.npz", *arguments)
    assert scores["fid"] == pytest.approx(json.loads(printed)["metrics"]["fid"], rel=1e-9)
    np.savez(tmp_path / "images.npz", images)
    _, printed, _ = ganfast("eval", tmp_path / "images.npz", *arguments, *both)
    alone = json.loads(printed)["metrics"]
    assert scores["kid"] == pytest.approx(alone["kid"])
    assert scores["precision"] == alone["precision"]
    assert scores["fid"] != pytest.approx(alone["fid"], rel=1e-3)


def test_transparency_is_dropped_or_composed(tmp_path, monkeypatch, capsys):
    """Two folders that look alike and differ where nothing is seen."""
    for name, hidden in (("one", 0), ("two", 255)):
        (tmp_path / name).mkdir()
        random = np.random.default_rng(0)
        for i in range(9):
            pixels = np.full((28, 28, 4), hidden, np.uint8)
            pixels[4:20, 4:20, :3] = random.integers(0, 256, (16, 16, 1))
            pixels[..., 3] = 0
            pixels[4:20, 4:20, 3] = 255
            Image.fromarray(pixels).save(tmp_path / name / f"{i}.png")

    def distance(*more):
        arguments = ["fid", str(tmp_path / "one"), str(tmp_path / "two"), "--features", "digits"]
        monkeypatch.setattr(sys, "argv", ["ganfast", *arguments, "--json", *more])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert not ended.value.code
        return json.loads(capsys.readouterr().out)

    assert distance()["metrics"]["fid"] > 1
    composed = distance("--background", "white")
    assert composed["metrics"]["fid"] < 1e-6
    assert composed["settings"]["background"] == "white"
    monkeypatch.setattr(sys, "argv", ["ganfast", "fid", "digits", "digits", "--background", "whit"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert "background must be a colour such as white or #808080" in capsys.readouterr().err
