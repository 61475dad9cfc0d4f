"""The Inception of 2015 as TensorFlow's graph has it: one convolution and batch norm at a time.

It reads a state dict in the public key layout and shares no code with the package.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

# Channels out and kernel of every convolution in a block, by the name of its branch.
BLOCKS = {
    "A": [("branch1x1", 64, (1, 1)), ("branch5x5_1", 48, (1, 1)), ("branch5x5_2", 64, (5, 5)),
          ("branch3x3dbl_1", 64, (1, 1)), ("branch3x3dbl_2", 96, (3, 3)),
          ("branch3x3dbl_3", 96, (3, 3))],
    "B": [("branch3x3", 384, (3, 3)), ("branch3x3dbl_1", 64, (1, 1)),
          ("branch3x3dbl_2", 96, (3, 3)), ("branch3x3dbl_3", 96, (3, 3))],
    "D": [("branch3x3_1", 192, (1, 1)), ("branch3x3_2", 320, (3, 3)),
          ("branch7x7x3_1", 192, (1, 1)), ("branch7x7x3_2", 192, (1, 7)),
          ("branch7x7x3_3", 192, (7, 1)), ("branch7x7x3_4", 192, (3, 3))],
    "E": [("branch1x1", 320, (1, 1)), ("branch3x3_1", 384, (1, 1)),
          ("branch3x3_2a", 384, (1, 3)), ("branch3x3_2b", 384, (3, 1)),
          ("branch3x3dbl_1", 448, (1, 1)), ("branch3x3dbl_2", 384, (3, 3)),
          ("branch3x3dbl_3a", 384, (1, 3)), ("branch3x3dbl_3b", 384, (3, 1)),
          ("branch_pool", 192, (1, 1))],
}  # fmt: skip
INPUTS = {  # of the convolutions that do not read the block's input
    "branch5x5_2": "branch5x5_1", "branch3x3dbl_2": "branch3x3dbl_1",
    "branch3x3dbl_3": "branch3x3dbl_2", "branch3x3dbl_3a": "branch3x3dbl_2",
    "branch3x3dbl_3b": "branch3x3dbl_2", "branch3x3_2": "branch3x3_1",
    "branch3x3_2a": "branch3x3_1", "branch3x3_2b": "branch3x3_1",
    "branch7x7_2": "branch7x7_1", "branch7x7_3": "branch7x7_2",
    "branch7x7dbl_2": "branch7x7dbl_1", "branch7x7dbl_3": "branch7x7dbl_2",
    "branch7x7dbl_4": "branch7x7dbl_3", "branch7x7dbl_5": "branch7x7dbl_4",
    "branch7x7x3_2": "branch7x7x3_1", "branch7x7x3_3": "branch7x7x3_2",
    "branch7x7x3_4": "branch7x7x3_3",
}  # fmt: skip
STRIDED = {("B", "branch3x3"), ("B", "branch3x3dbl_3"), ("D", "branch3x3_2"),
           ("D", "branch7x7x3_4")}  # fmt: skip
ENDS = {  # what is concatenated, in order, before the pool
    "A": ("branch1x1", "branch5x5_2", "branch3x3dbl_3", "branch_pool"),
    "B": ("branch3x3", "branch3x3dbl_3"),
    "C": ("branch1x1", "branch7x7_3", "branch7x7dbl_5", "branch_pool"),
    "D": ("branch3x3_2", "branch7x7x3_4"),
    "E": ("branch1x1", "branch3x3_2a", "branch3x3_2b", "branch3x3dbl_3a", "branch3x3dbl_3b",
          "branch_pool"),
}  # fmt: skip
LAYOUT = (  # name, kind, channels in, and what varies
    ("Mixed_5b", "A", 192, 32), ("Mixed_5c", "A", 256, 64), ("Mixed_5d", "A", 288, 64),
    ("Mixed_6a", "B", 288, 0), ("Mixed_6b", "C", 768, 128), ("Mixed_6c", "C", 768, 160),
    ("Mixed_6d", "C", 768, 160), ("Mixed_6e", "C", 768, 192), ("Mixed_7a", "D", 768, 0),
    ("Mixed_7b", "E", 1280, 0), ("Mixed_7c", "E", 2048, 0),
)  # fmt: skip
STEM = (
    ("Conv2d_1a_3x3", 3, 32, 3, 2, 0), ("Conv2d_2a_3x3", 32, 32, 3, 1, 0),
    ("Conv2d_2b_3x3", 32, 64, 3, 1, 1), ("Conv2d_3b_1x1", 64, 80, 1, 1, 0),
    ("Conv2d_4a_3x3", 80, 192, 3, 1, 0),
)  # fmt: skip


def rows(kind: str, varies: int) -> list[tuple[str, int, tuple[int, int]]]:
    if kind == "C":
        c, wide, high = varies, (1, 7), (7, 1)
        return [
            ("branch1x1", 192, (1, 1)), ("branch7x7_1", c, (1, 1)), ("branch7x7_2", c, wide),
            ("branch7x7_3", 192, high), ("branch7x7dbl_1", c, (1, 1)), ("branch7x7dbl_2", c, high),
            ("branch7x7dbl_3", c, wide), ("branch7x7dbl_4", c, high),
            ("branch7x7dbl_5", 192, wide), ("branch_pool", 192, (1, 1)),
        ]  # fmt: skip
    return BLOCKS[kind] + ([("branch_pool", varies, (1, 1))] if kind == "A" else [])


def random_state(seed: int = 0) -> dict[str, Tensor]:
    """Random weights with every public key, drawn so that features differ between images."""
    draw = torch.Generator().manual_seed(seed)
    state: dict[str, Tensor] = {}

    def add(path: str, out: int, channels: int, kernel: tuple[int, int]) -> None:
        size = (out, channels, *kernel)
        fan_in = channels * kernel[0] * kernel[1]
        state[f"{path}.conv.weight"] = torch.randn(size, generator=draw) * (2 / fan_in) ** 0.5
        state[f"{path}.bn.weight"] = 0.8 + 0.4 * torch.rand(out, generator=draw)
        state[f"{path}.bn.bias"] = 0.1 * torch.randn(out, generator=draw)
        state[f"{path}.bn.running_mean"] = 0.1 * torch.randn(out, generator=draw)
        state[f"{path}.bn.running_var"] = 0.5 + torch.rand(out, generator=draw)
        state[f"{path}.bn.num_batches_tracked"] = torch.tensor(1)

    for name, channels, out, kernel, _, _ in STEM:
        add(name, out, channels, (kernel, kernel))
    for block, kind, channels, varies in LAYOUT:
        table = rows(kind, varies)
        out_of = {name: out for name, out, _ in table}
        for name, out, kernel in table:
            source = INPUTS.get(name)
            add(f"{block}.{name}", out, out_of[source] if source else channels, kernel)
    state["fc.weight"] = torch.randn(1008, 2048, generator=draw) * 0.02
    state["fc.bias"] = torch.randn(1008, generator=draw)
    return state


def forward(state: dict[str, Tensor], x: Tensor) -> dict[str, Tensor]:
    """All layers, in the dtype of x."""
    found: dict[str, Tensor] = {}

    def raw(path: str, x: Tensor, stride: int, padding: tuple[int, int]) -> Tensor:
        return F.conv2d(x, state[f"{path}.conv.weight"].to(x), None, stride, padding)

    def convolution(path: str, x: Tensor, stride: int = 1, padding=(0, 0)) -> Tensor:
        parts = (state[f"{path}.bn.{k}"].to(x) for k in ("running_mean", "running_var"))
        scale, shift = (state[f"{path}.bn.{k}"].to(x) for k in ("weight", "bias"))
        return F.relu(F.batch_norm(raw(path, x, stride, padding), *parts, scale, shift, eps=1e-3))

    def block(name: str, kind: str, varies: int, x: Tensor) -> Tensor:
        at: dict[str, Tensor] = {}
        for part, _, kernel in rows(kind, varies):
            y = at[INPUTS[part]] if part in INPUTS else x
            if part == "branch_pool" and name == "Mixed_7c":
                y = F.max_pool2d(y, 3, 1, 1)
            elif part == "branch_pool":
                y = F.avg_pool2d(y, 3, 1, 1, count_include_pad=False)
            if (kind, part) in STRIDED:
                at[part] = convolution(f"{name}.{part}", y, 2)
            else:
                padding = (kernel[0] // 2, kernel[1] // 2)
                at[part] = convolution(f"{name}.{part}", y, 1, padding)
        parts = [at[end] for end in ENDS[kind]]
        return torch.cat(parts + ([F.max_pool2d(x, 3, 2)] if kind in "BD" else []), 1)

    for name, _, _, _, stride, padding in STEM:
        x = convolution(name, x, stride, (padding, padding))
        if name in ("Conv2d_2b_3x3", "Conv2d_4a_3x3"):
            x = F.max_pool2d(x, 3, 2)
            found[str(x.shape[1])] = x.mean((2, 3))
    for name, kind, _, varies in LAYOUT:
        if name == "Mixed_6d":
            maps = raw("Mixed_6d.branch1x1", x, 1, (0, 0))[:, :7]
            found["spatial"] = maps.permute(0, 2, 3, 1).flatten(1)
        x = block(name, kind, varies, x)
        if name == "Mixed_6e":
            found["768"] = x.mean((2, 3))
    found["2048"] = x.mean((2, 3))
    found["logits"] = found["2048"] @ state["fc.weight"].to(x).T
    return found
