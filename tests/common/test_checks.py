import math
import re

import numpy as np
import pytest

from tfvae.common import checks
from tfvae.common.errors import InputError


@pytest.mark.parametrize("number", [2, 3, np.int64(2), np.array(3)])
def test_integers_from_the_least_on_pass(number):
    checks.check_at_least(2, count=number)
    checks.check_positive(count=number)


@pytest.mark.parametrize(
    "number", [1, -3, 2.0, "2", None, True, math.nan, np.array([3]), np.array(2.5)]
)
def test_others_are_refused_by_name(number):
    message = re.escape(f"count must be an integer of at least 2; got {number!r}")
    with pytest.raises(InputError, match=message):
        checks.check_at_least(2, size=2, count=number)


def test_zero_is_not_positive():
    with pytest.raises(InputError, match="count must be an integer of at least 1; got 0"):
        checks.check_positive(count=0)


def test_numbers_from_zero_on_pass():
    checks.check_nonnegative(beta=0, free_bits=np.float32(0.5))


@pytest.mark.parametrize("number", [-0.1, math.inf, math.nan, "0.5", None])
def test_negative_and_infinite_numbers_are_refused(number):
    with pytest.raises(InputError, match="beta must be a finite number of at least 0; got"):
        checks.check_nonnegative(beta=number)


def test_choices_are_named_when_another_is_refused():
    checks.check_one_of(("one", "two"), name="two")
    with pytest.raises(InputError, match="name must be 'one' or 'two'; got 'three'"):
        checks.check_one_of(("one", "two"), name="three")
