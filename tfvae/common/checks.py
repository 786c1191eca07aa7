"""What the numbers and names that users give must be."""

import difflib
import math
import operator
from collections.abc import Sequence
from typing import Any

from tfvae.common.errors import InputError


def check_positive(**numbers: Any) -> None:
    """Refuses numbers that are not positive integers.

    Args:
        **numbers: By name.

    Raises:
        InputError: If one is not.
    """
    check_at_least(1, **numbers)


def check_at_least(minimum: int, **numbers: Any) -> None:
    """Refuses numbers that are not integers of at least so many.

    Args:
        minimum: The smallest that is possible.
        **numbers: By name.

    Raises:
        InputError: If one is not.
    """
    for name, number in numbers.items():
        try:
            is_possible = not isinstance(number, bool) and operator.index(number) >= minimum
        except TypeError:
            is_possible = False
        if not is_possible:
            raise InputError(f"{name} must be an integer of at least {minimum}; got {number!r}")


def check_nonnegative(**numbers: Any) -> None:
    """Refuses numbers that are negative or not finite.

    Args:
        **numbers: By name.

    Raises:
        InputError: If one is.
    """
    for name, number in numbers.items():
        try:
            is_possible = math.isfinite(number) and number >= 0
        except TypeError:
            is_possible = False
        if not is_possible:
            raise InputError(f"{name} must be a finite number of at least 0; got {number!r}")


def check_one_of(choices: Sequence[str], **names: Any) -> None:
    """Refuses what is not one of the choices.

    Args:
        choices: What is possible.
        **names: What was chosen, by name.

    Raises:
        InputError: If one is not among the choices.
    """
    for name, choice in names.items():
        if choice not in choices:
            raise InputError(f"{name} must be {' or '.join(map(repr, choices))}; got {choice!r}")


def near_or_known(name: Any, known: Sequence[str]) -> str:
    """What an error says of a name that is not known: the nearest one that is, or all of them."""
    near = difflib.get_close_matches(str(name), known, n=1)
    return f"did you mean {near[0]}?" if near else f"known are {', '.join(known) or 'none'}"
