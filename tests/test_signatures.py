"""What ``help`` shows of the losses, penalties, regularizers, augmentations and drop-ins."""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from ganfast import augment, compat, losses, penalties, regularizers, stylegan

COMPAT = [
    importlib.import_module(f"ganfast.compat.{module.name}")
    for module in pkgutil.iter_modules(compat.__path__)
    if not module.name.startswith("_")
]
MODULES = [losses, penalties, regularizers, augment, stylegan, *COMPAT]

# Signatures of public projects that end in ** themselves.
OPEN_IN_THE_PROJECT = {
    "mimicry.minimax_loss_gen",
    "mimicry.minimax_loss_dis",
    "studiogan.crammer_singer_loss",
    *(
        f"studiogan.{name}.forward"
        for loss in ("CrossEntropyLoss", "ConditionalContrastiveLoss", "Data2DataCrossEntropyLoss")
        for name in (loss, f"Mi{loss}")
    ),
}


def public(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """The public functions, constructors and methods of a module, by dotted name."""
    short = module.__name__.rpartition(".")[2]
    own = [x for x in vars(module) if getattr(vars(module)[x], "__module__", "") == module.__name__]
    for name in getattr(module, "__all__", own):
        x = getattr(module, name)
        if name.startswith("_"):
            continue
        if inspect.isfunction(x):
            yield f"{short}.{name}", x
        elif inspect.isclass(x) and not getattr(x, "_is_protocol", False):
            for method, f in inspect.getmembers_static(x):
                f = getattr(f, "__func__", f)
                shown = method == "__init__" or not method.startswith("_")
                if shown and inspect.isfunction(f) and f.__module__.startswith("ganfast"):
                    yield f"{short}.{name}.{method}", f


CALLABLES = dict(item for module in MODULES for item in public(module))


def test_the_callables_are_found() -> None:
    expected = {
        "losses.discriminator_loss",
        "losses.AdversarialLoss.__init__",
        "losses.AdversarialLoss.discriminator_with_stats",
        "penalties.wgan_gp",
        "regularizers.orthogonal",
        "augment.DiffAugment",
        "pix2pix.GANLoss.forward",
        "hifigan.feature_loss",
        "audiocraft.mse_loss",
    }
    assert CALLABLES.keys() >= expected
    assert CALLABLES.keys() >= OPEN_IN_THE_PROJECT


@pytest.mark.parametrize("name", CALLABLES)
def test_the_signature_shows_every_option(name: str) -> None:
    signature = inspect.signature(CALLABLES[name])
    code = inspect.unwrap(CALLABLES[name]).__code__
    own = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    shown = [
        x.name for x in signature.parameters.values() if x.kind is not inspect.Parameter.VAR_KEYWORD
    ]
    assert shown == list(own)
    for parameter in signature.parameters.values():
        assert parameter.kind is not inspect.Parameter.VAR_POSITIONAL
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            assert name in OPEN_IN_THE_PROJECT
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            assert parameter.default is not inspect.Parameter.empty, parameter
        assert "Unpack" not in str(parameter.annotation)
        if parameter.name != "self":
            assert parameter.annotation is not inspect.Parameter.empty, parameter
    assert signature.return_annotation is not inspect.Signature.empty
