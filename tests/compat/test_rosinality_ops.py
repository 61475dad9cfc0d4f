"""The operations of rosinality's line, of basicsr and of mmcv: numbers, signatures, imports."""

import inspect
import math
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from stylegan import oracle
from torch import Tensor

from ganfast import stylegan
from ganfast.compat import basicsr_ops, mmcv_ops, rosinality_ops
from ganfast.compat.rosinality_ops import FusedLeakyReLU, fused_leaky_relu, upfirdn2d


def wave(*shape: int, step: float = 1.0) -> Tensor:
    n = int(torch.tensor(shape).prod())
    return (torch.arange(n, dtype=torch.float64) * step).sin().view(shape)


def test_numbers_of_the_project() -> None:
    """What rosinality/stylegan2-pytorch at bef283a gives on the CPU."""
    kernel = torch.tensor([[1.0, 2.0], [3.0, 5.0]], dtype=torch.float64)
    x = wave(1, 2, 5, 6).requires_grad_()
    y = upfirdn2d(x, kernel, 2, 1, (2, 1))
    dy = wave(*y.shape, step=0.7).requires_grad_()
    (dx,) = torch.autograd.grad(y, x, dy, create_graph=True)
    (ddy,) = torch.autograd.grad(dx, dy, wave(*dx.shape, step=1.3))
    got = [(t * wave(*t.shape, step=0.11)).sum().item() for t in (y, dx, ddy)]
    expected = [-5.178438078345932, -19.100783185971963, 9.454777574095424]
    assert got == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("pad", [(2, 1), (0, 3), (-1, 2), (1, 0, 1, 0), (2, 1, 3, 0)])
@pytest.mark.parametrize(("up", "down"), [(1, 1), (2, 1), (1, 2), ((2, 1), (1, 3))])
def test_padding_is_before_and_after(
    pad: tuple[int, ...], up: int | tuple[int, int], down: int | tuple[int, int]
) -> None:
    x, kernel = wave(2, 3, 5, 6), wave(3, 3, step=1.7)
    pads = pad if len(pad) == 4 else (*pad, *pad)
    factors = [(n, n) if isinstance(n, int) else n for n in (up, down)]
    want = oracle.upfirdn2d(x.numpy(), kernel.numpy(), *factors, pads)
    np.testing.assert_allclose(upfirdn2d(x, kernel, up, down, pad), want, 1e-12, 1e-12)
    np.testing.assert_allclose(
        upfirdn2d(x, kernel, up=up, down=down, pad=pad, device="cpu"), want, 1e-12, 1e-12
    )


def test_fused_leaky_relu() -> None:
    x, b = wave(2, 3, 4), wave(3, step=0.4)
    v = x + b.view(1, 3, 1)
    want = 1.5 * torch.where(v > 0, v, 0.3 * v)
    torch.testing.assert_close(fused_leaky_relu(x, b, 0.3, 1.5), want)
    torch.testing.assert_close(fused_leaky_relu(x, b, 0.3, 1.5, device="cuda"), want)
    plain = torch.where(x > 0, x, 0.2 * x) * math.sqrt(2)
    torch.testing.assert_close(fused_leaky_relu(x), plain)
    torch.testing.assert_close(fused_leaky_relu(x[:, :, 0]), plain[:, :, 0])


def test_both_signatures_of_the_module() -> None:
    layer = FusedLeakyReLU(3)
    assert [(n, p.tolist()) for n, p in layer.named_parameters()] == [("bias", [0.0, 0.0, 0.0])]
    assert FusedLeakyReLU(3, False).bias is None
    new, old = FusedLeakyReLU(3, True, 0.1, 1.0), FusedLeakyReLU(3, 0.1, scale=1.0, device="cpu")
    x = wave(2, 3, 4).float()
    for module in (new, old):
        assert module.bias is not None
        assert torch.equal(module(x), torch.where(x > 0, x, 0.1 * x))


def run(folder: Path, program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], cwd=folder, capture_output=True,
        text=True, timeout=120,
        env={"PYTHONPATH": f"{folder}:{Path(stylegan.__file__).parents[2]}", "PATH": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def package(folder: Path, name: str, code: str) -> None:
    path = folder.joinpath(*name.split("."))
    path.mkdir(parents=True, exist_ok=True)
    (path / "__init__.py").write_text(code)


COMPILES = "raise OSError('no compiler')\n"


def test_install_for_rosinality(tmp_path: Path) -> None:
    package(tmp_path, "op", COMPILES)
    program = """
    import ganfast.compat.rosinality_ops; ganfast.compat.rosinality_ops.install()
    import torch
    from op import FusedLeakyReLU, conv2d_gradfix, fused_leaky_relu, upfirdn2d
    from op.upfirdn2d import upfirdn2d as same
    from op.fused_act import FusedLeakyReLU as Same
    assert same is upfirdn2d and Same is FusedLeakyReLU
    with conv2d_gradfix.no_weight_gradients():
        print(list(conv2d_gradfix.conv2d(torch.ones(1, 1, 3, 3), torch.ones(1, 1, 3, 3)).shape))
    """
    assert run(tmp_path, program) == "[1, 1, 1, 1]\n"


def test_install_for_psp(tmp_path: Path) -> None:
    package(tmp_path, "models", "")
    package(tmp_path, "models.stylegan2", "")
    package(tmp_path, "models.stylegan2.op", COMPILES)
    (tmp_path / "models" / "stylegan2" / "model.py").write_text(
        "from models.stylegan2.op import FusedLeakyReLU, fused_leaky_relu, upfirdn2d\n"
    )
    program = """
    import ganfast.compat.rosinality_ops
    ganfast.compat.rosinality_ops.install("models.stylegan2.op")
    from models.stylegan2.model import FusedLeakyReLU
    print(FusedLeakyReLU.__module__)
    """
    assert run(tmp_path, program) == "ganfast.compat.rosinality_ops\n"


def test_install_for_basicsr(tmp_path: Path) -> None:
    package(tmp_path, "basicsr", "from .archs import *\n")
    package(
        tmp_path,
        "basicsr.archs",
        "from basicsr.ops.fused_act import FusedLeakyReLU, fused_leaky_relu\n"
        "from basicsr.ops.upfirdn2d import upfirdn2d\n",
    )
    package(tmp_path, "basicsr.ops", "")
    for name in ("fused_act", "upfirdn2d"):
        package(tmp_path, f"basicsr.ops.{name}", COMPILES)
    program = """
    import ganfast.compat.basicsr_ops; ganfast.compat.basicsr_ops.install()
    import basicsr
    from basicsr.ops.fused_act.fused_act import FusedLeakyReLU
    print(basicsr.archs.FusedLeakyReLU is FusedLeakyReLU, FusedLeakyReLU.__module__)
    """
    assert run(tmp_path, program) == "True ganfast.compat.rosinality_ops\n"


def test_basicsr_has_the_names() -> None:
    for name in ("FusedLeakyReLU", "fused_leaky_relu", "upfirdn2d"):
        assert getattr(basicsr_ops, name) is getattr(rosinality_ops, name)


def test_mmcv() -> None:
    x, b, f = wave(2, 3, 6, 6), wave(3, step=0.4), stylegan.setup_filter([1, 3, 3, 1])
    options = {"up": 2, "padding": [2, 1], "gain": 4.0}
    got = mmcv_ops.upfirdn2d(x, f, **options, use_custom_op=False)
    assert torch.equal(got, stylegan.upfirdn2d(x, f, **options))
    got = mmcv_ops.bias_act(x, b, act="swish", clamp=0.5, use_custom_op=True)
    assert torch.equal(got, stylegan.bias_act(x, b, act="swish", clamp=0.5))
    got = mmcv_ops.filtered_lrelu(x, f, f, b, 2, 2, 3, clamp=0.5, use_custom_op=False)
    assert torch.equal(got, stylegan.filtered_lrelu(x, f, f, b, 2, 2, 3, clamp=0.5))
    v = x + b.view(1, 3, 1, 1)
    want = torch.where(v > 0, v, 0.1 * v) * 2
    torch.testing.assert_close(mmcv_ops.fused_bias_leakyrelu(x, b, 0.1, 2.0), want)
    layer = mmcv_ops.FusedBiasLeakyReLU(3, 0.1, 2.0).double()
    layer.bias.data.copy_(b)
    torch.testing.assert_close(layer(x), want)
    assert mmcv_ops.conv2d is stylegan.conv2d
    assert mmcv_ops.conv_transpose2d is stylegan.conv_transpose2d
    names = list(inspect.signature(mmcv_ops.upfirdn2d).parameters)
    assert names[:2] == ["input", "filter"]
    assert names[-1] == "use_custom_op"
