"""The operations of StyleGAN's networks: bias and activation, and resampling."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.kit import BACKWARD_MODES, SUBJECT, Case, Provider
from ganfast import ops
from ganfast.reference import ACTIVATIONS

# From 2 MB to 32 MB: layers of StyleGAN2 and of R3GAN.
BIASED = {
    "16x512x8x8": (16, 512, 8, 8),
    "8x1536x16x16": (8, 1536, 16, 16),
    "8x64x128x128": (8, 64, 128, 128),
    "1x32x512x512": (1, 32, 512, 512),
}
# f, gain and clamp
LAYERS = {
    "lrelu": ("lrelu", 2**0.5, None),
    "lrelu with clamp": ("lrelu", 2**0.5, 256.0),
    "swish": ("swish", 2**0.5, None),
}

# up, down, padding and gain, with the sizes of what goes in
RESAMPLED = {
    "up 2": (2, 1, (2, 1, 2, 1), 4.0, ((4, 3, 256, 256), (4, 512, 16, 16), (4, 64, 128, 128))),
    "down 2": (1, 2, (1, 1, 1, 1), 1.0, ((4, 512, 32, 32), (4, 64, 256, 256))),
    "blur": (1, 1, (2, 2, 2, 2), 1.0, ((4, 512, 32, 32), (4, 64, 128, 128))),
}


def _eager_bias_act(layer: str, inputs: list[Tensor]) -> Tensor:
    x, b, _ = inputs
    act, gain, clamp = LAYERS[layer]
    y = ACTIVATIONS[act](x + b.view(-1, 1, 1), 0.2) * gain
    return y if clamp is None else y.clamp(-clamp, clamp)


def _fused_bias_act(layer: str, inputs: list[Tensor]) -> Tensor:
    x, b, _ = inputs
    act, gain, clamp = LAYERS[layer]
    return ops.bias_act(x, b, act=act, gain=gain, clamp=clamp)


def _eager_upfirdn2d(name: str, inputs: list[Tensor]) -> Tensor:
    """Zeros put between the pixels, padding, and a convolution of each channel."""
    x, f = inputs[0], inputs[-2]
    up, down, padding, gain, _ = RESAMPLED[name]
    samples, channels, height, width = x.shape
    if up > 1:
        x = F.pad(x.view(samples, channels, height, 1, width, 1), (0, up - 1, 0, 0, 0, up - 1))
        x = x.reshape(samples, channels, height * up, width * up)
    g = (f * gain).flip((0, 1)).to(x.dtype).expand(channels, 1, 4, 4)
    return F.conv2d(F.pad(x, padding), g, stride=down, groups=channels)


def _fused_upfirdn2d(name: str, inputs: list[Tensor]) -> Tensor:
    x, f = inputs[0], inputs[-2]
    up, down, padding, gain, _ = RESAMPLED[name]
    return ops.upfirdn2d(x, f, (up, up), (down, down), padding, gain=gain)


def _of_product(run: Provider, inputs: list[Tensor]) -> Tensor:
    """A scalar with second derivatives, as the map itself is linear."""
    y = run(inputs)
    assert isinstance(y, Tensor)
    return (y * inputs[1]).sum()


def _case(
    name: str,
    make: partial[list[Tensor]],
    eager: Provider,
    fused: Provider,
    constants: int,
    modes: tuple[str, ...] = BACKWARD_MODES,
) -> Case:
    compiled: Provider = torch.compile(eager, dynamic=False)
    providers = {"eager": eager, "compile": compiled, SUBJECT: fused}
    return Case("stylegan", name, make, providers, modes, constants=constants)


def cases() -> list[Case]:
    made = []
    for layer in LAYERS:
        run = partial(_eager_bias_act, layer), partial(_fused_bias_act, layer)
        for size, shape in BIASED.items():
            made.append(_case(f"{layer}, {size}", partial(_biased, shape), *run, constants=1))
    for name, (*_, sizes) in RESAMPLED.items():
        run = partial(_eager_upfirdn2d, name), partial(_fused_upfirdn2d, name)
        for shape in sizes:
            title = f"{name}, {'x'.join(map(str, shape))}"
            made.append(_case(title, partial(_resampled, name, shape), *run, constants=2))
            twice = partial(_of_product, run[0]), partial(_of_product, run[1])
            make = partial(_with_factor, name, shape)
            title += ", twice differentiated"
            made.append(_case(title, make, *twice, constants=2, modes=("double_backward",)))
    return made


def _biased(shape: tuple[int, ...]) -> list[Tensor]:
    """Images, biases, and the gradient that comes back."""
    generator = torch.Generator().manual_seed(0)
    x, v = torch.randn(2, *shape, generator=generator)
    return [x, torch.randn(shape[1], generator=generator), v]


def _resampled(name: str, shape: tuple[int, ...]) -> list[Tensor]:
    """Images, the filter, and the gradient that comes back."""
    generator = torch.Generator().manual_seed(0)
    f = torch.tensor([1.0, 3.0, 3.0, 1.0])
    x, f = torch.randn(shape, generator=generator), torch.outer(f, f) / 64
    v = torch.randn(_fused_upfirdn2d(name, [x, f, x]).shape, generator=generator)
    return [x, f, v]


def _with_factor(name: str, shape: tuple[int, ...]) -> list[Tensor]:
    """Images, a factor of each element of the result, the filter, and what is not used."""
    x, f, v = _resampled(name, shape)
    return [x, v, f, torch.zeros(1)]
