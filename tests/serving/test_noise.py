import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from tfvae.serving import noise

SMALLEST_P_VALUE = 1e-4


def words_of(seeds, count, **kwargs):
    return noise.random_words(tf.constant(seeds, tf.int64), count, **kwargs).numpy()


def farmhash(number):
    """The fingerprint of eight bytes, from the definition of FarmHash, in plain integers."""
    multiplier, constant = 0x9AE16A3B2F90404F + 16, 0x9AE16A3B2F90404F

    def rotated(x, bits):
        return (x >> bits | x << (64 - bits)) % 2**64

    a = (number + constant) % 2**64
    c = (rotated(number, 37) * multiplier + a) % 2**64
    d = (rotated(a, 25) + number) * multiplier % 2**64
    mixed = (c ^ d) * multiplier % 2**64
    mixed ^= mixed >> 47
    mixed = (d ^ mixed) * multiplier % 2**64
    mixed ^= mixed >> 47
    return mixed * multiplier % 2**64


def test_words_are_those_of_the_definition_on_every_machine():
    for seed in (0, 1, -1, 2**63 - 1, -(2**63)):
        state = farmhash(seed % 2**64)
        expected = [farmhash((state + position) % 2**64) for position in range(3, 8)]
        assert words_of([seed], 5, start=3)[0].tolist() == expected


def test_words_depend_on_their_seed_and_position_alone():
    words = words_of([3, 5, 3, -7], 40)
    np.testing.assert_array_equal(words[0], words[2])
    np.testing.assert_array_equal(words_of([-7], 30, start=10)[0], words[3, 10:])
    np.testing.assert_array_equal(words_of([5, 9], 40)[0], words[1])
    assert words_of([], 40).shape == (0, 40)
    assert len(np.unique(words)) == 3 * 40


@pytest.mark.parametrize("seeds", [np.arange(2000), np.arange(2000) * 2**52, -np.arange(2000)])
def test_noise_has_its_distribution_whatever_the_seeds(seeds):
    words = words_of(seeds, 16)
    uniform = noise.uniform(words[:, :8], 16).numpy()
    normal = noise.standard_normal(words, 16, dtype=tf.float32).numpy()
    for values, distribution in ((uniform, "uniform"), (normal, "norm")):
        # Over everything, along the positions, and along the seeds.
        p_values = [stats.kstest(values.ravel(), distribution).pvalue]
        p_values += [stats.kstest(row, distribution).pvalue * 50 for row in values[:50]]
        p_values += [stats.kstest(column, distribution).pvalue * 16 for column in values.T]
        assert min(p_values) > SMALLEST_P_VALUE


@pytest.mark.parametrize("seeds", [np.arange(4000), np.arange(4000) * 2**52])
def test_noise_is_uncorrelated_between_positions_and_between_neighboring_seeds(seeds):
    normal = noise.standard_normal(words_of(seeds, 32), 32, dtype=tf.float64).numpy()
    for values in (normal, normal**2):
        between_positions = np.corrcoef(values.T)[np.triu_indices(32, k=1)]
        # 496 correlations, each normal with a standard error of 1 / sqrt(4000).
        assert np.abs(between_positions).max() * np.sqrt(4000) < 5.0
        centered = values - values.mean()
        for lag in (1, 2, 7):
            between_seeds = (centered[lag:] * centered[:-lag]).mean() / values.var()
            assert abs(between_seeds) * np.sqrt(centered[lag:].size) < 4.0


def test_every_bit_is_fair_and_every_change_of_a_seed_flips_half_of_them():
    seeds = np.random.default_rng(0).integers(-(2**63), 2**63, 2000)
    bits = np.unpackbits(words_of(seeds, 4).view(np.uint8), axis=-1)
    standard_error = 0.5 / np.sqrt(2000)
    assert np.abs(bits.mean(axis=0) - 0.5).max() < 5.0 * standard_error
    for changed in (0, 1, 31, 32, 62):
        others = np.unpackbits(words_of(seeds ^ 2**changed, 4).view(np.uint8), axis=-1)
        assert np.abs((bits ^ others).mean(axis=0) - 0.5).max() < 5.0 * standard_error


def test_normal_noise_is_the_same_at_any_place_in_a_batch():
    seeds = np.arange(1000)
    together = noise.standard_normal(words_of(seeds, 6), 5, dtype=tf.float32).numpy()
    for start, count in ((0, 1), (500, 1), (13, 7), (999, 1)):
        apart = noise.standard_normal(
            words_of(seeds[start : start + count], 6), 5, dtype=tf.float32
        ).numpy()
        np.testing.assert_array_equal(apart, together[start : start + count])


def test_extreme_words_stay_finite_and_inside():
    words = np.array([[0, 2**64 - 1], [2**64 - 1, 0]], np.uint64)
    assert np.isfinite(noise.standard_normal(words, 2, dtype=tf.float32)).all()
    uniform = noise.uniform(words, 4).numpy()
    assert uniform.min() == 0.0
    assert uniform.max() == 1.0 - 2.0**-24
