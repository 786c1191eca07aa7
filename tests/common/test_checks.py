import math
import re

import numpy as np
import pytest

from tfvae.common.checks import check_choice, check_integer, check_number, check_seed, suggestion
from tfvae.common.errors import InputError


@pytest.mark.parametrize("value", [2, 3, np.int64(2), np.uint8(3), np.array(3), 2**63 - 1])
def test_integers_from_the_minimum_on_become_python_integers(value):
    number = check_integer("count", value, minimum=2)
    assert type(number) is int
    assert number == value


@pytest.mark.parametrize(
    "value", [1, -3, 2.0, "2", None, True, np.True_, math.nan, np.array([3]), np.array(2.5)]
)
def test_other_values_than_such_integers_are_refused_by_name(value):
    message = re.escape(f"count must be an integer of at least 2; got {value!r}")
    with pytest.raises(InputError, match=message):
        check_integer("count", value, minimum=2)


def test_integers_above_the_maximum_are_refused():
    assert check_integer("index", 3, minimum=0, maximum=3) == 3
    with pytest.raises(InputError, match="index must be an integer from 0 to 3; got 4"):
        check_integer("index", 4, minimum=0, maximum=3)
    with pytest.raises(InputError, match="count must be an integer from 1 to 9223372036854775807"):
        check_integer("count", 2**63, minimum=1)


@pytest.mark.parametrize("seed", [0, 7, np.int64(2**40), 2**63 - 1])
def test_seeds_become_python_integers(seed):
    assert type(check_seed(seed)) is int
    assert check_seed(seed) == seed
    assert check_seed(None) is None


@pytest.mark.parametrize("seed", [-1, 2**63, 1.5, "0", True])
def test_other_seeds_are_refused(seed):
    message = re.escape(f"from 0 to 2**63 - 1, or None for a new one; got {seed!r}")
    with pytest.raises(InputError, match=message):
        check_seed(seed)


def test_numbers_within_a_bound_become_python_floats():
    for number in (
        check_number("beta", 0, minimum=0),
        check_number("beta", np.float32(1), above=0),
    ):
        assert type(number) is float


@pytest.mark.parametrize("value", [-0.1, math.inf, math.nan, "0.5", None, True, 10**400])
def test_other_values_than_finite_numbers_within_the_bound_are_refused(value):
    with pytest.raises(InputError, match="beta must be a finite number of at least 0; got"):
        check_number("beta", value, minimum=0)
    with pytest.raises(InputError, match="timeout must be a finite number above 0; got 0"):
        check_number("timeout", 0, above=0)


def test_choices_are_named_when_another_is_refused():
    check_choice("name", "two", ("one", "two"))
    with pytest.raises(InputError, match="name must be one of one, two; got 'three'"):
        check_choice("name", "three", ("one", "two"))


def test_suggestion_is_the_nearest_name_or_all_of_them():
    assert suggestion("mnsit", ["mnist", "omniglot"]) == "did you mean mnist?"
    assert suggestion("cats", ["mnist", "omniglot"]) == "known are mnist, omniglot"
    assert suggestion("cats", []) == "known are none"
