"""Calls of a discriminator by the penalties, and gradients of its outputs."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor
from torch.amp.grad_scaler import GradScaler

from ganfast import ops
from ganfast._names import check_name

Inputs = Tensor | Sequence[Tensor]
Discriminator = Callable[..., Any]
Output = int | str | Callable[[Any], Any] | None
Norm = Literal["sample", "pixel", "batch"]
_NORMS = get_args(Norm)

_COMPILED = (
    "discriminator must be uncompiled for an exact penalty, got a compiled one: torch.compile has "
    "no double backward; call the penalty with the module as it was before torch.compile (its "
    "parameters are the same), or use ganfast.penalties.approximate_r1"
)
_ATTENTION = (
    "discriminator must have a double backward for an exact penalty, got one with a fused kernel "
    "of scaled_dot_product_attention, which has none; call it within "
    "torch.nn.attention.sdpa_kernel(SDPBackend.MATH), or use ganfast.penalties.approximate_r1"
)
_SHARDED = (
    "discriminator must hold its whole parameters for an exact penalty, got one of fully_shard, "
    "which shards them again before the double backward; use DistributedDataParallel, or "
    "ganfast.penalties.approximate_r1"
)
_INFERENCE = (
    "an exact penalty must be computed outside torch.inference_mode, got a call inside it, where "
    "nothing has gradients; use torch.no_grad instead, or ganfast.penalties.approximate_r1"
)
#: What to do about nodes without a usable double backward, by the types' names.
_REFUSED_NODES = {
    "CompiledFunctionBackward": _COMPILED,
    "RegisterPostBackwardFunctionBackward": _SHARDED,
    **{
        f"ScaledDotProduct{kernel}Backward0": _ATTENTION
        for kernel in (
            "FlashAttention",
            "FlashAttentionForCpu",
            "EfficientAttention",
            "CudnnAttention",
            "FusedAttentionOverrideable",
        )
    },
}


class Phi(NamedTuple):
    """A penalty as a function of squared norms: see :func:`ganfast.ops.norms`."""

    name: str
    weight: float
    a: float = 0.0
    eps: float = 0.0


def tensors(name: str, inputs: Inputs | None) -> list[Tensor]:
    """Return the tensors of an argument, one or a list, all with the same number of samples."""
    listed = [inputs] if isinstance(inputs, Tensor) else inputs
    if not isinstance(listed, (list, tuple)):
        raise TypeError(
            f"{name} must be a tensor or a list of tensors, got {type(inputs).__name__}"
        )
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


def output_maps(returned: Any, output: Output = None) -> list[Tensor]:
    """Return the tensors that a penalty takes from the return value of a discriminator."""
    if output is not None:
        returned = output(returned) if callable(output) else returned[output]
    elif isinstance(returned, (tuple, Mapping)):
        raise TypeError(
            "output must be an index, a key or a function that picks from the "
            f"{type(returned).__name__} that the discriminator returns, got None"
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
    """Raise RuntimeError for a compiled module, where torch would fail later and less clearly."""
    modules = discriminator.modules() if isinstance(discriminator, torch.nn.Module) else ()
    if hasattr(discriminator, "_torchdynamo_orig_callable") or any(
        "_orig_mod" in module._modules or module._compiled_call_impl is not None
        for module in modules
    ):
        raise RuntimeError(_COMPILED)


def _refuse_graph(outputs: Sequence[Tensor]) -> None:
    """Raise RuntimeError if the graph of outputs cannot be differentiated twice."""
    waiting, seen = [x.grad_fn for x in outputs], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        reason = _REFUSED_NODES.get(type(node).__name__)
        if reason is not None:
            raise RuntimeError(reason)
        for before, _ in node.next_functions:
            waiting.append(before)


def constant(x: Tensor) -> Tensor:
    """Return a tensor without its graph, that autograd takes also if made in inference mode."""
    return x.clone() if x.is_inference() else x.detach()


def outputs_at(
    discriminator: Discriminator,
    points: Sequence[Tensor],
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    output: Output = None,
) -> list[Tensor]:
    """Return the discriminator's outputs at the points."""
    return output_maps(discriminator(*points, *args, **(kwargs or {})), output)


def _cotangents(
    outputs: Sequence[Tensor], points: Sequence[Tensor], scaler: GradScaler | None
) -> tuple[list[Tensor], Tensor | None]:
    """Return the cotangents of a sum of outputs, and the scale that they have with a scaler.

    The scale is the scaler's over the batch size, as in the loss of a mean: float16 holds it.
    """
    if scaler is None:
        return [torch.ones_like(x) for x in outputs], None
    one = torch.ones((), device=points[0].device)
    scale = scaler.scale(one) / points[0].shape[0]
    return [scale.to(x.dtype).expand_as(x) for x in outputs], scale


def _unscaled(g: Sequence[Tensor], scale: Tensor | None) -> list[Tensor]:
    """Divide gradients by their scale in float32 or better, on the device."""
    if scale is None:
        return list(g)
    inverse = scale.reciprocal()
    return [(gk if gk.dtype == torch.float64 else gk.float()) * inverse for gk in g]


def gradients(
    outputs: Sequence[Tensor], points: Sequence[Tensor], scaler: GradScaler | None
) -> list[Tensor]:
    """Return the gradients of the sum of all outputs at each point, with their graph.

    With a scaler the outputs are scaled and the gradients unscaled in float32, both on the device.
    """
    if torch.is_inference_mode_enabled():
        raise RuntimeError(_INFERENCE)
    _refuse_graph(outputs)
    cotangents, scale = _cotangents(outputs, points, scaler)
    return _unscaled(torch.autograd.grad(outputs, points, cotangents, create_graph=True), scale)


def gradients_at(
    function: Callable[[Sequence[Tensor]], Sequence[Tensor]],
    points: Sequence[Tensor],
    scaler: GradScaler | None = None,
) -> list[Tensor]:
    """Return :func:`gradients` of a function's outputs at points, which are taken as constants."""
    constants = [constant(x) for x in points]
    with torch.enable_grad():
        if not torch._C._are_functorch_transforms_active():
            leaves = [x.requires_grad_() for x in constants]
            return gradients(function(leaves), leaves, scaler)
        # Within a transform of torch.func nothing can be told to require gradients.
        outputs, pull_back, *_ = torch.func.vjp(lambda *x: tuple(function(x)), *constants)
        cotangents, scale = _cotangents(outputs, constants, scaler)
        return _unscaled(pull_back(tuple(cotangents)), scale)


def reduced(
    g: Sequence[Tensor], phi: Phi, norm: Norm = "sample", mask: Tensor | None = None
) -> Tensor:
    """Return the penalty of gradients."""
    if norm not in _NORMS:  # the offer of a near name costs as much as a small penalty
        check_name("norm", norm, _NORMS)
    if not phi.eps >= 0:
        raise ValueError(f"eps must be at least 0, got {phi.eps}")
    if mask is not None:
        g = [gk * mask for gk in g]
    if norm == "batch":
        g = [gk.reshape(1, -1) for gk in g]
    penalty = ops.norms(g, *phi, norm == "pixel")
    if mask is None:
        return penalty
    share = mask.mean()
    return torch.where(share == 0, 0.0, penalty / torch.where(share == 0, 1.0, share))


def penalty_at(
    discriminator: Discriminator,
    points: Sequence[Tensor],
    phi: Phi,
    args: Sequence[Any],
    kwargs: Mapping[str, Any] | None,
    output: Output,
    norm: Norm,
    mask: Tensor | None,
    scaler: GradScaler | None,
) -> Tensor:
    """Return an exact penalty of a discriminator at points, which are taken as constants."""
    refuse_compiled(discriminator)
    g = gradients_at(lambda x: outputs_at(discriminator, x, args, kwargs, output), points, scaler)
    with torch.enable_grad():
        return reduced(g, phi, norm, mask)


def gradients_of_logits(
    name: str, logits: Inputs, points: Inputs, scaler: GradScaler | None
) -> list[Tensor]:
    """Return the gradients of outputs that were computed at the points."""
    listed = tensors(name, points)
    if not all(x.requires_grad for x in listed):
        copy = "clone" if any(x.is_inference() for x in listed) else "detach"
        raise ValueError(
            f"{name} must require gradients before the discriminator is called with it, got "
            f"requires_grad=False: {name} = {name}.{copy}().requires_grad_()"
        )
    return gradients(output_maps(logits), listed, scaler)
