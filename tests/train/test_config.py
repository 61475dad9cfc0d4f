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
        ("a: [", [], ValueError, "is not YAML"),
        ("!!python/object/apply:os.getcwd []", [], ValueError, "is not YAML"),
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
