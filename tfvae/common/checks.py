"""Checks of the numbers and names that users give: one function for each kind."""

import difflib
import math
import operator
from collections.abc import Iterable, Sequence
from typing import Any

from tfvae.common.errors import InputError

LARGEST_INTEGER = 2**63 - 1  # of TensorFlow's int64, which every count and seed becomes


def check_integer(name: str, value: Any, *, minimum: int, maximum: int = LARGEST_INTEGER) -> int:
    """Returns an integer of Python or NumPy as a Python int, or raises `InputError`."""
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or not minimum <= number <= maximum:
        is_bounded = maximum < LARGEST_INTEGER or (number or 0) > maximum
        bounds = f"from {minimum} to {maximum}" if is_bounded else f"of at least {minimum}"
        raise InputError(f"{name} must be an integer {bounds}; got {value!r}")
    return number


def check_seed(seed: Any) -> int | None:
    """Returns a seed as a Python int, None for none, or raises `InputError`."""
    try:
        return None if seed is None else check_integer("seed", seed, minimum=0)
    except InputError as error:
        raise InputError(
            f"seed must be an integer from 0 to 2**63 - 1, or None for a new one; got {seed!r}"
        ) from error


def check_number(
    name: str, value: Any, *, minimum: float = -math.inf, above: float = -math.inf
) -> float:
    """Returns a finite number within one bound as a Python float, or raises `InputError`."""
    try:
        number = math.nan if isinstance(value, bool | str) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not (math.isfinite(number) and number >= minimum and number > above):
        bound = f"above {above:g}" if above > minimum else f"of at least {minimum:g}"
        raise InputError(f"{name} must be a finite number {bound}; got {value!r}")
    return number


def check_choice(name: str, value: Any, choices: Iterable[str]) -> None:
    """Raises `InputError` if a value is not one of the choices."""
    if value not in (choices := tuple(choices)):
        raise InputError(f"{name} must be one of {', '.join(choices)}; got {value!r}")


def suggestion(name: Any, known: Sequence[str], otherwise: str | None = None) -> str:
    """Suggests the nearest known name in place of an unknown one; otherwise lists all of them."""
    near = difflib.get_close_matches(str(name), known, n=1)
    if near:
        return f"did you mean {near[0]}?"
    return f"known are {', '.join(known) or 'none'}" if otherwise is None else otherwise
