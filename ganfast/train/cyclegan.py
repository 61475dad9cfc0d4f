"""CycleGAN: two generators and two discriminators in the same loop.

A batch holds images of both domains side by side, (N, 2, C, H, W): domain A, then domain B.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ganfast.data import BatchStream, ImageData
from ganfast.distributed import process_count
from ganfast.losses import ImagePool, cycle_loss, identity_loss
from ganfast.train.batches import Batch
from ganfast.train.journal import Record
from ganfast.train.objective import Loss
from ganfast.train.options import TrainOptions
from ganfast.train.steps import Steps
from ganfast.train.trainer import Trainer


class Generators(nn.Module):
    """Translate pairs (a, b) of shape (N, 2, C, H, W) to pairs (F(b), G(a))."""

    def __init__(self, a_to_b: nn.Module, b_to_a: nn.Module) -> None:
        super().__init__()
        self.a_to_b, self.b_to_a = a_to_b, b_to_a

    def forward(self, pairs: Tensor) -> Tensor:
        return torch.stack([self.b_to_a(pairs[:, 1]), self.a_to_b(pairs[:, 0])], 1)


class Discriminators(nn.Module):
    """Map pairs (N, 2, C, H, W) to logits: one map for each domain."""

    def __init__(self, a: nn.Module, b: nn.Module) -> None:
        super().__init__()
        self.a, self.b = a, b

    def forward(self, pairs: Tensor) -> list[Tensor]:
        return [self.a(pairs[:, 0]), self.b(pairs[:, 1])]


class PairStream(Iterator[Tensor]):
    """Endless unpaired batches of two domains side by side, float32 (B, 2, C, H, W).

    Args:
        a, b: images of the two domains.
        batch_size: images of each domain in a batch.
        seed: seed of the order.

    Raises:
        ValueError: a domain has fewer images than a batch, or the images have two shapes.
    """

    def __init__(self, a: ImageData, b: ImageData, batch_size: int, seed: int) -> None:
        if a.images.shape[1:] != b.images.shape[1:]:
            shapes = [tuple(x.images.shape[1:]) for x in (a, b)]
            raise ValueError(f"a and b must have images of one shape, got {shapes}")
        self._streams = (
            BatchStream(a, batch_size, 2 * seed),
            BatchStream(b, batch_size, 2 * seed + 1),
        )

    def __next__(self) -> Tensor:
        return torch.stack([next(stream)[0] for stream in self._streams], 1)

    def state_dict(self) -> dict[str, dict[str, int]]:
        return {name: s.state_dict() for name, s in zip("ab", self._streams, strict=True)}

    def load_state_dict(self, state: Mapping[str, Mapping[str, int]]) -> None:
        for name, stream in zip("ab", self._streams, strict=True):
            stream.load_state_dict(state[name])


class _CycleSteps(Steps):
    cycle: float
    identity: float
    pools: list[ImagePool]  # of each discriminator

    def _new_fakes(self, batch: Batch) -> Tensor:
        made = self._generate(batch.images)
        return torch.stack([pool(made[:, k]) for k, pool in enumerate(self.pools)], 1)

    def _generator_loss(self, batch: Batch) -> Tensor:
        real = batch.images
        fake = self._generate(real)
        loss = self.loss.generator(self._outputs(self.augment(fake), batch))
        cycled = self._generate(fake)
        same = self._generate(real.flip(1))  # (F(a), G(b))
        a, b = real.unbind(1)
        w = self.cycle
        loss = loss + cycle_loss(a, cycled[:, 0], b, cycled[:, 1], weight_a=w, weight_b=w)
        w = self.identity
        return loss + identity_loss(a, same[:, 0], b, same[:, 1], weight_a=w, weight_b=w)


class CycleTrainer(Trainer):
    """Train :class:`Generators` against :class:`Discriminators` (Zhu et al. 2017).

    Args:
        generator, discriminator, loss, options, out, score, on_sample, on_record, augment: as for
            :class:`ganfast.train.Trainer`.
        data: batches of pairs (N, 2, C, H, W), such as a :class:`PairStream`.
        cycle: weight of mean|F(G(a)) - a| + mean|G(F(b)) - b|.
        identity: weight of mean|F(a) - a| + mean|G(b) - b|.
        pool: number of earlier fakes that each discriminator may see again; 50 in the paper.
        shown: pairs (N, 2, C, H, W) whose translations ``on_sample`` gets.
    """

    _steps_class = _CycleSteps

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        data: Iterable[Any],
        loss: Loss,
        options: TrainOptions,
        out: str | Path,
        *,
        score: Callable[[nn.Module], Record] | None = None,
        on_sample: Callable[[int, Tensor], None] | None = None,
        on_record: Callable[[Record], None] | None = None,
        augment: Callable[[Tensor], Tensor] | None = None,
        cycle: float = 10.0,
        identity: float = 5.0,
        pool: int = 50,
        shown: Tensor,
    ) -> None:
        for name in ("reuse_fakes", "cuda_graphs"):
            if getattr(options, name):
                raise ValueError(f"{name} must be False for a CycleGAN with image pools, got True")
        if process_count() > 1:
            raise ValueError(f"processes must be 1 for a CycleGAN, got {process_count()}")
        self._shown = shown
        super().__init__(
            generator, discriminator, data, loss, options, out, score=score, on_sample=on_sample,
            on_record=on_record, augment=augment,
        )  # fmt: skip
        assert isinstance(self._steps, _CycleSteps)
        self._steps.cycle, self._steps.identity = cycle, identity
        self._pools = [ImagePool(pool, 2 * options.seed + k) for k in range(2)]
        self._steps.pools = self._pools

    def _fixed_samples(self) -> Batch:
        return Batch(self._shown.to(self.device), ())

    def _parts(self) -> dict[str, Any]:
        return {**super()._parts(), **dict(zip(("pool_a", "pool_b"), self._pools, strict=True))}
