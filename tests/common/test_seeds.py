import keras
import numpy as np
import pytest

from tfvae.common.errors import InputError
from tfvae.common.seeds import next_replica_seed, stateless_seed


def test_a_seed_is_always_the_same_pair():
    np.testing.assert_array_equal(stateless_seed(7), stateless_seed(7))
    pairs = {tuple(stateless_seed(seed).numpy()) for seed in (0, 1, 2**32, 2**32 + 1, 2**63 - 1)}
    assert len(pairs) == 5


def test_no_seed_follows_keras():
    keras.utils.set_random_seed(3)
    first = [tuple(stateless_seed(None).numpy()) for _ in range(2)]
    keras.utils.set_random_seed(3)
    second = [tuple(stateless_seed(None).numpy()) for _ in range(2)]
    assert first == second
    assert first[0] != first[1]


def test_what_is_no_seed_is_refused():
    with pytest.raises(InputError, match="seed must be an integer from 0"):
        stateless_seed(2**63)


def test_generator_advances():
    generator = keras.random.SeedGenerator(0)
    pairs = {tuple(next_replica_seed(generator).numpy()) for _ in range(10)}
    assert len(pairs) == 10
