"""What the list ops refuse, in the same words on the kernels and without them."""

from typing import Any

import pytest
import torch
from torch import Tensor

from ganfast import ops


def ones(*shapes: tuple[int, ...], **options: Any) -> list[Tensor]:
    return [torch.ones(shape, **options) for shape in shapes]


HALF, INT = torch.float16, torch.int64

#: What every op refuses of its list x.
LISTS = [
    (ValueError, "x must hold at least one tensor, got an empty list", []),
    (ValueError, r"x\[1\] must hold at least one element, got shape \[2, 0\]", ones((2,), (2, 0))),
    (TypeError, r"x\[0\] must have dtype float64, float32, float16 or bfloat16, got torch.int64",
     ones((2,), dtype=INT)),
    (TypeError, r"x\[1\] must have dtype .*, got torch.bool", [*ones((2,)), torch.ones(2).bool()]),
    (TypeError, r"x\[1\] must have dtype .*, got torch.complex64",
     [*ones((2,)), torch.ones(2, dtype=torch.complex64)]),
    (ValueError, r"x\[1\] must have the device of x\[0\], cpu, got meta",
     [*ones((2,)), *ones((2,), device="meta")]),
    (ValueError, r"x\[1\] must have the device of x\[0\], meta, got cpu",
     [*ones((2,), device="meta"), *ones((2,))]),
    (TypeError, r"x\[1\] must be a tensor, got float", [torch.ones(2), 1.0]),
]  # fmt: skip


@pytest.mark.parametrize("op", [ops.flat, ops.rows, ops.flat_with_stats, ops.norms])
@pytest.mark.parametrize(("error", "match", "x"), LISTS)
def test_lists_that_no_op_takes(
    op: Any, error: type[Exception], match: str, x: list[Tensor], route: str
) -> None:
    n = [1.0] * len(x)
    arguments = ("square",) if op is ops.norms else ("softplus", n, n, n)
    arguments += (0.0,) * (op is ops.flat_with_stats)
    with pytest.raises(error, match=f"^{match}"):
        op(x, *arguments)
    renamed = match.replace(r"x\[", r"fake of map ")
    if renamed != match:
        renamed = renamed.replace(r"\]", "", renamed.count("fake"))
        with pytest.raises(error, match=f"^{renamed}"):
            op(x, *arguments, name=lambda argument, k: f"fake of map {k}")


@pytest.mark.parametrize("op", [ops.flat, ops.rows, ops.flat_with_stats])
def test_numbers_that_do_not_match_the_tensors(op: Any, route: str) -> None:
    threshold = {"threshold": 0.0} if op is ops.flat_with_stats else {}
    for which in ("weight", "a", "b"):
        for numbers in ([], [1.0], [1.0, 1.0, 1.0]):
            given = {"weight": [1.0] * 2, "a": [1.0] * 2, "b": [1.0] * 2, which: numbers}
            lengths = [len(p) for p in given.values()]
            with pytest.raises(
                ValueError,
                match="^weight, a and b must have one number for each of the 2 tensors, "
                f"got {lengths[0]}, {lengths[1]} and {lengths[2]}",
            ):
                op(ones((2,), (2,)), "softplus", **given, **threshold)


@pytest.mark.parametrize("op", [ops.flat, ops.rows])
def test_functions_that_are_unknown_or_take_no_differences(op: Any, route: str) -> None:
    x, n = ones((2,)), [1.0]
    with pytest.raises(ValueError, match=r"^f must be one of softplus .*hinge.* l1, got swish"):
        op(x, "swish", n, n, n)
    for f in ("identity", "bce", "bce_with_logits"):
        with pytest.raises(ValueError, match=f"^f must be one of .* with a y, got {f}"):
            op(x, f, n, n, n, x)


X, ONE = ones((3,), (3, 1)), ones((3,))
#: What ops refuse of other arguments: their names, the error, x, and the argument.
REFUSED = [
    ("flat rows", ValueError, "y must be empty or have one for each of the 2, got 1", X,
     {"y": X[:1]}),
    ("flat rows", ValueError, r"y\[1\] must have the shape of x\[1\], \[3, 1\].* got .*\[2\]", X,
     {"y": ones((3,), (2,))}),
    ("flat rows", ValueError, r"y\[1\] must have the shape of x\[1\], \[3, 1\].* got .*\[3, 2\]", X,
     {"y": ones((3,), (3, 2))}),
    ("flat", ValueError, r"y\[0\] .* or be one number or one sample of it, got shape \[2, 2, 3\]",
     ones((5, 2, 3)), {"y": ones((2, 2, 3))}),
    ("rows", ValueError, r"y\[0\] must have the shape of x\[0\], \[3\], got \[\]", X,
     {"y": ones((), (1,))}),
    ("flat rows", TypeError, r"y\[0\] must have dtype float64, .* or bfloat16, got torch.int64", X,
     {"y": ones((3,), (3, 1), dtype=INT)}),
    ("flat rows", ValueError, r"y\[0\] must have the device of x\[0\], cpu, got meta", X,
     {"y": ones((3,), (3, 1), device="meta")}),
    ("flat rows", TypeError, r"y\[1\] must be a tensor, got float", X, {"y": [X[0], 1.0]}),
    ("rows norms", ValueError, r"x\[0\] must have an axis of samples, got shape \[\]", ones(()),
     {}),
    ("rows norms", ValueError, r"x\[1\] must have as many samples as x\[0\], 3, got 2",
     ones((3,), (2,)), {}),
    ("rows", ValueError, "sample_weight must be empty or have one entry for each of the 2 tensors, "
     "got 1", ones((3,), (3,)), {"sample_weight": ONE}),
    ("rows", ValueError, r"sample_weight\[0\] must be on cpu with one entry for each of the 3 "
     r"samples, got shape \[2\]", ONE, {"sample_weight": ones((2,))}),
    ("rows", ValueError, r"sample_a\[0\] must be on cpu .* got shape \[3, 1\]", ONE,
     {"sample_a": ones((3, 1))}),
    ("rows", ValueError, r"sample_a\[0\] must be on cpu .* on meta", ONE,
     {"sample_a": ones((3,), device="meta")}),
    ("rows", TypeError, r"sample_a\[0\] must have dtype torch.float32, got torch.float16",
     ones((3,), dtype=HALF), {"sample_a": ones((3,), dtype=HALF)}),
    ("norms", ValueError, r"x\[0\] must have axes of samples and channels, got shape \[2\]",
     ones((2,)), {"pixel": True}),
    ("norms", ValueError, r"x\[1\] must have the shape of x\[0\] except for the channels, "
     r"\[2, 3, 4\], got \[2, 3, 5\]", ones((2, 3, 4), (2, 3, 5)), {"pixel": True}),
    ("norms", ValueError, "phi must be one of centred one_sided square power maximum, got cube",
     ONE, {"phi": "cube"}),
    ("norms", ValueError, "phi must be one of centred .*, got identity", ONE, {"phi": "identity"}),
    ("norms", ValueError, "pixel must be False for maximum", ones((2, 1)),
     {"phi": "maximum", "pixel": True}),
]  # fmt: skip


@pytest.mark.parametrize(("of", "error", "match", "x", "options"), REFUSED)
def test_what_does_not_fit_x(
    of: str,
    error: type[Exception],
    match: str,
    x: list[Tensor],
    options: dict[str, Any],
    route: str,
) -> None:
    n = [1.0] * len(x)
    for op in of.split():
        arguments = {"phi": "square"} if op == "norms" else {"f": "l1", "weight": n, "a": n, "b": n}
        with pytest.raises(error, match=f"^{match}"):
            getattr(ops, op)(x, **(arguments | options))


@pytest.mark.compiled
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_the_registered_ops_refuse_what_their_kernels_could_not_read(device: str) -> None:
    """As reading past the end of what they were given. The ops' functions say what is wrong."""
    x, n, op = ones((3, 4), device=device), [1.0], torch.ops.ganfast
    scalar, of_samples = (torch.ones(s, device=device) for s in ((), (3,)))
    derivatives = torch.ones(2, 3, device=device)
    flat, rows = ("square", n, [0.0], n), ([], [], "square", n, [0.0], n, False, False)
    fits = [
        (op.flat, (x, [], *flat, False, None)),
        (op.rows, (x, [], *rows, "identity", [])),
        (op.flat_backward, (scalar, x, [], *flat, [0])),
        (op.flat_double_backward, (scalar, x, [], x, *flat, [0], [0])),
        (op.rows_backward, (of_samples, x, [], None, *rows, [0])),
        (op.rows_double_backward, (of_samples, x, [], x, None, *rows, [0], [0])),
        (op.rows_backward, (scalar, x, [], derivatives, *rows, [0])),
        (op.rows_double_backward, (scalar, x, [], x, derivatives, *rows, [0], [0])),
    ]
    wide = scalar.double()
    wrong = {
        op.flat: [{0: [x[0].int()]}, {1: [x[0][:2]]}, {2: "swish"}, {3: [1.0, 1.0]}],
        op.rows: [{0: [scalar]}, {2: [scalar]}, {3: [of_samples.double()]}, {10: "cube"}],
        op.flat_backward: [{0: of_samples[:2]}, {0: wide}, {7: [1]}, {7: [-1]}],
        op.flat_double_backward: [{3: []}, {3: [x[0][:2]]}, {3: [x[0].half()]}, {8: [1]}, {9: [1]}],
        op.rows_backward: [{0: of_samples[:2]}, {0: wide}, {0: of_samples[:, None]},
                           {3: derivatives[:1]}, {3: derivatives.T}, {3: derivatives.double()},
                           {12: [1]}],
        op.rows_double_backward: [{0: of_samples[:2]}, {3: [x[0][:2]]}, {3: []},
                                  {4: derivatives[:, :2]}, {13: [1]}, {14: [2]}],
    }  # fmt: skip
    for called, arguments in fits:
        called(*arguments)
        for changes in wrong[called]:
            changed = [changes.get(place, argument) for place, argument in enumerate(arguments)]
            with pytest.raises((TypeError, ValueError)):
                called(*changed)
