"""However the steps of `fit` are run, they are the same steps."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_models import binary_images

import tfvae
from tfvae.common.errors import InputError
from tfvae.fitting import loops

IMAGE_SHAPE = (6, 5, 1)
SIZES = (5, 5, 3, 5, 5, 5, 2)


@pytest.fixture(scope="module")
def images():
    return binary_images(sum(SIZES), IMAGE_SHAPE)


def small_vae(network="mlp", dtype=None, model=tfvae.VAE, **sizes):
    sizes = sizes or {"hidden": (16,)}
    encoder, decoder = tfvae.networks.build(network, IMAGE_SHAPE, 3, dtype, **sizes)
    return model(encoder=encoder, decoder=decoder, dtype=dtype)


def trained(images, objective="elbo", sample_weight=None, batch_size=5, validation=None, **options):
    """The history and the weights after two epochs."""
    keras.utils.set_random_seed(5)
    vae = small_vae()
    vae.compile(keras.optimizers.Adam(0.01), objective, **options)
    if not isinstance(images, tf.data.Dataset):
        options = {"batch_size": batch_size, "sample_weight": sample_weight, "shuffle": False}
        history = vae.fit(images, epochs=2, validation_data=validation, verbose=0, **options)
    else:
        history = vae.fit(images, epochs=2, verbose=0)
    assert int(vae.optimizer.iterations) == 2 * np.ceil(sum(SIZES) / 5)
    return {**history.history, **{str(i): w for i, w in enumerate(vae.get_weights())}}


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for name, values in one.items():
        np.testing.assert_allclose(values, other[name], rtol=1e-4, atol=1e-5, err_msg=name)


ONE_BY_ONE = {"steps_per_execution": 1, "jit_compile": False}


@pytest.mark.parametrize("steps", [pytest.param(1, marks=pytest.mark.slow), 4])
def test_xla_takes_the_same_steps(images, steps):
    options = {"validation": (images[:7],)}
    xla = trained(images, steps_per_execution=steps, jit_compile=True, **options)
    assert_equal(xla, trained(images, **ONE_BY_ONE, **options))


@pytest.mark.parametrize(
    "objective",
    [
        pytest.param(
            tfvae.objectives.IWAE(num_samples=3, gradient_estimator="doubly_reparameterized"),
            marks=pytest.mark.slow,
        ),
        tfvae.objectives.IWAE(
            num_samples=5, gradient_estimator="doubly_reparameterized", num_resampled=2
        ),
        pytest.param(
            tfvae.objectives.ELBO(analytic_kl=False, free_bits=0.1), marks=pytest.mark.slow
        ),
    ],
    ids=lambda objective: type(objective).__name__,
)
def test_xla_takes_the_same_steps_on_every_objective(images, objective):
    xla = trained(images, objective, steps_per_execution=4, jit_compile=True)
    assert_equal(xla, trained(images, objective, **ONE_BY_ONE))


def test_xla_takes_the_same_steps_with_sample_weights(images):
    sample_weight = np.linspace(0, 2, len(images)).astype(np.float32)
    weighted, one_by_one = (
        trained(images, sample_weight=sample_weight, **options)
        for options in ({"steps_per_execution": 4, "jit_compile": True}, ONE_BY_ONE)
    )
    assert_equal(weighted, one_by_one)
    assert not np.allclose(weighted["elbo"], trained(images, **ONE_BY_ONE)["elbo"], rtol=1e-3)


@pytest.mark.parametrize(
    ("knows_its_length", "most_bytes"),
    [(False, 2**20), (True, 2 * 5 * 30 * 4), pytest.param(True, 1, marks=pytest.mark.slow)],
)
def test_batches_of_any_sizes_each_make_a_step(images, knows_its_length, most_bytes, monkeypatch):
    monkeypatch.setattr(loops, "MOST_GATHERED_BYTES", most_bytes)
    starts = np.cumsum((0, *SIZES))

    def batches():
        for start, size in zip(starts, SIZES, strict=False):
            yield images[start : start + size], np.zeros(size)

    spec = (tf.TensorSpec((None, *IMAGE_SHAPE)), tf.TensorSpec((None,)))
    dataset = tf.data.Dataset.from_generator(batches, output_signature=spec)
    if knows_its_length:
        dataset = dataset.apply(tf.data.experimental.assert_cardinality(len(SIZES)))
    histories = []
    # Two at a time: where Keras takes single steps, it counts one more than there are.
    plain = {"steps_per_execution": 2, "jit_compile": False}
    for options in ({"steps_per_execution": 6, "jit_compile": True}, plain):
        keras.utils.set_random_seed(0)
        vae = small_vae()
        vae.compile(**options)
        histories.append(vae.fit(dataset, epochs=2, verbose=0).history)
        assert vae.optimizer.iterations == 2 * len(SIZES)
    assert_equal(*histories)


def test_a_single_batch_can_be_trained_on(images):
    vaes = [small_vae(), small_vae()]
    vaes[1].set_weights(vaes[0].get_weights())
    for vae, jit_compile in zip(vaes, (True, False), strict=True):
        vae.training_noise.state.assign([1, 2])
        vae.compile(jit_compile=jit_compile)
        vae.train_on_batch(images)
    for one, other in zip(*(vae.get_weights() for vae in vaes), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


class Batches(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.ends = []

    def on_train_batch_end(self, batch, logs=None):
        self.ends.append(batch)


def test_a_callback_is_called_at_every_batch(images, tmp_path):
    vae = small_vae()
    vae.compile()
    record, ends = Batches(), []
    vae.fit(images, batch_size=5, verbose=0, callbacks=record)
    assert record.ends == list(range(6))
    of_lambda = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: ends.append(batch)
    )
    vae.fit(images, batch_size=5, verbose=0, callbacks=[of_lambda])
    assert ends == list(range(6))


def test_without_such_a_callback_many_steps_are_one_execution(images, tmp_path):
    vae = small_vae()
    vae.compile()
    record = Batches()
    each_epoch = [
        keras.callbacks.EarlyStopping("elbo", mode="max"),
        keras.callbacks.ModelCheckpoint(tmp_path / "model.keras"),
        tfvae.callbacks.KLWarmup(epochs=1),
    ]
    vae.fit(images, batch_size=1, verbose=0, callbacks=each_epoch)
    assert vae.steps_per_execution == loops.STEPS_PER_EXECUTION
    vae.fit(images, batch_size=5, verbose=0, callbacks=[*each_epoch, record])
    assert vae.steps_per_execution == 1
    assert record.ends == list(range(6))
    vae.compile(steps_per_execution=2)
    record.ends.clear()
    vae.fit(images, batch_size=5, verbose=0, callbacks=[record])
    assert record.ends == [1, 3, 5]


class OwnStep(tfvae.VAE):
    def train_step(self, data):
        return super().train_step(data)


@pytest.mark.parametrize(
    ("options", "compiled", "batch_size", "expected"),
    [
        ({}, {}, 1, True),
        ({}, {}, 30, False),
        ({}, {"jit_compile": False}, 1, False),
        ({}, {"jit_compile": True}, 30, True),
        ({}, {"steps_per_execution": 1}, 1, False),
        ({}, {"run_eagerly": True}, 30, False),
        ({"dtype": "mixed_bfloat16"}, {}, 1, False),
        ({"network": "conv", "filters": (2,), "hidden": 4}, {}, 1, False),
        ({"model": OwnStep}, {}, 1, False),
    ],
)
def test_xla_is_chosen_where_it_is_faster(
    images, options, compiled, batch_size, expected, monkeypatch
):
    monkeypatch.setattr(loops, "FEWEST_STEPS_FOR_XLA", 30)
    vae = small_vae(**options)
    vae.compile(**compiled)
    vae.fit(images, batch_size=batch_size, epochs=2, verbose=0)
    assert vae.loop.uses_xla == expected


def test_the_steps_of_earlier_fits_count(images, monkeypatch):
    monkeypatch.setattr(loops, "FEWEST_STEPS_FOR_XLA", 60)
    vae = small_vae()
    vae.compile()
    chosen, functions = [], set()
    for _ in range(4):
        vae.fit(images, batch_size=1, verbose=0)
        chosen.append(vae.loop.uses_xla)
        functions.add(vae.train_function)
    assert chosen == [False, True, True, True]
    assert len(functions) == 2


def test_it_is_chosen_anew_for_every_fit_and_kept_as_auto(images, tmp_path, monkeypatch):
    vae = small_vae()
    vae.compile()
    vae.fit(images, batch_size=5, verbose=0)
    train_function = vae.train_function
    vae.fit(images, batch_size=5, verbose=0)
    assert vae.train_function is train_function
    vae.fit(images, batch_size=5, verbose=0, callbacks=[Batches()])
    assert vae.train_function is not train_function
    vae.save(tmp_path / "model.keras")
    config = keras.saving.load_model(tmp_path / "model.keras").get_compile_config()
    assert (config["steps_per_execution"], config["jit_compile"]) == ("auto", "auto")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"steps_per_execution": 0}, "if not 'auto', must be an integer of at least 1; got 0"),
        ({"steps_per_execution": "all"}, "got 'all'"),
        ({"steps_per_execution": True}, "got True"),
        ({"jit_compile": "yes"}, "jit_compile must be True, False or 'auto'; got 'yes'"),
    ],
)
def test_impossible_options_are_refused(option, message):
    with pytest.raises(InputError, match=message):
        small_vae().compile(**option)
