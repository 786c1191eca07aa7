"""`fit` takes from a data set what it trains on, and nothing else."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_models import binary_images

import tfvae
from tfvae.common.errors import InputError
from tfvae.fitting.input_pipeline import without_autotuning

IMAGE_SHAPE = (6, 5, 1)
IMAGES = binary_images(12, IMAGE_SHAPE)


class Counted:
    """Batches of four images that say how many of them were asked for."""

    def __init__(self):
        self.num_iterations = self.num_batches = 0

    def __call__(self):
        self.num_iterations += 1
        for start in range(0, len(IMAGES), 4):
            self.num_batches += 1
            yield IMAGES[start : start + 4]

    def dataset(self, knows_its_length):
        spec = tf.TensorSpec((None, *IMAGE_SHAPE))
        dataset = tf.data.Dataset.from_generator(self, output_signature=spec)
        if knows_its_length:
            dataset = dataset.apply(tf.data.experimental.assert_cardinality(3))
        return dataset


def compiled_vae(**options):
    vae = tfvae.VAE(IMAGE_SHAPE, latent_dim=2)
    vae.compile(**options)
    return vae


@pytest.mark.parametrize("knows_its_length", [True, False])
@pytest.mark.parametrize("options", [{}, {"jit_compile": True}], ids=["general", "compiled"])
def test_fit_iterates_a_data_set_once_per_epoch(knows_its_length, options):
    counted, validation = Counted(), Counted()
    vae = compiled_vae(**options)
    vae.fit(
        counted.dataset(knows_its_length),
        validation_data=validation.dataset(knows_its_length),
        epochs=2,
        verbose=0,
    )
    assert vae.optimizer.iterations == 6
    assert (counted.num_iterations, counted.num_batches) == (2, 6)
    assert (validation.num_iterations, validation.num_batches) == (2, 6)


def test_fit_under_a_strategy_iterates_once_per_epoch(logical_cpus):
    counted = Counted()
    with tf.distribute.MirroredStrategy(logical_cpus[:1]).scope():
        vae = compiled_vae()
    vae.fit(counted.dataset(knows_its_length=True), epochs=2, verbose=0)
    assert (counted.num_iterations, counted.num_batches) == (2, 6)


def test_fit_takes_no_batch_of_a_generator_that_it_does_not_train_on():
    counted = Counted()
    generator = ((batch,) for _ in range(3) for batch in counted())
    vae = compiled_vae(steps_per_execution=1)
    vae.fit(generator, steps_per_epoch=2, epochs=2, verbose=0)
    assert vae.optimizer.iterations == 4
    # Keras looks at the first batch of a generator and gives it back, and prefetches one more.
    assert counted.num_batches <= 4 + 2


def test_the_first_batch_is_the_first_of_epoch_0(digits_data_dir):
    first = []

    class Recorded(tfvae.VAE):
        def train_step(self, data):
            first.append(data.numpy())
            return super().train_step(data)

    options = {"batch_size": 500, "seed": 0, "data_dir": digits_data_dir}
    vae = Recorded((28, 28, 1), latent_dim=2)
    vae.compile(run_eagerly=True)
    vae.fit(tfvae.load_dataset("digits", **options), verbose=0)
    expected = next(iter(tfvae.load_dataset("digits", initial_epoch=0, **options)))
    np.testing.assert_array_equal(first[0], expected)


@pytest.mark.parametrize("options", [{}, {"jit_compile": True}], ids=["general", "compiled"])
def test_nothing_is_trained_on_images_of_other_values(options):
    vae = compiled_vae(**options)
    before = vae.get_weights()
    dataset = tf.data.Dataset.from_tensor_slices(255 * IMAGES).batch(4)
    for _ in range(2):
        with pytest.raises(InputError, match=r"\[4, 6, 5, 1\] with maximum 255: divide by 255"):
            vae.fit(dataset, verbose=0)
    assert all((x == y).all() for x, y in zip(before, vae.get_weights(), strict=True))
    vae.fit(dataset.map(lambda images: images / 255), verbose=0)


class Gray(keras.utils.PyDataset):
    def __len__(self):
        return 2

    def __getitem__(self, index):
        return 255 * IMAGES[4 * index : 4 * index + 4]


def test_the_first_batch_of_a_pydataset_is_checked():
    with pytest.raises(InputError, match="divide by 255"):
        compiled_vae().fit(Gray(), verbose=0)
    with pytest.raises(InputError, match="divide by 255"):
        compiled_vae().train_on_batch(255 * IMAGES)


def test_an_empty_data_set_of_unknown_length_is_refused():
    spec = tf.TensorSpec((None, *IMAGE_SHAPE))
    dataset = tf.data.Dataset.from_generator(lambda: iter(()), output_signature=spec)
    with pytest.raises(InputError, match="data set of images is empty"):
        compiled_vae().fit(dataset, verbose=0)


def test_an_uncompiled_model_gets_the_sentence_of_keras():
    with pytest.raises(ValueError, match="You must call `compile"):
        tfvae.VAE(IMAGE_SHAPE, 2).fit(IMAGES)


def test_the_stages_of_a_data_set_have_the_names_that_tuning_looks_for():
    dataset = tf.data.Dataset.from_tensor_slices(IMAGES).batch(4)
    assert type(dataset.map(tf.negative)).__name__ == "_MapDataset"
    assert type(dataset.prefetch(1)).__name__ == "_PrefetchDataset"
    assert type(dataset.with_options(tf.data.Options())).__name__ == "_OptionsDataset"
    assert without_autotuning(dataset)._inputs()[0]._inputs()[0] is dataset
