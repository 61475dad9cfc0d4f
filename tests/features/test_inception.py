"""The fused Inception against the graph written out, in float64."""

import pytest
import torch

from ganfast.features.inception import LAYERS, Inception
from tests.features import public_inception
from tests.numerics import generator


@pytest.fixture(scope="module")
def state():
    return public_inception.random_state()


@pytest.fixture(scope="module")
def net(state):
    net = Inception()
    net.load_public(state)
    return net


def images(n, side, seed=0):
    return torch.rand(n, 3, side, side, generator=generator(seed), dtype=torch.float64) * 2 - 1


def relative_error(found, exact):
    return float((found.double() - exact).abs().max() / exact.abs().max())


def test_every_layer(state, net):
    x = images(2, 299)
    exact = public_inception.forward(state, x)
    found = net(x.float(), LAYERS)
    assert set(found) == set(LAYERS) == set(exact)
    for layer in LAYERS:
        assert found[layer].dtype == torch.float32
        assert found[layer].shape == exact[layer].shape
        assert relative_error(found[layer], exact[layer]) < 1e-5, layer
    # Different images have different features: an output that is constant would pass the above.
    difference = exact["2048"][0] - exact["2048"][1]
    assert difference.abs().max() > 0.01 * exact["2048"].abs().max()


def test_channels_last_and_other_sizes(state, net):
    x = images(2, 107, 1)
    exact = public_inception.forward(state, x)
    like = x.float().contiguous(memory_format=torch.channels_last)
    found = net(like, ("2048", "192", "logits"))
    for layer, value in found.items():
        assert relative_error(value, exact[layer]) < 1e-5


@pytest.mark.parametrize("layer", LAYERS)
def test_one_layer_alone(net, layer):
    x = images(1, 75).float()
    found = net(x, (layer,))
    assert list(found) == [layer]
    assert torch.equal(found[layer], net(x, LAYERS)[layer])


def test_images_do_not_depend_on_their_batch(net):
    x = images(3, 75).float()
    together, alone = net(x)["2048"], net(x[1:2])["2048"]
    assert relative_error(together[1:2], alone.double()) < 1e-5


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("Mixed_7c.branch_pool.bn.bias"), "'Mixed_7c.branch_pool.bn.bias'"),
        (lambda s: s.update({"fc.weight": torch.zeros(1000, 2048)}), "fc.weight of shape"),
        (lambda s: s.update({"extra.weight": torch.zeros(1)}), "got 'extra.weight'"),
        (lambda s: s.update({"Conv2d_2a_3x3.bn.running_var": -torch.ones(32)}), "in Conv2d_2a_3x3"),
    ],
)
def test_weights_that_do_not_fit(state, change, words):
    other = dict(state)
    change(other)
    with pytest.raises(ValueError, match=words):
        Inception().load_public(other)


def test_unknown_layer(net):
    with pytest.raises(ValueError, match="wanted must be some of"):
        net(images(1, 75).float(), ("1024",))
