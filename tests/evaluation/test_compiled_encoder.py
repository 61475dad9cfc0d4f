"""The network is compiled where that saves time, and only there."""

import pytest

from ganfast import ops
from ganfast.evaluation import Settings
from ganfast.evaluation import settings as module
from ganfast.evaluation.settings import compiled_if_it_pays
from ganfast.features import Encoder, load

PLAIN, COMPILED = load("digits"), load("digits")


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> list[Exception]:
    """A network in place of Inception, and what its compiler raises."""
    errors: list[Exception] = []

    def encoder(self: Settings) -> Encoder:
        assert self.compile is True
        if errors:
            raise errors[0]
        return COMPILED

    monkeypatch.setattr(Settings, "encoder", encoder)
    speeds = {id(PLAIN): 1.0, id(COMPILED): 0.8}
    monkeypatch.setattr(module, "_seconds", lambda encoder, _: speeds[id(encoder)])
    monkeypatch.setattr(ops, "convolution_serves", lambda: False)
    return errors


@pytest.mark.usefixtures("network")
@pytest.mark.parametrize(
    ("count", "options", "compiled"),
    [
        (50_000, {}, True),
        (49_999, {}, False),
        (50_000, {"compile": False}, False),
        (50_000, {"device": "cuda"}, False),
        (50_000, {"features": "digits"}, False),
        (50_000, {"dtype": "bf16"}, True),
    ],
)
def test_many_images_are_worth_it(capsys, count: int, options: dict, compiled: bool) -> None:
    settings = Settings(**{"compile": "auto", **options})
    assert compiled_if_it_pays(PLAIN, count, settings) is (COMPILED if compiled else PLAIN)
    said = capsys.readouterr().err
    assert ("the network is compiled" in said, "1.2 times as fast" in said) == (compiled,) * 2


@pytest.mark.usefixtures("network")
def test_kernels_of_our_own_are_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ops, "convolution_serves", lambda: True)
    assert compiled_if_it_pays(PLAIN, 50_000, Settings(compile="auto")) is PLAIN
    bf16 = Settings(compile="auto", dtype="bf16")
    assert compiled_if_it_pays(PLAIN, 50_000, bf16) is COMPILED


@pytest.mark.usefixtures("network")
def test_what_is_no_faster_is_left(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    speeds = {id(PLAIN): 1.0, id(COMPILED): 0.96}
    monkeypatch.setattr(module, "_seconds", lambda encoder, _: speeds[id(encoder)])
    assert compiled_if_it_pays(PLAIN, 50_000, Settings(compile="auto")) is PLAIN
    assert "since compiled it is no faster here" in capsys.readouterr().err


def test_without_a_compiler_the_network_runs_as_it_is(network: list[Exception], capsys) -> None:
    network.append(RuntimeError("no C++ compiler\nmore"))
    assert compiled_if_it_pays(PLAIN, 50_000, Settings(compile="auto")) is PLAIN
    assert (
        "it runs as it is, as it cannot be compiled: no C++ compiler\n" in capsys.readouterr().err
    )
