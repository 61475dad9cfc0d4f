"""The operations under torch_utils.ops: numbers of the projects' own, names, and imports."""

import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import Sampler

from ganfast import stylegan
from ganfast.compat import stylegan_ops as ops


def wave(*shape: int, step: float = 1.0) -> Tensor:
    n = int(torch.tensor(shape).prod())
    return (torch.arange(n, dtype=torch.float64) * step).sin().view(shape)


def numbers(function: Callable[..., Tensor], *inputs: Tensor) -> list[float]:
    """One number for the value, and for each first and second derivative."""
    leaves = [x.clone().requires_grad_() for x in inputs]
    y = function(*leaves)
    dy = wave(*y.shape, step=0.7).requires_grad_()
    first = torch.autograd.grad(y, leaves, dy, create_graph=True)
    cotangents = [wave(*g.shape, step=1.3) for g in first]
    second = torch.autograd.grad(first, [dy, *leaves], cotangents, materialize_grads=True)
    return [(t * wave(*t.shape, step=0.11)).sum().item() for t in (y, *first, *second)]


F = stylegan.setup_filter([1, 3, 4, 2])
X = wave(1, 2, 5, 6)

# What NVlabs/stylegan3 at c233a91 gives with impl="ref" on the CPU, in float64; all but the last
# also NVlabs/stylegan2-ada-pytorch at d72cc7d.
PROJECTS = [
    (
        lambda x, b: ops.bias_act.bias_act(x, b, act="swish", gain=0.7, clamp=0.4, impl="ref"),
        [3 * X, wave(2, step=2.1)],
        [-0.6686915051229247, 0.5787105460859607, -0.033797453197830264, -1.3262512890893738,
         -0.17108050673598268, -0.03868544630234412],
    ),
    (
        lambda x: ops.upfirdn2d.upfirdn2d(
            x, F, up=[2, 1], down=[1, 2], padding=[2, 1, 3, -1], gain=4, impl="ref"
        ),
        [X],
        [0.10318691626929122, -0.17001047071924363, -0.048614278176787526, 0.0],
    ),
    (
        lambda x, w: ops.conv2d_resample.conv2d_resample(
            x, w, f=F, up=2, padding=1, flip_weight=False
        ),
        [X, wave(3, 2, 3, 3, step=1.1)],
        [0.30566612811400773, 0.9977705457401307, -39.32682943207996, 0.6557508008248835,
         0.3214061158207171, 11.45442199613572],
    ),
    (
        lambda x, b: ops.filtered_lrelu.filtered_lrelu(
            x, F, F, b, up=2, down=2, padding=[3, 2, 2, 3], clamp=0.5, impl="ref"
        ),
        [X, wave(2, step=0.4)],
        [-1.4315844497636403, -0.07463030301346874, 0.05068349641849267, -3.3561039667301973, 0.0,
         0.0],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("function", "inputs", "expected"), PROJECTS)
def test_numbers_of_the_projects(
    function: Callable[..., Tensor], inputs: list[Tensor], expected: list[float]
) -> None:
    assert numbers(function, *inputs) == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_what_callers_read_of_activations() -> None:
    functions = ops.bias_act.activation_funcs
    assert list(functions) == [
        "linear", "relu", "lrelu", "tanh", "sigmoid", "elu", "selu", "softplus", "swish",
    ]  # fmt: skip
    rooted = {name for name, f in functions.items() if f.def_gain == 2**0.5}
    assert rooted == {"relu", "lrelu", "swish"}
    assert all(f.def_gain == 1 for name, f in functions.items() if name not in rooted)
    assert functions["lrelu"].def_alpha == 0.2
    assert [f.cuda_idx for f in functions.values()] == list(range(1, 10))
    assert functions["swish"].ref == "x"
    assert not functions["lrelu"].has_2nd_grad
    assert float(functions["lrelu"].func(torch.tensor(-1.0), 0.5)) == -0.5


def test_names_and_impl() -> None:
    upfirdn2d = ops.upfirdn2d
    assert upfirdn2d._parse_padding([1, 2]) == (1, 1, 2, 2)
    assert upfirdn2d._parse_scaling(3) == (3, 3)
    assert upfirdn2d._get_filter_size(torch.ones(2, 3)) == (3, 2)
    assert upfirdn2d._get_filter_size(None) == (1, 1)
    x = torch.ones(1, 1, 4, 4)
    for name in ("upsample2d", "downsample2d", "filter2d"):
        got = getattr(upfirdn2d, name)(x, F, gain=2, impl="ref")
        assert torch.equal(got, getattr(stylegan, name)(x, F, gain=2))
    calls: list[Callable[[], Any]] = [
        lambda: upfirdn2d.upfirdn2d(x, F, impl="slow"),
        lambda: ops.bias_act.bias_act(x, impl="slow"),
        lambda: ops.filtered_lrelu.filtered_lrelu(x, impl="slow"),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="impl must be one of cuda, ref, got 'slow'"):
            call()
    assert ops.fma.fma(x, x, x).sum() == 32
    assert ops.grid_sample_gradfix.enabled is False
    assert ops.grid_sample_gradfix.grid_sample(x, torch.zeros(1, 1, 1, 2)).item() == 1


def project(folder: Path) -> Path:
    """A project as those of the family are, whose operations do not import today."""
    (folder / "torch_utils" / "ops").mkdir(parents=True)
    for package in ("torch_utils", "torch_utils/ops"):
        (folder / package / "__init__.py").write_text("# empty\n")
    for name in ("bias_act", "upfirdn2d", "conv2d_gradfix", "grid_sample_gradfix"):
        file = folder / "torch_utils" / "ops" / f"{name}.py"
        file.write_text("from package_that_is_gone import parse_version\n")
    (folder / "torch_utils" / "misc.py").write_text(
        textwrap.dedent("""
        import torch

        class InfiniteSampler(torch.utils.data.Sampler):
            def __init__(self, dataset):
                super().__init__(dataset)
                self.dataset = dataset

            def __iter__(self):
                return iter(range(len(self.dataset)))
        """)
    )
    (folder / "networks.py").write_text(
        textwrap.dedent("""
        import torch
        from torch_utils import misc
        from torch_utils.ops import bias_act, conv2d_gradfix, upfirdn2d, grid_sample_gradfix

        conv2d_gradfix.enabled = True
        grid_sample_gradfix.enabled = True
        gain = bias_act.activation_funcs["lrelu"].def_gain

        def forward(x, w):
            x = bias_act.bias_act(conv2d_gradfix.conv2d(x, w), act="lrelu")
            with conv2d_gradfix.no_weight_gradients():
                return upfirdn2d.upsample2d(x, upfirdn2d.setup_filter([1, 3, 3, 1]))
        """)
    )
    return folder


def run(folder: Path, program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], cwd=folder, capture_output=True,
        text=True, timeout=120,
        env={"PYTHONPATH": f"{folder}:{Path(stylegan.__file__).parents[2]}", "PATH": ""},
    )  # fmt: skip


def test_install_in_a_project(tmp_path: Path) -> None:
    done = run(
        project(tmp_path),
        """
        import ganfast.compat.stylegan_ops; ganfast.compat.stylegan_ops.install()
        ganfast.compat.stylegan_ops.install()  # again: no change
        import torch, networks
        from torch_utils import ops
        from ganfast.stylegan import convolution
        assert networks.conv2d_gradfix is convolution
        print(list(networks.forward(torch.ones(1, 1, 4, 4), torch.ones(1, 1, 3, 3)).shape))
        print(list(networks.misc.InfiniteSampler(dataset="abc")))
        optimizer = torch.optim.Adam([torch.zeros(1)], lr=0.1, betas=[0, 0.99], eps=1e-8)
        print(optimizer.param_groups[0]["betas"], optimizer.defaults["eps"])
        torch.optim.Adam([torch.zeros(1)])
        """,
    )
    assert done.stderr == ""
    assert done.stdout == "[1, 1, 4, 4]\n[0, 1, 2]\n(0.0, 0.99) 1e-08\n"


def test_without_it_the_project_does_not_import(tmp_path: Path) -> None:
    done = run(project(tmp_path), "import networks")
    assert "package_that_is_gone" in done.stderr


def test_install_in_a_copy_of_another_name(tmp_path: Path) -> None:
    (tmp_path / "eg3d").mkdir()
    project(tmp_path / "eg3d")
    done = run(
        tmp_path,
        """
        from ganfast.compat.stylegan_ops import install
        install("eg3d.torch_utils")
        from eg3d.torch_utils.ops import bias_act
        print(bias_act.__name__)
        """,
    )
    assert done.stdout == "ganfast.compat.stylegan_ops.bias_act\n", done.stderr


def test_install_too_late(tmp_path: Path) -> None:
    folder = project(tmp_path)
    (folder / "torch_utils" / "ops" / "bias_act.py").write_text("activation_funcs = {}\n")
    done = run(
        folder,
        """
        from torch_utils.ops import bias_act
        from ganfast.compat.stylegan_ops import install
        install()
        """,
    )
    assert (
        "RuntimeError: install must be called before torch_utils.ops.bias_act is imported"
        in done.stderr
    )


def test_grouped_convolutions_of_torch(tmp_path: Path) -> None:
    """The modules of a network whose second backward would loop over groups."""
    done = run(
        tmp_path,
        """
        import sys, torch
        from torch import nn
        from torch.utils._python_dispatch import TorchDispatchMode

        class Counter(TorchDispatchMode):
            calls = 0
            def __torch_dispatch__(self, func, types, args=(), kwargs=None):
                self.calls += "aten.convolution" in str(func)
                return func(*args, **(kwargs or {}))

        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(24, 24, 3, padding=1, groups=12), nn.Tanh(),
            nn.Conv2d(24, 24, 3, padding="same", groups=1), nn.Tanh(),
            nn.ConvTranspose2d(24, 24, 3, groups=24), nn.Tanh(), nn.Conv2d(24, 1, 3),
        )
        x = torch.randn(2, 24, 8, 8, requires_grad=True)

        def penalty():
            net.zero_grad()
            (g,) = torch.autograd.grad(net(x).sum(), x, create_graph=True)
            with Counter() as counter:
                g.square().sum().backward()
            return counter.calls, [p.grad.clone() for p in net.parameters() if p.grad is not None]

        calls, grads = penalty()
        import ganfast.compat.stylegan_ops
        ganfast.compat.stylegan_ops.install(grouped_convolutions=True)
        fewer, same = penalty()
        assert calls > 36 and fewer < 30, (calls, fewer)
        torch.testing.assert_close(same, grads, rtol=1e-4, atol=1e-5)
        net[0](x[0])  # one image without a batch
        print(torch.compile(net, backend="eager", fullgraph=True)(x).shape == net(x).shape)
        """,
    )
    assert done.stdout == "True\n", done.stderr


def test_importing_changes_nothing_of_torch() -> None:
    assert Sampler.__init__ is object.__init__ or Sampler.__init__.__module__ != ops.__name__
