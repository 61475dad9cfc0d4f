"""Checks of numbers that a user gives."""


def check_whole(name: str, value: object, minimum: int) -> None:
    """Raise TypeError unless a value is an int, ValueError unless it is at least ``minimum``."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an int, got {value!r}")
    if value < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {value}")


def check_truth(name: str, value: object) -> None:
    """Raise TypeError unless a value is a bool."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be true or false, got {value!r}")


def check_between(
    name: str, value: object, end: float, zero: bool = True, last: bool = False
) -> None:
    """Raise unless 0 <= value < end; ``zero`` and ``last`` say if 0 and the end are allowed."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number, got {value!r}")
    within = 0 <= value < end or (last and value == end)
    if not within or (value == 0 and not zero):
        interval = f"{'[' if zero else '('}0, {end}{']' if last else ')'}"
        raise ValueError(f"{name} must be in {interval}, got {value}")
