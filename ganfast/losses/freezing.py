"""The discriminator as a fixed function, for the generator's step."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Run a network without gradients of its parameters; gradients still reach its inputs.

    Around the discriminator in the generator's step, this saves the weight gradients that nobody
    uses, and the whole graph of D(real), whose input needs no gradients either. The backward pass
    may run after the context. If the discriminator recomputes its activations by
    ``torch.utils.checkpoint``, run it inside: the recomputation must meet frozen parameters too.

    On leaving, also by an exception, each parameter's ``requires_grad`` is what it was before.
    ``DistributedDataParallel`` may be frozen too. With ``static_graph=True`` it waits forever if it
    is frozen in its first step: call its ``module`` in the context.

    Args:
        module: the discriminator. For several write ``with frozen(mpd), frozen(msd):``.

    Raises:
        TypeError: it is no module.

    Example:
        >>> D = nn.Linear(2, 1)
        >>> fake = torch.randn(4, 2, requires_grad=True)
        >>> with frozen(D):
        ...     generator_loss(D(fake)).backward()
        >>> D.weight.grad is None
        True
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"module must be a torch module, got {type(module).__name__}")
    parameters = [p for p in module.parameters() if p.requires_grad]
    for p in parameters:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in parameters:
            p.requires_grad_(True)
