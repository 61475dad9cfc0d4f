"""One training step of a public trainer, with its losses in four ways.

    own      as the trainer's project writes them
    import   ganfast's, after the change of an import
    ganfast  and the discriminator in `ganfast.losses.frozen` in the generator's step
    floor    no losses: a gradient of the networks' outputs that was computed before; the
             discriminator is frozen in the generator's step, so that real samples have no graph

What the four share is in every one of them: the networks, their optimizers, and the networks inside
of losses, such as LPIPS. Penalties are outputs of the networks, too: the gradient of the logits.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as tree

from ganfast.losses import frozen

WAYS = ("own", "import", "ganfast", "floor")
_RATE = 1e-30  # next to nothing: every step computes the same
Outputs = Any  # nested lists, tuples and dicts of tensors


class Trainer(ABC):
    """A trainer's networks, and its losses as functions of what the networks give."""

    #: The project itself freezes its discriminator in the generator's step.
    freezes = False
    #: ganfast's drop-in does it, so that the import alone is enough.
    import_freezes = False

    generator: Any  # modules
    discriminator: Any

    @abstractmethod
    def generate(self) -> Outputs:
        """Run the generator; the first call of a step is used by both halves."""

    @abstractmethod
    def criticize(self, fakes: Outputs) -> Outputs:
        """What the discriminator's loss takes, with the fakes detached."""

    @abstractmethod
    def judge(self, fakes: Outputs) -> Outputs:
        """What the generator's loss takes: through the discriminator, and of the fakes."""

    @abstractmethod
    def own_discriminator(self, outputs: Outputs) -> Tensor:
        """The project's formula."""

    @abstractmethod
    def own_generator(self, outputs: Outputs) -> Tensor:
        """The project's formula."""

    @abstractmethod
    def discriminator_loss(self, outputs: Outputs) -> Tensor:
        """ganfast's."""

    @abstractmethod
    def generator_loss(self, outputs: Outputs) -> Tensor:
        """ganfast's."""

    def regenerate(self, fakes: Outputs) -> Outputs:
        """The fakes of the generator's half: those of the discriminator's, but for projects that
        run the generator twice."""
        return fakes

    def modules(self) -> list[nn.Module]:
        """All networks."""
        return [self.generator, self.discriminator]


def leaves(outputs: Outputs) -> list[Tensor]:
    """The tensors that a gradient goes back through."""
    return [t for t in tree.tree_leaves(outputs) if isinstance(t, Tensor) and t.requires_grad]


def backward(loss: Callable[[Outputs], Tensor], outputs: Outputs) -> Tensor:
    value = loss(outputs)
    torch.autograd.backward(value)
    return value.detach()


class Precomputed:
    """Goes back from the networks' outputs with gradients that it computes at its first call."""

    def __init__(self, loss: Callable[[Outputs], Tensor]) -> None:
        self.loss = loss
        self.gradients: list[Tensor | None] = []

    def __call__(self, outputs: Outputs) -> Tensor:
        found = leaves(outputs)
        if not self.gradients:
            # Of views, since some outputs are computed from others: each has its own part.
            views = tree.tree_map_only(Tensor, lambda t: t.view_as(t), outputs)
            value = self.loss(views)
            self.gradients = list(
                torch.autograd.grad(value, leaves(views), retain_graph=True, allow_unused=True)
            )
        given = [(t, g) for t, g in zip(found, self.gradients, strict=True) if g is not None]
        torch.autograd.backward([t for t, _ in given], [g for _, g in given])
        return torch.zeros(())


class Step:
    """Runs the step of a trainer in one way; what it returns is the sum of its losses.

    Args:
        make: takes whether the networks run ganfast's operations, and makes the trainer.
    """

    def __init__(
        self, make: Callable[[bool], Trainer], way: str, dtype: torch.dtype, device: torch.device
    ) -> None:
        torch.manual_seed(0)
        self.trainer = trainer = make(way != "own")
        for module in trainer.modules():
            module.to(device, dtype)
        for name, value in vars(trainer).items():
            if isinstance(value, Tensor):
                to = dtype if value.is_floating_point() else value.dtype
                setattr(trainer, name, value.to(device, to))
        self.freezes = (
            trainer.freezes
            or way in ("ganfast", "floor")
            or (way == "import" and trainer.import_freezes)
        )
        self.optimizers = [
            torch.optim.Adam(network.parameters(), _RATE)
            for network in (trainer.discriminator, trainer.generator)
        ]
        own = trainer.own_discriminator, trainer.own_generator
        ours = trainer.discriminator_loss, trainer.generator_loss
        self.losses: list[Callable[[Outputs], Tensor]]
        if way == "floor":  # of the project's losses: some of ours free graphs behind the outputs
            self.losses = [Precomputed(loss) for loss in own]
        else:
            self.losses = [partial(backward, loss) for loss in (own if way == "own" else ours)]

    def __call__(self) -> Tensor:
        trainer, (of_d, of_g) = self.trainer, self.losses
        optimizer_d, optimizer_g = self.optimizers
        fakes = trainer.generate()
        optimizer_d.zero_grad()
        detached = tree.tree_map_only(Tensor, Tensor.detach, fakes)
        total = of_d(trainer.criticize(detached))
        optimizer_d.step()
        optimizer_g.zero_grad()
        fakes = trainer.regenerate(fakes)
        with frozen(trainer.discriminator) if self.freezes else nullcontext():
            total = total + of_g(trainer.judge(fakes))
        optimizer_g.step()
        return total
