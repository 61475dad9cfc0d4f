"""YAML and words become options, or a sentence that says what is wrong."""

import dataclasses

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ganfast.train import TrainOptions, config

options = st.builds(
    TrainOptions,
    steps=st.integers(1, 10**6),
    lr_g=st.floats(1e-8, 1, allow_subnormal=False),
    betas_g=st.tuples(st.floats(0, 0.99), st.floats(0, 0.99)),
    latent_dim=st.integers(1, 512) | st.tuples(st.integers(1, 9), st.integers(1, 9)),
    penalty=st.sampled_from(["none", "r1", "wgan_gp"]),
    channels_last=st.booleans(),
)


@given(options=options, words=st.booleans())
def test_options_come_back_from_a_file_and_from_words(options, words, tmp_path_factory):
    values = {k: list(v) if isinstance(v, tuple) else v for k, v in vars(options).items()}
    path = tmp_path_factory.mktemp("config") / "run.yaml"
    path.write_text(yaml.safe_dump({} if words else values))
    said = [f"{name}={yaml.safe_dump(value)}" for name, value in values.items()] if words else []
    said = [word.replace("\n...\n", "").strip() for word in said]
    assert config.read(TrainOptions, path, said) == options


def test_words_win_and_numbers_may_be_written_as_people_do(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("steps: 5\nlr_g: 1e-3\nbetas_d: [0, 1e-1]\n")
    read = config.read(TrainOptions, path, ["steps=7", "lr_d=2e-4"])
    assert (read.steps, read.lr_g, read.lr_d, read.betas_d) == (7, 1e-3, 2e-4, (0.0, 0.1))


@pytest.mark.parametrize(
    ("text", "words", "error", "message"),
    [
        ("stepps: 5", [], ValueError, "unknown field 'stepps'; did you mean 'steps'"),
        ("steps: 5\nx: 1", [], ValueError, r"unknown field 'x'; known are \['accumulate'"),
        ("steps: 5", ["lr=1"], ValueError, "unknown field 'lr'; did you mean 'lr_d'|'lr_g'"),
        ("steps: 5", ["lr_g"], ValueError, "settings must be field=value, got 'lr_g'"),
        ("steps: many", [], TypeError, "steps must be an int, got 'many'"),
        ("steps: 5\nlr_g: fast", [], TypeError, "lr_g must be a number, got 'fast'"),
        ("steps: 5\npenalty: r3", [], ValueError, "penalty must be one of none, r1"),
        ("[1, 2]", [], ValueError, "must hold fields and values, got list"),
        ("a: [", [], ValueError, r"run\.yaml: not YAML"),
        ("\x00", [], ValueError, r"run\.yaml: not YAML"),
        ("steps: &a [*a]", [], ValueError, r"run\.yaml: must not have aliases"),
        ("steps: &a 5\nseed: *a", [], ValueError, r"run\.yaml: must not have aliases"),
        ("steps: 5\nsteps: 6", [], ValueError, r"run\.yaml: 'steps' must be set once"),
        ("steps: " + "[" * 5000, [], ValueError, r"run\.yaml: not YAML"),
        ("steps: 5\nbetas_g: 0.5", [], TypeError, "betas_g must be a list of 2 items, each a num"),
        ("steps: 5\nbetas_g: [0.5]", [], TypeError, "betas_g must be a list of 2 items"),
        ("steps: 5\nbetas_g: [a, b]", [], TypeError, "betas_g must be a number, got 'a'"),
        ("steps: 5\nlatent_dim: [a]", [], TypeError, "latent_dim must be an int, got 'a'"),
        ("steps: 5\nlatent_dim: {}", [], TypeError, "latent_dim must be an int or a list of items"),
        ("steps: 5\ncompile: 1", [], TypeError, "compile must be true or false, got 1"),
        ("steps: 5.0", [], TypeError, r"steps must be an int, got 5\.0"),
        ("steps: 5\nbest_by: 3", [], TypeError, "best_by must be text, got 3"),
        ("!!python/object/apply:os.getcwd []", [], ValueError, "not YAML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, words, error, message):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(error, match=message):
        config.read(TrainOptions, path, words)


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="no configuration file"):
        config.read(TrainOptions, tmp_path / "none.yaml")


def test_other_dataclasses_do_too():
    @dataclasses.dataclass
    class Own:
        rate: float = 1.0

    assert config.read(Own, None, ["rate=3e-1"]) == Own(0.3)


@dataclasses.dataclass(frozen=True)
class Inner:
    steps: int = 1
    rates: tuple[float, ...] = ()


@dataclasses.dataclass(frozen=True)
class Outer:
    fit: Inner = Inner()
    name: str = ""


@pytest.mark.parametrize(
    "word", ["fit=[steps=2, 'rates=[1e-3, 2]']", "fit={steps: 2, rates: [1e-3, 2]}"]
)
def test_settings_within_settings_are_words_or_a_mapping(word):
    assert config.read(Outer, None, [word]) == Outer(Inner(2, (1e-3, 2)))


@pytest.mark.parametrize(
    ("word", "error", "message"),
    [
        ("fit=[stpes=2]", ValueError, "unknown field 'stpes'; did you mean 'steps'"),
        ("fit=[2]", TypeError, "settings must be field=value, got 2"),
        ("fit=2", TypeError, "fit must be settings by name, got 2"),
        ("fit={steps: x}", TypeError, "steps must be an int, got 'x'"),
        ("name=[x]", TypeError, "name must be text"),
    ],
)
def test_and_are_checked_as_the_others(word, error, message):
    with pytest.raises(error, match=message):
        config.read(Outer, None, [word])


def test_a_file_of_another_encoding_is_named(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_bytes(b"steps: 5 # caf\xe9")
    with pytest.raises(ValueError, match=r"run\.yaml: not YAML"):
        config.read(TrainOptions, path)
