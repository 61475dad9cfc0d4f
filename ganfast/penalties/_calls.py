"""How a penalty calls a discriminator, and takes the gradient of what it returns."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, Literal, ParamSpec, TypedDict, get_args

import torch
from torch import Tensor
from torch.amp.grad_scaler import GradScaler

from ganfast import ops

P = ParamSpec("P")
Inputs = Tensor | Sequence[Tensor]
Discriminator = Callable[..., Any]
Output = int | str | Callable[[Any], Any] | None
Norm = Literal["sample", "pixel", "batch"]

COMPILED = (
    "the discriminator is compiled, and torch.compile has no double backward, which an exact "
    "penalty needs: call the penalty with the module as it was before torch.compile (its "
    "parameters are the same), or use ganfast.penalties.approximate_r1"
)


class CallOptions(TypedDict, total=False):
    """How the discriminator is called."""

    args: Sequence[Any]
    kwargs: Mapping[str, Any] | None
    output: Output


class NormOptions(TypedDict, total=False):
    """How gradients become one number."""

    norm: Norm
    mask: Tensor | None
    scaler: GradScaler | None


class ExactOptions(CallOptions, NormOptions, total=False):
    """The options of all exact penalties."""


def strict(penalty: Callable[P, Tensor]) -> Callable[P, Tensor]:
    """Refuse keywords that a penalty does not have.

    Of ``**options: Unpack[...]`` type checkers know the names; at run time, Python takes any.
    """
    *parameters, options = inspect.signature(penalty).parameters.values()
    (named,) = get_args(options.annotation)
    chosen = [x.name for x in parameters if x.kind is inspect.Parameter.KEYWORD_ONLY]
    has = ", ".join([*chosen, *sorted(named.__optional_keys__)])
    known = {x.name for x in parameters} | named.__optional_keys__

    @wraps(penalty)
    def checked(*args: P.args, **kwargs: P.kwargs) -> Tensor:
        for name in kwargs:
            if name not in known:
                raise TypeError(f"{penalty.__name__} has no option {name!r}; it has {has}")
        return penalty(*args, **kwargs)

    return checked


def tensors(name: str, inputs: Inputs | None) -> list[Tensor]:
    """The tensors in an argument: one, or those of a list; each with samples along its first
    dimension."""
    listed = [inputs] if isinstance(inputs, Tensor) else inputs
    if not isinstance(listed, (list, tuple)):
        raise TypeError(f"{name} must be a tensor or a list of tensors, got {type(inputs)}")
    if not listed:
        raise ValueError(f"{name} must hold at least one tensor, got an empty list")
    for k, x in enumerate(listed):
        where = name if isinstance(inputs, Tensor) else f"{name}[{k}]"
        if not isinstance(x, Tensor):
            raise TypeError(f"{where} must be a tensor, got {type(x).__name__}")
        if not x.is_floating_point():
            raise TypeError(f"{where} must be floating point, got {x.dtype}")
        if x.dim() == 0 or x.numel() == 0:
            raise ValueError(f"{where} must hold samples, got shape {tuple(x.shape)}")
        if x.shape[0] != listed[0].shape[0]:
            raise ValueError(
                f"{where} must have the {listed[0].shape[0]} samples of {name}[0], got {x.shape[0]}"
            )
    return list(listed)


def maps(returned: Any, output: Output = None) -> list[Tensor]:
    """The tensors in what a discriminator returned that a penalty is of."""
    if output is not None:
        returned = output(returned) if callable(output) else returned[output]
    elif isinstance(returned, (tuple, Mapping)):
        kind = type(returned).__name__
        raise TypeError(
            f"the discriminator returned a {kind}: output must say which of it the penalty is of "
            "(an index, a key, or a function of it)"
        )
    listed = [returned] if isinstance(returned, Tensor) else returned
    if (
        not isinstance(listed, (list, tuple))
        or not listed
        or not all(isinstance(x, Tensor) for x in listed)
    ):
        raise TypeError(
            "the discriminator's output must be a tensor or a list of tensors, got "
            f"{type(returned).__name__}"
        )
    return list(listed)


def refuse_compiled(discriminator: Discriminator) -> None:
    """Raise where torch would, later and in other words."""
    modules = discriminator.modules() if isinstance(discriminator, torch.nn.Module) else ()
    if hasattr(discriminator, "_torchdynamo_orig_callable") or any(
        "_orig_mod" in module._modules or module._compiled_call_impl is not None
        for module in modules
    ):
        raise RuntimeError(COMPILED)


def outputs_at(
    discriminator: Discriminator,
    points: Sequence[Tensor],
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    output: Output = None,
) -> list[Tensor]:
    """The discriminator's outputs at the points."""
    return maps(discriminator(*points, *args, **(kwargs or {})), output)


def gradients(
    outputs: Sequence[Tensor], points: Sequence[Tensor], scaler: GradScaler | None
) -> list[Tensor]:
    """Gradients of the sum of all outputs in each point, with the graph for another backward.

    With a scaler the outputs are scaled on the way and the gradients unscaled in float32, both on
    the device. The factor is the scale over the batch, as in the loss of a mean: float16 holds it.
    """
    if scaler is None:
        cotangents = [torch.ones_like(x) for x in outputs]
        scale = None
    else:
        one = torch.ones((), device=points[0].device)
        scale = scaler.scale(one) / points[0].shape[0]
        cotangents = [scale.to(x.dtype).expand_as(x) for x in outputs]
    try:
        found = torch.autograd.grad(outputs, points, cotangents, create_graph=True)
    except RuntimeError as error:
        if "donated buffers" in str(error):
            raise RuntimeError(COMPILED) from error
        raise
    if any(g.grad_fn is not None and "CompiledFunction" in g.grad_fn.name() for g in found):
        raise RuntimeError(COMPILED)
    if scale is None:
        return list(found)
    inverse = scale.reciprocal()
    return [(g if g.dtype == torch.float64 else g.float()) * inverse for g in found]


def reduced(
    g: Sequence[Tensor],
    phi: str,
    weight: float,
    a: float = 0.0,
    norm: Norm = "sample",
    eps: float = 0.0,
    mask: Tensor | None = None,
) -> Tensor:
    """The penalty of gradients: :func:`ganfast.ops.norms` with the options of a penalty."""
    if norm not in get_args(Norm):
        raise ValueError(f"norm must be one of {', '.join(get_args(Norm))}, got {norm!r}")
    if not eps >= 0:
        raise ValueError(f"eps must be at least 0, got {eps}")
    if mask is not None:
        g = [gk * mask for gk in g]
    if norm == "batch":
        g = [gk.reshape(1, -1) for gk in g]
    penalty = ops.norms(g, phi, weight, a, eps, norm == "pixel")
    if mask is None:
        return penalty
    share = mask.mean()
    return torch.where(share == 0, 0.0, penalty / torch.where(share == 0, 1.0, share))


def penalty_at(
    discriminator: Discriminator,
    points: Sequence[Tensor],
    phi: str,
    weight: float,
    a: float,
    options: ExactOptions,
    eps: float = 0.0,
) -> Tensor:
    """An exact penalty of a discriminator at points, which are taken as constants."""
    refuse_compiled(discriminator)
    leaves = [x.detach().requires_grad_() for x in points]
    with torch.enable_grad():
        outputs = outputs_at(
            discriminator,
            leaves,
            options.get("args", ()),
            options.get("kwargs"),
            options.get("output"),
        )
        g = gradients(outputs, leaves, options.get("scaler"))
        return reduced(
            g,
            phi,
            weight,
            a,
            options.get("norm", "sample"),
            eps,
            options.get("mask"),
        )


def gradients_of(
    name: str, logits: Inputs, points: Inputs, scaler: GradScaler | None
) -> list[Tensor]:
    """Gradients of outputs that were computed at `points`."""
    listed = tensors(name, points)
    if not all(x.requires_grad for x in listed):
        raise ValueError(
            f"{name} must require gradients before the discriminator is called with it: "
            f"{name} = {name}.detach().requires_grad_()"
        )
    return gradients(maps(logits), listed, scaler)


def penalty_of(
    name: str,
    logits: Inputs,
    points: Inputs,
    phi: str,
    weight: float,
    a: float,
    options: NormOptions,
    eps: float = 0.0,
) -> Tensor:
    """An exact penalty from outputs that were computed at `points`."""
    g = gradients_of(name, logits, points, options.get("scaler"))
    return reduced(g, phi, weight, a, options.get("norm", "sample"), eps, options.get("mask"))
