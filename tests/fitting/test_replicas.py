"""Several replicas in one process give what one device gives.

All models of one number of replicas share a strategy: TensorFlow numbers the exchanges of each
strategy from one, so that those of two in the same process would be taken for each other.
"""

import keras
import numpy as np
import psutil
import pytest
import tensorflow as tf
from small_models import IMAGE_SHAPE, binary_images, small_vae, trained

import tfvae
from tfvae.common.errors import InputError
from tfvae.common.seeds import next_replica_seed
from tfvae.fitting import loops, optimizers, replicas


@pytest.fixture(scope="module")
def two_cpus(logical_cpus):
    return tf.distribute.MirroredStrategy(logical_cpus[:2])


@pytest.fixture(scope="module", params=["cpu", pytest.param("gpu", marks=pytest.mark.gpu)])
def two_replicas(request):
    if request.param == "cpu":
        return request.getfixturevalue("two_cpus")
    gpus = request.getfixturevalue("gpus")
    if len(gpus) < 2:
        pytest.skip("only one GPU is visible, and not in two halves as with `-m gpu`")
    # NCCL does not take two halves of one.
    has_one = len(tf.config.list_physical_devices("GPU")) == 1
    exchange = tf.distribute.ReductionToOneDevice() if has_one else None
    return tf.distribute.MirroredStrategy(gpus[:2], cross_device_ops=exchange)


@pytest.fixture(scope="module")
def four_replicas(logical_cpus):
    return tf.distribute.MirroredStrategy(
        logical_cpus, cross_device_ops=tf.distribute.ReductionToOneDevice()
    )


@pytest.fixture(scope="module")
def images():
    return binary_images(33, IMAGE_SHAPE)


@pytest.fixture(scope="module")
def one_device(images):
    return trained(None, images)


def check_equal(one, other, tolerance=1e-5):
    (vae, history), (other_vae, other_history) = one, other
    for x, y in zip(vae.get_weights(), other_vae.get_weights(), strict=True):
        np.testing.assert_allclose(x, y, rtol=0, atol=tolerance)
    for name, values in history.items():
        np.testing.assert_allclose(values, other_history[name], rtol=1e-5, err_msg=name)


def test_two_replicas_train_like_one_device(one_device, two_replicas, images):
    check_equal(one_device, trained(two_replicas, images))


@pytest.mark.slow
def test_four_replicas_train_like_one_device(one_device, four_replicas, images):
    check_equal(one_device, trained(four_replicas, images))


@pytest.fixture(scope="module")
def one_replica(logical_cpus):
    return tf.distribute.MirroredStrategy(logical_cpus[:1])


def test_one_replica_trains_like_one_device(one_device, one_replica, images):
    vae, history = trained(one_replica, images)
    check_equal(one_device, (vae, history))
    assert isinstance(vae.trainable_variables[0].value, tf.distribute.DistributedValues)
    # Whether or not the scope is still open.
    with one_replica.scope():
        vae.fit(images, batch_size=8, verbose=0)
        scope_means = vae.evaluate(images, verbose=0, return_dict=True)
        predicted = vae.predict(images, verbose=0)
    assert vae.evaluate(images, verbose=0, return_dict=True).keys() == scope_means.keys()
    np.testing.assert_allclose(vae.predict(images, verbose=0), predicted, atol=1e-5)
    vae.train_on_batch(images)
    assert vae.optimizer.iterations.numpy() == 26


@pytest.mark.slow
def test_one_replica_in_xla_s_loop(one_replica, images):
    compile_arguments = {"jit_compile": True, "steps_per_execution": 3}
    one, other = (
        trained(strategy, images, **compile_arguments) for strategy in (None, one_replica)
    )
    check_equal(one, other)


def test_several_steps_per_execution(two_replicas, images):
    # Of 5 steps an epoch: 3, then the 2 that are left. The warm-up moves once an execution.
    one, two = (
        trained(strategy, images, steps_per_execution=3) for strategy in (None, two_replicas)
    )
    check_equal(one, two)


@pytest.mark.slow
def test_xla_changes_nothing(one_device, two_replicas, images):
    vae, history = trained(two_replicas, images, jit_compile=True)
    check_equal(one_device, (vae, history))
    assert vae.get_compile_config()["jit_compile"] is True


@pytest.mark.slow
@pytest.mark.parametrize(
    ("optimizer", "arguments"),
    [(keras.optimizers.SGD, {"momentum": 0.5}), (optimizers.AdamW, {"weight_decay": 1.0})],
)
def test_optimizers_of_outside_the_scope_are_made_again_within(
    optimizer, arguments, two_replicas, images
):
    schedule = keras.optimizers.schedules.CosineDecay(1e-2, 20)

    def train(strategy):
        return trained(
            strategy,
            images,
            optimizer=optimizer(schedule, global_clipnorm=1.0, **arguments),
            objective=tfvae.objectives.ELBO(num_samples=2),
        )

    one, two = train(None), train(two_replicas)
    check_equal(one, two)
    assert two[0].objective.num_samples == 2


@pytest.mark.parametrize(
    "dtype", [pytest.param("mixed_bfloat16", marks=pytest.mark.slow), "mixed_float16"]
)
def test_mixed_precision_trains(dtype, two_replicas, images):
    vae = small_vae(two_replicas, dtype=dtype, noise=True)
    vae.compile(keras.optimizers.Adam(1e-2))
    assert hasattr(vae.optimizer, "dynamic_scale") == (dtype == "mixed_float16")
    loss = vae.fit(images, batch_size=8, epochs=15, verbose=0).history["loss"]
    assert loss[-1] < loss[0] - 1


@pytest.mark.slow
def test_steps_per_execution_may_be_left_open(two_replicas, images):
    one, two = [], []
    for strategy, results in ((None, one), (two_replicas, two)):
        vae = small_vae(strategy)
        vae.compile()
        history = vae.fit(images, batch_size=2, epochs=2, shuffle=False, verbose=0).history
        assert vae.steps_per_execution == loops.STEPS_PER_EXECUTION < 17
        results += [vae, history]
    check_equal(one, two)
    predicted = [vae.predict(images, batch_size=2, verbose=0) for vae, _ in (one, two)]
    np.testing.assert_allclose(*predicted, atol=1e-5)


@pytest.mark.filterwarnings("ignore::tfvae.inference.LowEffectiveSampleSizeWarning")
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(None, 1e-6), pytest.param("mixed_bfloat16", 1e-2, marks=pytest.mark.slow)],
)
def test_the_rest_of_the_interface_is_that_of_one_device(dtype, tolerance, two_replicas, images):
    one, two = small_vae(dtype=dtype), small_vae(two_replicas, dtype=dtype)
    for vae in (one, two):
        vae.compile(steps_per_execution=3)
    # Five batches, of which the last is one image; five, of which none can be halved.
    batches = tf.data.Dataset.from_tensor_slices(images).batch(7)
    predicted = [vae.predict(images, batch_size=8, verbose=0) for vae in (one, two)]
    predicted += [vae.predict(batches, verbose=0) for vae in (one, two)]
    predicted += [vae.predict_on_batch(images) for vae in (one, two)]
    for other in predicted[1:]:
        np.testing.assert_allclose(predicted[0], other, atol=tolerance)

    weights = np.linspace(0, 3, len(images), dtype=np.float32)
    weighted = tf.data.Dataset.from_tensor_slices((images, images, weights)).batch(7)
    evaluated = [
        vae.evaluate(images, sample_weight=weights, batch_size=8, verbose=0) for vae in (one, two)
    ]
    evaluated += [vae.evaluate(weighted, verbose=0) for vae in (one, two)]
    for other in evaluated[1:]:
        np.testing.assert_allclose(evaluated[0], other, rtol=10 * tolerance)
    with two_replicas.scope():
        inside = two.evaluate(images, sample_weight=weights, batch_size=8, verbose=0)
    np.testing.assert_allclose(evaluated[0], inside, rtol=10 * tolerance)

    for data in (images[:4], batches.take(1)):
        likelihoods = [
            tfvae.log_likelihood(vae, data, num_samples=20, seed=0) for vae in (one, two)
        ]
        np.testing.assert_allclose(*likelihoods, rtol=10 * tolerance)
    np.testing.assert_array_equal(one.sample(3, seed=0), two.sample(3, seed=0))


@pytest.mark.slow
def test_streams_larger_than_memory_train_in_bounded_memory(two_replicas):
    keras.utils.set_random_seed(0)
    with two_replicas.scope():
        encoder, decoder = tfvae.networks.build("mlp", (64, 64, 1), 2, None, hidden=(4,))
        vae = tfvae.VAE(encoder=encoder, decoder=decoder)
    vae.compile()
    generator = np.random.default_rng(0)

    def batches():
        while True:
            yield generator.integers(0, 2, (128, 64, 64, 1)).astype(np.float32)

    shape = tf.TensorSpec([None, 64, 64, 1], tf.float32)
    stream = tf.data.Dataset.from_generator(batches, output_signature=shape).prefetch(2)
    process, resident = psutil.Process(), []
    callback = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: resident.append(process.memory_info().rss)
    )
    vae.fit(stream, steps_per_epoch=32, epochs=9, callbacks=[callback], verbose=0)
    # What is taken once is taken in the first three epochs.
    growth = max(resident[3:]) - max(resident[:3])
    streamed = 6 * 32 * 128 * 64 * 64 * 4
    assert growth < streamed / 10


def test_replicas_draw_different_noise_and_runs_repeat(two_replicas):
    seeds = small_vae(two_replicas, seed=3).training_noise
    drawn = two_replicas.run(lambda: next_replica_seed(seeds))
    first, second = two_replicas.experimental_local_results(drawn)
    assert (first != second).numpy().any()
    again = small_vae(two_replicas, seed=3).training_noise
    drawn = two_replicas.run(lambda: next_replica_seed(again))
    np.testing.assert_array_equal(two_replicas.experimental_local_results(drawn)[0], first)


def test_files_of_replicas_are_files_of_any_model(two_replicas, images, tmp_path):
    vae = small_vae(two_replicas)
    vae.compile()
    vae.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.compiled
    np.testing.assert_array_equal(loaded.sample(2, seed=0), vae.sample(2, seed=0))


def test_too_small_batches_are_refused(four_replicas, images):
    vae = small_vae(four_replicas)
    vae.compile()
    for data in (images[:3], tf.data.Dataset.from_tensor_slices(images).batch(3)):
        with pytest.raises(InputError, match="batch of 3 images is too small for 4 replicas"):
            vae.fit(data, verbose=0)
    with pytest.raises(InputError, match="batch of 3 images is too small for 4 replicas"):
        vae.evaluate(images, batch_size=3, verbose=0)


def gradients_of(vae, replica, infinite=()):
    """Gradients that differ by variable and replica, and in their sign; not a number in some."""
    sign = 1.0 - 2.0 * tf.cast(replica, tf.float32)
    scale = float("inf") if replica in infinite else 1.0
    return [
        scale * (2.0 + number % 3 + sign * tf.cumsum(tf.ones_like(variable)))
        for number, variable in enumerate(vae.trainable_variables)
    ]


def update(vae, gradients, weight):
    """As the model's own step does it."""
    means = replicas.mean_gradients(gradients, weight)
    with replicas.gradients_of_all_replicas(vae.optimizer):
        vae.optimizer.apply(means, vae.trainable_variables)


@pytest.mark.parametrize(
    "clipping", [{"clipnorm": 3.0}, {"clipvalue": 2.5}, {"global_clipnorm": 4}]
)
def test_what_is_clipped_is_the_gradient_of_the_global_batch(clipping, two_replicas):
    one, two = small_vae(), small_vae(two_replicas)
    for vae in (one, two):
        vae.compile(keras.optimizers.SGD(1.0, **clipping))

    def step():
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        # Three images here, one there.
        update(two, gradients_of(two, replica), 3.0 - 2.0 * tf.cast(replica, tf.float32))

    two_replicas.run(step)
    mean = [(3 * x + y) / 4 for x, y in zip(*(gradients_of(one, i) for i in (0, 1)), strict=True)]
    one.optimizer.apply(mean, one.trainable_variables)
    check_equal((one, {}), (two, {}))
    assert two.optimizer.iterations == 1


def test_steps_of_ones_own_add_up_the_gradients_once(two_replicas):
    one, two = small_vae(), small_vae(two_replicas)
    for vae in (one, two):
        vae.compile(keras.optimizers.SGD(1.0))

    def step():
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        gradients = gradients_of(two, replica)
        two.optimizer.apply_gradients(zip(gradients, two.trainable_variables, strict=True))

    two_replicas.run(step)
    total = [x + y for x, y in zip(*(gradients_of(one, i) for i in (0, 1)), strict=True)]
    one.optimizer.apply_gradients(zip(total, one.trainable_variables, strict=True))
    check_equal((one, {}), (two, {}))


def test_overflow_on_any_replica_skips_the_step_on_all(two_replicas):
    vae = small_vae(two_replicas)
    vae.compile(keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(1.0), initial_scale=64.0))
    before = vae.get_weights()

    def step(infinite):
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        update(vae, gradients_of(vae, replica, infinite), tf.constant(4.0))

    two_replicas.run(step, args=((1,),))
    assert vae.optimizer.dynamic_scale == 32.0
    for x, y in zip(before, vae.get_weights(), strict=True):
        np.testing.assert_array_equal(x, y)
    two_replicas.run(step, args=((),))
    first = vae.trainable_variables[0].numpy()
    # 2, the mean over the replicas, by the scale.
    np.testing.assert_allclose(before[0] - first, np.full_like(first, 2 / 32), rtol=1e-4)


def test_replicas_without_images_do_not_count(two_replicas):
    def mean():
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        weight = tf.cast(3 * (1 - replica), tf.float32)
        return replicas.mean_gradients([7.0 * weight / weight, None], weight)

    gradient, nothing = two_replicas.run(mean)
    assert nothing is None
    assert list(two_replicas.experimental_local_results(gradient)) == [7.0, 7.0]


def test_models_of_outside_the_scope_are_refused(two_replicas):
    message = "outside of the strategy's scope"
    vae = small_vae()
    with two_replicas.scope(), pytest.raises(InputError, match=message):
        vae.compile()
    with two_replicas.scope(), pytest.raises(InputError, match=message):
        tfvae.VAE(encoder=vae.encoder, decoder=vae.decoder)


@pytest.mark.xfail(
    raises=tf.errors.InvalidArgumentError,
    strict=True,
    reason="Keras's optimizer cannot leave the replicas from within a tf.cond",
)
def test_keras_own_loop_has_learned_several_steps_on_replicas(two_cpus, images, monkeypatch):
    # Passes once Keras can do it: the general loop of `tfvae.fitting.loops` may then go.
    make = keras.Model.make_train_function
    monkeypatch.setattr(tfvae.VAE, "make_train_function", make)
    trained(two_cpus, images, steps_per_execution=2)
