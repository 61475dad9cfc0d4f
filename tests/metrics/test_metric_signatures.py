"""Every public function and class says its options: no keyword goes in unnamed."""

import inspect

import pytest

from ganfast import cli, data, evaluation, features, metrics


def _is_ours(value):
    return callable(value) and getattr(value, "__module__", "").startswith("ganfast")


def public(module):
    found = ((name, getattr(module, name)) for name in module.__all__)
    return [(f"{module.__name__}.{name}", f) for name, f in found if _is_ours(f)]


def callables():
    """The functions, the classes and their public methods, and the commands."""
    for name, function in (p for m in (data, evaluation, features, metrics) for p in public(m)):
        yield name, function
        if inspect.isclass(function):
            for method, of_class in inspect.getmembers(function, inspect.isfunction):
                if not method.startswith("_") and _is_ours(of_class):
                    yield f"{name}.{method}", of_class
    for command in cli.app.registered_commands:
        yield f"ganfast {command.name or command.callback.__name__}", command.callback


@pytest.mark.parametrize(("name", "function"), list(callables()))
def test_options_are_named(name, function):
    assert "__signature__" not in vars(function), "its signature was edited"
    for parameter in inspect.signature(function).parameters.values():
        assert parameter.kind is not parameter.VAR_KEYWORD, f"{name}(**{parameter.name})"
        assert parameter.name != "strict", name
