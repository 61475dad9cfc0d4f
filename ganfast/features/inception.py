"""The 2015 Inception-v3 that defines FID, as one chain of fused convolutions.

It differs from the published network in its pooling, as the TensorFlow graph
``classify_image_graph_def.pb`` does: the average pools of the A, C and first E blocks do not count
the padding, and the last block has a maximum pool. Batch normalisation is folded into the
convolutions. The 1x1 convolutions of one input are one convolution. That of the pool branch is
among them: it commutes with an average whose weights sum to 1, which then runs over fewer channels.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganfast import ops
from ganfast.features import fused
from ganfast.features.fused import Fused
from ganfast.features.packed import Packed

LAYERS = ("64", "192", "768", "2048", "logits", "spatial")
_EPS = 1e-3  # of the batch normalisation
_SPATIAL = 7  # channels of the 17 x 17 map that defines sFID


class Convolution(nn.Module):
    """Convolutions of one input, side by side, with a ReLU but for the last ``linear`` channels."""

    def __init__(
        self,
        channels: int,
        out: Mapping[str, int],
        kernel: tuple[int, int] = (1, 1),
        stride: int = 1,
        padding: tuple[int, int] = (0, 0),
        linear: int = 0,
    ) -> None:
        super().__init__()
        self.out, self.stride, self.padding, self.linear = dict(out), stride, padding, linear
        self.weight = nn.Parameter(torch.empty(sum(out.values()), channels, *kernel))
        self.bias = nn.Parameter(torch.empty(sum(out.values())))
        self.packed: Packed | Fused | None = None

    def forward(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """Write into ``out``, a slice of the channels of a joined map, or into new memory."""
        if self.packed is not None and not (torch.is_grad_enabled() and x.requires_grad):
            return self.packed(x, out)
        y = F.conv2d(x, self.weight, self.bias, self.stride, self.padding)
        F.relu_(y.narrow(1, 0, y.shape[1] - self.linear))
        return y if out is None else out.copy_(y)

    def pack(self, kind: type[Packed] | type[Fused]) -> None:
        """Lay out the weights for a faster convolution, used from then on without gradients."""
        weight, bias = self.weight.detach(), self.bias.detach()
        self.packed = kind(weight, bias, self.stride, self.padding, self.linear)


def _joined(
    like: Tensor, widths: Sequence[int], size: Sequence[int]
) -> tuple[Tensor, Iterator[Tensor]]:
    """Return an empty map (N, C, H, W), and parts of its channels to be written in turn."""
    y = torch.empty(
        (len(like), sum(widths), *size),
        dtype=like.dtype, device=like.device, memory_format=torch.channels_last,
    )  # fmt: skip
    # A view is made when the parts before it are written, as autograd requires.
    return y, (y.narrow(1, end - n, n) for n, end in zip(widths, accumulate(widths), strict=True))


class _Branch(nn.Module):
    """A chain of convolutions. Rows: name, channels, kernel."""

    def __init__(self, channels: int, *rows: tuple[str, int, tuple[int, int]], last: int = 1):
        super().__init__()
        steps = []
        for index, (name, out, kernel) in enumerate(rows):
            stride = last if index == len(rows) - 1 else 1
            pad = (0, 0) if stride > 1 else (kernel[0] // 2, kernel[1] // 2)
            steps.append(Convolution(channels, {name: out}, kernel, stride, pad))
            channels = out
        self.steps = nn.ModuleList(steps)
        self.channels = channels

    def forward(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        *inner, last = self.steps
        for step in inner:
            x = step(x)
        y: Tensor = last(x, out)
        return y


class _Average(nn.Module):
    """Blocks A and C: a 1x1 branch, two deeper ones, and an average pool."""

    def __init__(self, channels: int, stem: Mapping[str, int], *branches: _Branch) -> None:
        super().__init__()
        plain, *rest = stem
        self.plain = Convolution(channels, {plain: stem[plain]})
        pool = stem["branch_pool"]
        self.stem = Convolution(channels, {name: stem[name] for name in rest}, linear=pool)
        self.branches = nn.ModuleList(branches)
        self.widths = [stem[plain], *(branch.channels for branch in branches), pool]

    def forward(self, x: Tensor) -> Tensor:
        y, parts = _joined(x, self.widths, x.shape[2:])
        *inner, pool = self.stem(x).split(list(self.stem.out.values()), 1)
        for branch, features in zip((self.plain, *self.branches), (x, *inner), strict=True):
            branch(features, next(parts))
        next(parts).copy_(F.relu_(_average(pool)))
        return y


class _Reduction(nn.Module):
    """Blocks B and D: branches that end with stride 2, and a maximum pool."""

    def __init__(self, *branches: _Branch) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)
        self.widths = [branch.channels for branch in branches]

    def forward(self, x: Tensor) -> Tensor:
        pooled = F.max_pool2d(x, 3, 2)
        y, parts = _joined(x, [*self.widths, x.shape[1]], pooled.shape[2:])
        for branch in self.branches:
            branch(x, next(parts))
        next(parts).copy_(pooled)
        return y


class _Expanded(nn.Module):
    """Blocks E: two branches that fork at their ends, and an average or a maximum pool."""

    def __init__(self, channels: int, maximum: bool) -> None:
        super().__init__()
        stem, pool = {"branch3x3_1": 384, "branch3x3dbl_1": 448}, {"branch_pool": 192}
        self.plain = Convolution(channels, {"branch1x1": 320})
        self.stem = Convolution(
            channels, stem if maximum else stem | pool, linear=0 if maximum else 192
        )
        self.pool = Convolution(channels, pool) if maximum else None
        self.deep = _Branch(448, ("branch3x3dbl_2", 384, (3, 3)))
        self.forks = nn.ModuleList(
            Convolution(384, {f"{name}{side}": 384}, kernel, padding=padding)
            for name in ("branch3x3_2", "branch3x3dbl_3")
            for side, kernel, padding in (("a", (1, 3), (0, 1)), ("b", (3, 1), (1, 0)))
        )

    def forward(self, x: Tensor) -> Tensor:
        y, parts = _joined(x, (320, 384, 384, 384, 384, 192), x.shape[2:])
        one, two, *pool = self.stem(x).split(list(self.stem.out.values()), 1)
        two = self.deep(two)
        self.plain(x, next(parts))
        for fork, features in zip(self.forks, (one, one, two, two), strict=True):
            fork(features, next(parts))
        if self.pool is None:
            next(parts).copy_(F.relu_(_average(pool[0])))
        else:
            self.pool(F.max_pool2d(x, 3, 1, 1), next(parts))
        return y


def _average(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


def _a(channels: int, pool: int) -> _Average:
    stem = {"branch1x1": 64, "branch5x5_1": 48, "branch3x3dbl_1": 64, "branch_pool": pool}
    return _Average(
        channels,
        stem,
        _Branch(48, ("branch5x5_2", 64, (5, 5))),
        _Branch(64, ("branch3x3dbl_2", 96, (3, 3)), ("branch3x3dbl_3", 96, (3, 3))),
    )


def _c(c: int) -> _Average:
    stem = {"branch1x1": 192, "branch7x7_1": c, "branch7x7dbl_1": c, "branch_pool": 192}
    wide, high = (1, 7), (7, 1)
    return _Average(
        768,
        stem,
        _Branch(c, ("branch7x7_2", c, wide), ("branch7x7_3", 192, high)),
        _Branch(
            c,
            ("branch7x7dbl_2", c, high),
            ("branch7x7dbl_3", c, wide),
            ("branch7x7dbl_4", c, high),
            ("branch7x7dbl_5", 192, wide),
        ),
    )


class Inception(nn.Module):
    """Maps normalised images (N, 3, H, W), H and W at least 75 and usually 299, to features.

    `forward` returns the wanted `LAYERS`, float32 whatever the dtype inside, and computes nothing
    beyond the last of them:

    - ``"64"``, ``"192"``, ``"768"`` and ``"2048"``: means over maps of so many channels, (N, C).
    - ``"logits"``: (N, 1008), without their bias, on which the Inception score is defined.
    - ``"spatial"``: (N, 2023), the 17 x 17 map of 7 channels of sFID, row by row, channels last.

    `load_public` fills in the weights.
    """

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Convolution(3, {"": 32}, (3, 3), 2)
        self.Conv2d_2a_3x3 = Convolution(32, {"": 32}, (3, 3))
        self.Conv2d_2b_3x3 = Convolution(32, {"": 64}, (3, 3), 1, (1, 1))
        self.Conv2d_3b_1x1 = Convolution(64, {"": 80})
        self.Conv2d_4a_3x3 = Convolution(80, {"": 192}, (3, 3))
        self.Mixed_5b = _a(192, 32)
        self.Mixed_5c = _a(256, 64)
        self.Mixed_5d = _a(288, 64)
        self.Mixed_6a = _Reduction(
            _Branch(288, ("branch3x3", 384, (3, 3)), last=2),
            _Branch(
                288,
                ("branch3x3dbl_1", 64, (1, 1)),
                ("branch3x3dbl_2", 96, (3, 3)),
                ("branch3x3dbl_3", 96, (3, 3)),
                last=2,
            ),
        )
        self.Mixed_6b = _c(128)
        self.Mixed_6c = _c(160)
        self.Mixed_6d = _c(160)
        self.Mixed_6e = _c(192)
        self.Mixed_7a = _Reduction(
            _Branch(768, ("branch3x3_1", 192, (1, 1)), ("branch3x3_2", 320, (3, 3)), last=2),
            _Branch(
                768,
                ("branch7x7x3_1", 192, (1, 1)),
                ("branch7x7x3_2", 192, (1, 7)),
                ("branch7x7x3_3", 192, (7, 1)),
                ("branch7x7x3_4", 192, (3, 3)),
                last=2,
            ),
        )
        self.Mixed_7b = _Expanded(1280, maximum=False)
        self.Mixed_7c = _Expanded(2048, maximum=True)
        self.fc = nn.Parameter(torch.empty(1008, 2048))
        # The first channels of Mixed_6d.branch1x1 before their batch normalisation.
        self.spatial = nn.Parameter(torch.empty(_SPATIAL, 768, 1, 1))
        self.eval().requires_grad_(False)

    def forward(self, x: Tensor, wanted: tuple[str, ...] = ("2048",)) -> dict[str, Tensor]:
        if not wanted or not set(wanted) <= set(LAYERS):
            raise ValueError(f"wanted must be some of {LAYERS}, got {wanted}")
        found: dict[str, Tensor] = {}

        def keep(layer: str, value: Tensor) -> bool:
            """Store a wanted layer, and say whether it was the last one."""
            if layer in wanted:
                found[layer] = value.float() if value.ndim == 2 else value.float().mean((2, 3))
            return len(found) == len(set(wanted))

        x = self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x))
        x = F.max_pool2d(self.Conv2d_2b_3x3(x), 3, 2)
        if keep("64", x):
            return found
        x = F.max_pool2d(self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x)), 3, 2)
        if keep("192", x):
            return found
        x = self.Mixed_6a(self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(x))))
        x = self.Mixed_6c(self.Mixed_6b(x))
        if "spatial" in wanted:
            spatial = F.conv2d(x, self.spatial).permute(0, 2, 3, 1).flatten(1)
            if keep("spatial", spatial):
                return found
        x = self.Mixed_6e(self.Mixed_6d(x))
        if keep("768", x):
            return found
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x))).float().mean((2, 3))
        if not keep("2048", x):
            keep("logits", x @ self.fc.float().T)
        return found

    @torch.no_grad()
    def load_public(self, state: Mapping[str, Tensor]) -> None:
        """Fill in weights with the keys of pytorch-fid and torch-fidelity, batch norms folded in.

        ``num_batches_tracked`` and the auxiliary classifier are ignored. ValueError names a key
        that is missing, unknown or of another shape, or a block that is not finite.
        """
        used = {"fc.bias"}

        def take(key: str, *shape: int) -> Tensor:
            if key not in state:
                raise ValueError(f"weights must have the key {key!r}, got none")
            if tuple(state[key].shape) != shape:
                raise ValueError(
                    f"weights must have {key} of shape {shape}, got {tuple(state[key].shape)}"
                )
            used.add(key)
            return state[key].double()

        for prefix, layer in self.convolutions():
            weights, biases = [], []
            for name, out in layer.out.items():
                path = f"{prefix}.{name}" if name else prefix
                weight = take(f"{path}.conv.weight", out, *layer.weight.shape[1:])
                gamma, beta, mean, variance = (
                    take(f"{path}.bn.{part}", out)
                    for part in ("weight", "bias", "running_mean", "running_var")
                )
                scale = gamma / (variance + _EPS).sqrt()
                weights.append(weight * scale.view(-1, 1, 1, 1))
                biases.append(beta - mean * scale)
            layer.weight.copy_(torch.cat(weights))
            layer.bias.copy_(torch.cat(biases))
            if not (layer.weight.isfinite().all() and layer.bias.isfinite().all()):
                raise ValueError(f"weights must be finite, got NaN or infinity in {prefix}")
        self.fc.copy_(take("fc.weight", 1008, 2048))
        self.spatial.copy_(take("Mixed_6d.branch1x1.conv.weight", 192, 768, 1, 1)[:_SPATIAL])
        for key in sorted(set(state) - used):
            if not (key.endswith("num_batches_tracked") or key.startswith("AuxLogits.")):
                raise ValueError(f"weights must have the keys of the 2015 Inception, got {key!r}")

    def pack(self) -> None:
        """Use the fastest convolutions of this CPU from now on, where no gradient is needed."""
        dtype = self.fc.dtype
        kind: type[Packed] | type[Fused]
        if dtype == torch.float32 and ops.convolution_serves():
            kind = Packed
        elif fused.serves(dtype):
            kind = Fused
        else:
            return
        for _, layer in self.convolutions():
            layer.pack(kind)

    def unpack(self) -> None:
        """Use torch's convolutions, which run on any device."""
        for _, layer in self.convolutions():
            layer.packed = None

    def convolutions(self) -> Iterator[tuple[str, Convolution]]:
        """Yield each convolution with the public name of its block."""
        for path, module in self.named_modules():
            if isinstance(module, Convolution):
                yield path.partition(".")[0], module
