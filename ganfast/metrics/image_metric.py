"""What the metrics of images have in common: `ganfast.metrics.image_metrics` describes it."""

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from typing_extensions import Self

from ganfast._numbers import check_truth
from ganfast.data.image_data import check_range
from ganfast.distributed import gather_rows
from ganfast.features.registry import DIMS
from ganfast.metrics.image_network import (
    EncoderNetwork,
    Feature,
    as_rows,
    fingerprint,
    network,
)
from ganfast.metrics.validation import as_features

if TYPE_CHECKING:
    from ganfast.metrics.plain_metric import Metric
else:
    try:
        from torchmetrics import Metric
    except Exception:  # not installed, or broken: a torchvision of another torch raises anything
        from ganfast.metrics.plain_metric import Metric

Path = str | None
Group = Any
Gather = Callable[..., list[Tensor]] | None
Available = Callable[[], bool] | None


class TooFewImagesError(RuntimeError, ValueError):
    """`compute` before it has the images that it needs; torchmetrics raises one or the other."""


class ImageMetric(Metric):
    """States that are lists of tensors (n, D), one for each side, and a network that fills them."""

    is_differentiable: ClassVar[bool | None] = False
    higher_is_better: ClassVar[bool | None] = False
    full_state_update: ClassVar[bool | None] = False
    plot_lower_bound: ClassVar[float | None] = 0.0
    network: Tensor
    feature_network = "inception"  # the attribute that torchmetrics' FeatureShare shares

    _sides: ClassVar[tuple[str, ...]] = ("real_features", "fake_features")
    _layers: ClassVar[tuple[int | str, ...]] = DIMS  # of Inception
    _layer = "features"  # of an Encoder

    def __init__(
        self, feature: Feature, features: Feature | None, weights: Path, antialias: bool,
        normalize: bool, reset_real_features: bool, compute_on_cpu: bool, dist_sync_on_step: bool,
        process_group: Group, dist_sync_fn: Gather, distributed_available_fn: Available,
        sync_on_compute: bool, compute_with_cache: bool,
    ) -> None:  # fmt: skip
        switches = {
            "normalize": normalize, "reset_real_features": reset_real_features,
            "antialias": antialias, "compute_on_cpu": compute_on_cpu,
            "dist_sync_on_step": dist_sync_on_step, "sync_on_compute": sync_on_compute,
            "compute_with_cache": compute_with_cache,
        }  # fmt: skip
        for name, value in switches.items():
            check_truth(name, value)
        super().__init__(
            compute_on_cpu=compute_on_cpu, dist_sync_on_step=dist_sync_on_step,
            process_group=process_group, dist_sync_fn=dist_sync_fn,
            distributed_available_fn=distributed_available_fn, sync_on_compute=sync_on_compute,
            compute_with_cache=compute_with_cache,
        )  # fmt: skip
        if features is not None:
            warnings.warn("features is now called feature", DeprecationWarning, stacklevel=3)
            feature = features
        self.inception = network(feature, weights, antialias, self._layers, self._layer)
        self.normalize = normalize
        self.reset_real_features = reset_real_features
        self._takes_bytes = isinstance(self.inception, EncoderNetwork)
        self._of_last_epoch = False  # the real images were kept by a reset
        for name in self._sides:
            self.add_state(name, [], dist_reduce_fx=None)
        # MetricCollection shares the states of metrics whose first states are equal.
        net = fingerprint(self.inception, normalize, reset_real_features)
        self.add_state("network", net, dist_reduce_fx=None)

    def _score_of(self, update: Callable[[], None]) -> Any:
        """Add a batch, unless it raises: see `forward`."""
        before = {name: list(self._parts(name)) for name in self._sides}
        count, kept = self._update_count, self._of_last_epoch
        self.reset()
        self._to_sync = self.dist_sync_on_step
        try:
            update()
            value = self.compute()
        except Exception:
            for name in self._sides:
                setattr(self, name, before[name])
            self._update_count, self._of_last_epoch, self._computed = count, kept, None
            raise
        finally:
            self._to_sync = self.sync_on_compute
        for name in self._sides:
            batch = [] if self._keeps(name) else self._parts(name)
            setattr(self, name, before[name] + batch)
        self._update_count, self._of_last_epoch, self._computed = count + 1, kept, None
        self._forward_cache = value
        return value

    def reset(self) -> None:
        """Forget the images, or with ``reset_real_features=False`` the fake ones."""
        kept = {name: list(self._parts(name)) for name in self._sides if self._keeps(name)}
        super().reset()
        for name, parts in kept.items():
            setattr(self, name, parts)
        self._of_last_epoch = any(kept.values())

    def merge_state(
        self, incoming_state: Metric | Mapping[str, Any] | Iterable[Metric]
    ) -> Self | None:
        """Add what another metric of this kind has seen, or what its `metric_state` holds.

        A list of metrics is taken for one more release, and then this metric is returned.

        Raises:
            TypeError, ValueError: the state is of another metric or of another feature network.
        """
        if not isinstance(incoming_state, Metric | Mapping):
            if not isinstance(incoming_state, Iterable):
                raise TypeError(
                    "incoming_state must be a metric or its metric_state, "
                    f"got {type(incoming_state).__name__}"
                )
            warnings.warn(
                "merge_state takes one metric at a time: call it for each",
                DeprecationWarning,
                stacklevel=2,
            )
            for metric in incoming_state:
                self.merge_state(metric)
            return self
        if isinstance(incoming_state, Metric):
            if not isinstance(incoming_state, type(self)):
                raise TypeError(
                    f"incoming_state must be a {type(self).__name__}, "
                    f"got a {type(incoming_state).__name__}"
                )
            incoming_state = incoming_state.metric_state
        missing = set(self._sides) - set(incoming_state)
        if missing:
            raise ValueError(
                f"incoming_state must hold {' and '.join(self._sides)}, got {list(incoming_state)}"
            )
        self._check_states(incoming_state)
        for name in self._sides:
            setattr(self, name, [*self._parts(name), *incoming_state[name]])
        self._update_count += 1
        self._computed = None
        return None

    def set_dtype(self, dst_type: torch.dtype | str) -> Self:
        """Return results in this dtype; with float64, metrics of features compute in it.

        A module of your own is converted to it. States stay as precise as they are, and so does
        Inception.
        """
        dtype = getattr(torch, dst_type.split(".")[-1]) if isinstance(dst_type, str) else dst_type
        if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
            raise TypeError(f"dst_type must be a floating-point dtype, got {dst_type!r}")
        self._dtype, self._computed = dtype, None
        self.inception.to(dtype)
        return self

    def train(self, mode: bool = True) -> Self:
        """Leave the feature network in its mode: features must not depend on their batch."""
        self.training = mode
        return self

    def plot(self, val: Tensor | Sequence[Tensor] | None = None, ax: Any = None) -> tuple[Any, Any]:
        """Plot the result, or one or several results in ``val``; of a pair, its mean.

        Args:
            val: what `compute` or `forward` has returned, or a list of that.
            ax: an axis of matplotlib; a new figure by default.
        """
        if val is None:
            val = self.compute()
            val = val[0] if isinstance(val, tuple) else val
        return self._plot(val, ax)

    def _features(self, imgs: Tensor) -> Tensor | None:
        """The features (N, D) of a batch, or None if it is empty."""
        if not isinstance(imgs, Tensor):
            raise TypeError(f"imgs must be a torch tensor, got {type(imgs)}")
        if imgs.ndim == 0:
            raise ValueError("imgs must be a batch (N, C, H, W), got a single number")
        if len(imgs) == 0:
            return None
        if self.normalize and self._takes_bytes:
            if not imgs.is_floating_point():
                raise TypeError(f"imgs must be floats since normalize is True, got {imgs.dtype}")
            check_range("imgs", imgs, 0.0, 1.0)
            imgs = (imgs.clamp(0, 1) * 255).to(torch.uint8)
        with torch.no_grad():
            found = as_rows(self.inception(imgs), len(imgs))
        return as_features(found, "features").to(self.device)

    def _add(self, features: Tensor, name: str) -> None:
        setattr(self, name, [*self._parts(name), features])

    def _all(self, name: str, least: int = 1) -> Tensor:
        """The features of one side, in float64 if `set_dtype` says so."""
        parts = self._parts(name)
        found = sum(map(len, parts))
        if found < least:
            self._refuse(name, least, found)
        features = torch.cat(parts)
        return features.double() if self._dtype == torch.float64 else features

    def _refuse(self, name: str, least: int, found: int) -> None:
        raise TooFewImagesError(
            f"compute needs {least} or more {name.partition('_')[0]} images, got {found} "
            "(forward scores a batch alone: call update for each, then compute)"
        )

    def _parts(self, name: str) -> list[Tensor]:
        parts: list[Tensor] = getattr(self, name)
        return parts

    def _keeps(self, name: str) -> bool:
        return not self.reset_real_features and name.startswith("real")

    def _result(self, value: float, features: Tensor) -> Tensor:
        """A number in float32, or in float64 if the features or `set_dtype` say so."""
        double = torch.float64 in (features.dtype, self._dtype)
        dtype = torch.float64 if double else torch.float32
        return torch.tensor(value, dtype=dtype, device=self.device)

    def _check_states(self, states: Mapping[str, Any]) -> None:
        """Raise TypeError or ValueError for states of another metric or network."""
        for name in set(self._sides) & set(states):
            if not isinstance(states[name], list | tuple):
                raise TypeError(f"{name} must be a list of tensors, got {type(states[name])}")
            for part in states[name]:
                as_features(part, name)
        lengths = {part.shape[1] for name in self._sides for part in states.get(name, ())}
        if len(lengths) > 1:
            raise ValueError(f"states must be of one network, got {sorted(lengths)} features")
        other, own = states.get("network"), self.network.cpu()
        if other is None:
            return
        if not isinstance(other, Tensor) or other.shape != own.shape:
            raise ValueError(f"network must hold {len(own)} numbers, got {other!r}")
        other = other.cpu()
        if own[0] == 1 and other[0] == 1 and not torch.equal(own, other):
            raise ValueError(
                "states must be of the same feature network, normalize and reset_real_features, "
                "got others"
            )

    def _sync_dist(self, dist_sync_fn: Any = None, process_group: Any = None) -> None:
        """Replace the states by those of all processes, some of which may have none."""
        group = process_group or self.process_group
        for name in self._sides:
            parts = self._parts(name)
            own = torch.cat(parts) if parts else torch.empty(0, 0, device=self.device)
            if self.dist_sync_fn is not None:
                every = torch.cat(self.dist_sync_fn(own, group=group))
            else:
                every = gather_rows(own, group)
            setattr(self, name, [every] if len(every) else [])

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move the states, which keep their dtype."""
        nn.Module._apply(self, fn, recurse)  # type: ignore[no-untyped-call]
        self._device = fn(torch.zeros(1, device=self._device)).device
        for name in self._sides:
            setattr(self, name, [x.to(self._device) for x in self._parts(name)])
        self.network = self.network.to(self._device)
        self._computed = None
        return self

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, local_metadata: dict[str, Any],
        strict: bool, missing_keys: list[str], unexpected_keys: list[str], error_msgs: list[str],
    ) -> None:  # fmt: skip
        names = (*self._sides, "network")
        own = {name: state_dict[prefix + name] for name in names if prefix + name in state_dict}
        try:
            self._check_states(own)
        except (TypeError, ValueError) as error:
            error_msgs.append(str(error))
            return
        net = self.network
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )
        for name in self._sides:
            setattr(self, name, [x.to(self.device) for x in self._parts(name)])
        self.network = net  # a module's identity is that of this process
        if own:
            self._update_count, self._computed, self._of_last_epoch = 1, None, False
