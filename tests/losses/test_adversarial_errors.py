"""Errors of the adversarial losses, which use the caller's names of the arguments."""

from typing import Any

import pytest
import torch

from ganfast.losses import AdversarialLoss, discriminator_loss, generator_loss

X = torch.ones(3)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("vanilla", {}, "kind must be one of non_saturating, .*hinge.*, got 'vanilla'"),
        ("hinge", {"from_probs": True}, "from_probs must be False for 'hinge'"),
        ("least_squares", {"from_probs": True}, "from_probs must be False for 'least_squares'"),
        ("hinge", {"targets": (0.0, 1.0, 0.0)}, "targets must be the default for 'hinge', got"),
        ("bce", {"label_smoothing": 1.0}, r"label_smoothing must be in \[0, 1\), got 1.0"),
        ("bce", {"label_smoothing": -0.1}, r"label_smoothing must be in \[0, 1\), got -0.1"),
        ("bce", {"label_smoothing": float("nan")}, r"label_smoothing must be in .* got nan"),
        ("hinge", {"label_smoothing": 0.1}, "label_smoothing must be 0 for 'hinge'"),
        ("wasserstein", {"label_smoothing": 0.1}, "label_smoothing must be 0 for 'wasserstein'"),
        ("hinge", {"map_reduction": "max"}, "map_reduction must be one of sum, mean, got 'max'"),
        ("hinge", {"scale": float("nan")}, "^scale must be finite, got nan"),
        ("bce", {"scale": float("-inf")}, "^scale must be finite, got -inf"),
        ("hinge", {"margin": -1.0}, "^margin must be at least 0 and finite, got -1.0"),
        ("hinge2", {"margin": float("nan")}, "^margin must be at least 0 and finite, got nan"),
    ],
)
def test_invalid_options(kind: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AdversarialLoss(kind, **options)
    with pytest.raises(ValueError, match=message):
        discriminator_loss(X, X, kind, **options)
    with pytest.raises(ValueError, match=message):
        generator_loss(X, kind, **options)


@pytest.mark.parametrize("targets", [(0.0, 1.0), (0.0, 1.0, 1.0, 1.0)], ids=len)
def test_targets_are_three(targets: Any) -> None:
    with pytest.raises(ValueError, match=r"targets.*three|targets.*\(a, b, c\)"):
        AdversarialLoss("least_squares", targets=targets)


def test_unknown_option() -> None:
    with pytest.raises(TypeError, match="smoothing"):
        generator_loss(X, "bce", smoothing=0.1)


def test_weights_that_do_not_match_the_maps() -> None:
    loss = AdversarialLoss("hinge", map_weights=[1.0, 2.0])
    message = "map_weights must have one weight for each of the 3 maps, got 2"
    with pytest.raises(ValueError, match=message):
        loss.generator([X, X, X])
    with pytest.raises(ValueError, match=message):
        loss.discriminator([X, X, X], [X, X, X])


def test_maps_that_do_not_match() -> None:
    with pytest.raises(ValueError, match=r"real and fake must have the same.*got 2 and 1"):
        discriminator_loss([X, X], [X])
    with pytest.raises(ValueError, match=r"real and fake must have the same.*got 1 and 2"):
        discriminator_loss(X, [X, X])


@pytest.mark.parametrize("side", ["real", "fake"])
@pytest.mark.parametrize(
    ("outputs", "error", "message"),
    [
        (
            None,
            TypeError,
            "{} must be a tensor, a list of tensors or a list of lists of tensors, got NoneType",
        ),
        (
            1.0,
            TypeError,
            "{} must be a tensor, a list of tensors or a list of lists of tensors, got float",
        ),
        ([], ValueError, "{} must hold at least one tensor, got an empty list"),
        ([X, 1.0], TypeError, r"{}\[1\] must be a tensor, got float"),
        ([X, X.long()], TypeError, r"{}\[1\] must have dtype float64.*, got .*(Long|int64)"),
        ([X, X[:0]], ValueError, r"{}\[1\] must hold at least one element, got shape \[0\]"),
        ([X, X.to("meta")], ValueError, r"{}\[1\] must have the device of real\[0\], cpu.* meta"),
    ],
)
def test_invalid_outputs(
    side: str, outputs: Any, error: type[Exception], message: str, route: str
) -> None:
    arguments = {"real": [X, X], "fake": [X, X], side: outputs}
    with pytest.raises(error, match="^" + message.format(side)):
        discriminator_loss(**arguments)
    if side == "fake":
        message = message.replace("real", "fake")
        with pytest.raises(error, match="^" + message.format(side)):
            generator_loss(outputs)


def test_real_and_fake_that_do_not_match(route: str) -> None:
    with pytest.raises(ValueError, match=r"^fake\[0\] must have the device of real\[0\]"):
        discriminator_loss(X, X.to("meta"))
