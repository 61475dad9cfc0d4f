"""oneDNN's fused convolution against torch's in float64, alone and in the Inception."""

import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ganfast import ops
from ganfast.features import fused
from ganfast.features.fused import Fused
from ganfast.features.inception import LAYERS, Inception
from ganfast.features.packed import Packed
from tests.features import public_inception
from tests.numerics import assert_accurate, generator
from tests.numerics import exact as exact_of

LAST = torch.channels_last
ONE_DNN = pytest.mark.skipif(not fused.serves(torch.float32), reason="torch without oneDNN")


def needs(dtype):
    served = fused.serves(dtype)
    return pytest.param(
        dtype, marks=pytest.mark.skipif(not served, reason=f"no {dtype} by oneDNN on this CPU")
    )


def drawn(seed, *shape):
    return torch.randn(*shape, generator=generator(seed))


def plain(x, weight, bias, stride, padding, linear):
    y = torch.nn.functional.conv2d(x, weight, bias, stride, padding)
    return torch.cat([y[:, : y.shape[1] - linear].relu(), y[:, y.shape[1] - linear :]], 1)


@pytest.mark.parametrize("dtype", [needs(torch.float32), needs(torch.bfloat16)])
@given(
    n=st.integers(1, 3),
    channels=st.sampled_from([1, 3, 8, 24]),
    out=st.integers(1, 40),
    size=st.tuples(st.integers(1, 14), st.integers(1, 14)),
    kernel=st.sampled_from([(1, 1), (3, 3), (5, 5), (1, 7), (7, 1)]),
    stride=st.integers(1, 2),
    padded=st.booleans(),
    linear=st.integers(0, 3),
    sliced=st.booleans(),
    seed=st.integers(0, 99),
)
def test_equals_torch(dtype, n, channels, out, size, kernel, stride, padded, linear, sliced, seed):
    padding = (kernel[0] // 2, kernel[1] // 2) if padded else (0, 0)
    if any(s + 2 * p < k for s, p, k in zip(size, padding, kernel, strict=True)):
        return
    width = (size[1] + 2 * padding[1] - kernel[1]) // stride + 1
    if dtype == torch.bfloat16 and stride > 1 and width == 1:
        return  # torch 2.13 reads what was in memory before on CPUs with AMX
    linear = min(linear, out)
    weight, bias = drawn(seed, out, channels, *kernel).to(dtype), drawn(seed + 1, out).to(dtype)
    whole = drawn(seed + 2, n, channels + 5, *size).to(dtype).contiguous(memory_format=LAST)
    x = whole[:, 2 : 2 + channels] if sliced else whole[:, :channels].contiguous(memory_format=LAST)
    options = stride, padding, linear
    of_torch = plain(x, weight, bias, *options)
    want, summed = (
        exact_of(plain(*(size(v.double()) for v in (x, weight, bias)), *options))
        for size in (torch.Tensor.clone, torch.abs)
    )
    layer = Fused(weight, bias, *options)
    room = torch.full((n, out + 4, *of_torch.shape[2:]), 7.0, dtype=dtype)
    room = room.contiguous(memory_format=LAST)
    found = layer(x, room[:, 3 : 3 + out] if sliced else None)
    assert found.dtype == dtype
    assert_accurate("fused", found, of_torch, want, summed)
    # Weights laid out for other images than these.
    later = Fused(weight, bias, *options)
    later(torch.zeros(1, channels, 20, 20, dtype=dtype).contiguous(memory_format=LAST), None)
    assert_accurate("laid out before", later(x, None), of_torch, want, summed)
    if sliced:
        assert (room[:, :3] == 7).all()
        assert (room[:, 3 + out :] == 7).all()


@ONE_DNN
@pytest.mark.parametrize("again", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_is_copied_and_pickled_after_use(again):
    layer = Fused(drawn(0, 3, 8, 3, 3), drawn(1, 3), 1, (1, 1), 0)
    x = drawn(2, 2, 8, 5, 5).contiguous(memory_format=LAST)
    y = layer(x, None)
    assert torch.equal(again(layer)(x, None), y)


@pytest.fixture(scope="module")
def nets():
    """The Inception as it is, and with oneDNN's fused convolutions."""
    both = Inception(), Inception()
    for net in both:
        net.load_public(public_inception.random_state())
        net.to(memory_format=LAST)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ops, "convolution_serves", lambda: False)
        both[1].pack()
    return both


@ONE_DNN
def test_every_layer_of_the_inception(nets):
    x = torch.rand(2, 3, 107, 107, generator=generator(0)).contiguous(memory_format=LAST)
    assert all(type(layer.packed) is Fused for _, layer in nets[1].convolutions())
    exact = public_inception.forward(public_inception.random_state(), x.double())
    with torch.inference_mode():
        of_torch, found = (net(x, LAYERS) for net in nets)
    # Which elements are off most depends on the CPU's order of summing, ninety convolutions deep.
    for layer in LAYERS:
        error, of_plain = (
            np.sqrt(np.mean((exact_of(net[layer]) - exact_of(exact[layer])) ** 2))
            for net in (found, of_torch)
        )
        assert error <= 2 * of_plain, layer
    assert torch.equal(nets[1](x)["2048"], found["2048"])  # gradients are on, none is wanted


@ONE_DNN
def test_gradients_pass_by_the_plain_convolutions(nets):
    grads = []
    for net in nets:
        x = torch.rand(1, 3, 75, 75, generator=generator(1)).contiguous(memory_format=LAST)
        x.requires_grad_()
        grads.append(torch.autograd.grad(net(x)["2048"].square().sum(), x)[0])
    assert grads[0].abs().max() > 0
    assert torch.equal(*grads)


@pytest.mark.parametrize(
    ("dtype", "own", "one_dnn", "kind"),
    [
        (torch.float32, True, True, Packed),
        (torch.float32, False, True, Fused),
        (torch.bfloat16, True, True, Fused),
        (torch.bfloat16, True, False, type(None)),
        (torch.float32, False, False, type(None)),
    ],
)
def test_what_a_cpu_takes(monkeypatch, dtype, own, one_dnn, kind):
    monkeypatch.setattr(ops, "convolution_serves", lambda: own)
    monkeypatch.setattr(fused, "serves", lambda dtype: one_dnn)
    net = Inception().to(dtype)
    net.pack()
    assert all(type(layer.packed) is kind for _, layer in net.convolutions())


def test_serves_what_one_dnn_computes(monkeypatch):
    assert not fused.serves(torch.float64)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert not fused.serves(torch.float32)
    assert not fused.serves(torch.bfloat16)
