"""Options are checked when they are made."""

import math

import pytest

from ganfast.train import TrainOptions


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        ("steps", 0, ValueError),
        ("steps", 1.0, TypeError),
        ("d_steps", True, TypeError),
        ("g_steps", 0, ValueError),
        ("lr_g", 0.0, ValueError),
        ("lr_d", math.inf, ValueError),
        ("lr_d", math.nan, ValueError),
        ("lr_d", "1e-3", TypeError),
        ("betas_g", (0.5, 1.0), ValueError),
        ("betas_g", (0.5,), TypeError),
        ("betas_g", [0.5, 0.9], TypeError),
        ("ema", 1.0, ValueError),
        ("ema", -0.1, ValueError),
        ("latent_dim", 0, ValueError),
        ("latent_dim", (4, 0), ValueError),
        ("latent_dim", "4", TypeError),
        ("seed", -1, ValueError),
        ("seed", 2**63, ValueError),
        ("log_every", 0, ValueError),
        ("score_every", -1, ValueError),
        ("samples", 0, ValueError),
    ],
)
def test_wrong_values_are_refused_by_name(field, value, error):
    with pytest.raises(error, match=f"^{field} must be"):
        TrainOptions(**{"steps": 5, field: value})


def test_the_edges_are_taken():
    options = TrainOptions(steps=1, betas_g=(0.0, 0.0), ema=0, seed=0, checkpoint_every=0)
    assert options.latent_shape == (100,)
    assert TrainOptions(steps=1, latent_dim=(100, 1, 1)).latent_shape == (100, 1, 1)
