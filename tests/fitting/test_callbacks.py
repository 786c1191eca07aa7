import signal

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfvae
from tfvae.common.errors import InputError
from tfvae.fitting.callbacks import BestWeights, KLWarmup


@pytest.fixture
def images():
    return np.random.default_rng(0).random((48, 5, 4, 1), dtype=np.float32)


def compiled_vae(objective=None, *, learning_rate=1e-3, run_eagerly=True, steps_per_execution=1):
    """A small model; steps run eagerly where a test is not about them, to save the compiling."""
    keras.utils.set_random_seed(0)
    encoder = tfvae.networks.mlp_encoder((5, 4, 1), 2, hidden=(8,))
    decoder = tfvae.networks.mlp_decoder((5, 4, 1), 2, hidden=(8,))
    vae = tfvae.VAE(encoder=encoder, decoder=decoder)
    vae.compile(
        optimizer=keras.optimizers.Adam(learning_rate),
        objective=objective or tfvae.objectives.ELBO(),
        run_eagerly=run_eagerly,
        steps_per_execution=steps_per_execution,
    )
    return vae


class RecordBeta(keras.callbacks.Callback):
    """Beta before every call of the training function, and during every validation."""

    def __init__(self):
        super().__init__()
        self.in_training = []
        self.in_validation = []

    def on_train_batch_begin(self, batch, logs=None):
        self.in_training.append(self.model.objective.beta)

    def on_test_begin(self, logs=None):
        self.in_validation.append(self.model.objective.beta)


def fit(vae, images, *callbacks, **kwargs):
    kwargs = {"batch_size": 12, "epochs": 3, "verbose": 0, "shuffle": False} | kwargs
    return vae.fit(images, callbacks=list(callbacks), **kwargs)


class TestKLWarmup:
    def test_beta_rises_by_step_and_then_stays(self, images):
        vae, record = compiled_vae(), RecordBeta()
        fit(vae, images, KLWarmup(epochs=2), record)
        np.testing.assert_allclose(record.in_training, [*np.arange(8) / 8, 1, 1, 1, 1], rtol=1e-6)
        assert vae.objective.beta == 1.0

    def test_takes_effect_in_the_compiled_step(self, images):
        history = fit(compiled_vae(), images, KLWarmup(epochs=3), batch_size=48, epochs=5).history
        np.testing.assert_allclose(history["beta"], [0, 1 / 3, 2 / 3, 1, 1], rtol=1e-6)
        loss = np.multiply(history["beta"], history["kl"]) - history["reconstruction"]
        np.testing.assert_allclose(history["loss"], loss, rtol=1e-5)
        # Betas that differ by as much as that are told apart by this tolerance.
        assert min(history["kl"]) > 1e-2 * max(history["loss"])

    def test_logs_the_beta_of_validation(self, images):
        record = RecordBeta()
        history = fit(
            compiled_vae(), images, KLWarmup(epochs=2), record, validation_data=(images,)
        ).history
        np.testing.assert_allclose(history["beta"], record.in_validation)
        np.testing.assert_allclose(history["beta"], [3 / 8, 7 / 8, 1], rtol=1e-6)
        loss = np.multiply(history["beta"], history["val_kl"]) - history["val_reconstruction"]
        np.testing.assert_allclose(history["val_loss"], loss, rtol=1e-5)

    def test_reaches_the_end_with_the_last_epoch(self, images):
        vae = compiled_vae()
        fit(vae, images, KLWarmup(epochs=2), epochs=2)
        assert vae.objective.beta == 1.0

    def test_leads_to_the_compiled_beta_by_default(self, images):
        vae, record = compiled_vae(tfvae.objectives.ELBO(beta=0.5)), RecordBeta()
        fit(vae, images, KLWarmup(epochs=2), record)
        np.testing.assert_allclose(record.in_training[:8], np.arange(8) / 16, rtol=1e-6)
        assert record.in_training[8:] == [0.5] * 4

    def test_leads_from_start_to_end(self, images):
        vae, record = compiled_vae(), RecordBeta()
        fit(vae, images, KLWarmup(epochs=1, start=4.0, end=2.0), record, epochs=2)
        np.testing.assert_allclose(record.in_training, [4, 3.5, 3, 2.5, 2, 2, 2, 2], rtol=1e-6)

    def test_resumed_training_goes_on_where_it_was(self, images):
        whole, halves = RecordBeta(), RecordBeta()
        fit(compiled_vae(), images, KLWarmup(epochs=3), whole, epochs=4)
        vae, warmup = compiled_vae(), KLWarmup(epochs=3)
        fit(vae, images, warmup, halves, epochs=1)
        fit(vae, images, warmup, halves, epochs=2, initial_epoch=1)
        fit(vae, images, KLWarmup(epochs=3, end=1.0), halves, epochs=4, initial_epoch=2)
        assert halves.in_training == whole.in_training

    def test_resumed_training_must_know_where_it_leads(self, images):
        vae = compiled_vae()
        fit(vae, images, KLWarmup(epochs=3), epochs=1)
        with pytest.raises(InputError, match=r"resumed in epoch 1 of a warm-up of 3.*end=1\.0"):
            fit(vae, images, KLWarmup(epochs=3), epochs=4, initial_epoch=1)

    def test_a_new_objective_sets_a_new_end(self, images):
        vae, warmup, record = compiled_vae(), KLWarmup(epochs=1), RecordBeta()
        fit(vae, images, warmup, epochs=1)
        vae.compile(objective=tfvae.objectives.ELBO(beta=0.25), run_eagerly=True)
        fit(vae, images, warmup, record, epochs=2)
        np.testing.assert_allclose(record.in_training, [*np.arange(4) / 16, *[0.25] * 4])

    def test_several_steps_in_one_execution(self, images):
        vae, record = compiled_vae(run_eagerly=False, steps_per_execution=3), RecordBeta()
        history = fit(vae, images, KLWarmup(epochs=2), record).history
        np.testing.assert_allclose(record.in_training, [0, 3 / 8, 4 / 8, 7 / 8, 1, 1], rtol=1e-6)
        np.testing.assert_allclose(history["beta"], [3 / 8, 7 / 8, 1], rtol=1e-6)

    def test_an_unknown_number_of_steps_changes_it_by_epoch(self, images):
        batches = tf.data.Dataset.from_tensor_slices(images).batch(12).filter(lambda batch: True)
        vae, record = compiled_vae(), RecordBeta()
        history = fit(vae, batches, KLWarmup(epochs=2), record, shuffle=True, batch_size=None)
        assert history.history["beta"] == [0.0, 0.5, 1.0]
        assert list(dict.fromkeys(record.in_training)) == [0.0, 0.5, 1.0]

    @pytest.mark.parametrize("epochs", [0, -1, np.nan, np.inf, "10", None])
    def test_refuses_epochs(self, epochs):
        with pytest.raises(InputError, match=r"epochs of a warm-up must be .* above 0; got"):
            KLWarmup(epochs=epochs)

    @pytest.mark.parametrize("weight", [-0.1, np.nan, np.inf, "1"])
    @pytest.mark.parametrize("name", ["start", "end"])
    def test_refuses_weights(self, name, weight):
        with pytest.raises(InputError, match=f"{name} must be .* at least 0; got"):
            KLWarmup(epochs=10, **{name: weight})

    def test_refuses_an_objective_without_beta(self, images):
        class Reconstruction(tfvae.objectives.Objective):
            def __call__(self, images, *, posterior, prior, decode, noise):
                pytest.fail("the refusal comes before the first step")

        with pytest.raises(InputError, match=r"an objective with a beta.*Reconstruction"):
            fit(compiled_vae(Reconstruction()), images, KLWarmup(epochs=1))


class Script(keras.callbacks.Callback):
    """Gives epochs the values that a test wants, and keeps the weights they had."""

    def __init__(self, **values):
        super().__init__()
        self.values = values
        self.weights = []

    def on_epoch_end(self, epoch, logs=None):
        self.weights.append(self.model.get_weights())
        logs.update({name: values[epoch] for name, values in self.values.items()})


class InterruptIn(keras.callbacks.Callback):
    """Presses Ctrl-C in a step of an epoch."""

    def __init__(self, epoch, step=2, times=1):
        super().__init__()
        self.where = (epoch, step)
        self.times = times

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        if (self.epoch, batch) == self.where:
            for _ in range(self.times):
                # Which is handled before the next one, where os.kill may merge the two.
                signal.raise_signal(signal.SIGINT)


def assert_equal_weights(weights, expected):
    for one, other in zip(weights, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.fixture
def listens_to_ctrl_c():
    """As a process that is started in the background may not."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


class TestBestWeights:
    @pytest.fixture(autouse=True)
    def _handler_stays(self):
        before = signal.getsignal(signal.SIGINT)
        yield
        assert signal.getsignal(signal.SIGINT) is before

    def test_stops_and_goes_back_to_the_best_epoch(self, images):
        vae, script = compiled_vae(), Script(val_elbo=[-3.0, -1.0, -2.0, -2.0, 0.0])
        best_weights = BestWeights(patience=2)
        fit(vae, images, script, best_weights, epochs=5)
        assert len(script.weights) == 4
        assert (best_weights.best_epoch, best_weights.best) == (1, -1.0)
        assert best_weights.stop_reason == "val_elbo has not improved for 2 epochs"
        assert_equal_weights(vae.get_weights(), script.weights[1])
        assert any((a != b).any() for a, b in zip(*script.weights[1:3], strict=True))

    def test_goes_back_to_the_best_epoch_after_the_last_one(self, images):
        vae, script = compiled_vae(), Script(val_elbo=[-3.0, -1.0, -2.0])
        best_weights = BestWeights(patience=2)
        fit(vae, images, script, best_weights)
        assert best_weights.stop_reason is None
        assert_equal_weights(vae.get_weights(), script.weights[1])

    def test_a_loss_is_best_low(self, images):
        vae, script = compiled_vae(), Script(val_loss=[3.0, 1.0, 2.0])
        fit(vae, images, script, BestWeights(patience=2, monitor="val_loss"))
        assert_equal_weights(vae.get_weights(), script.weights[1])

    def test_epochs_of_the_warmup_are_not_compared(self, images):
        vae, script = compiled_vae(), Script(val_elbo=[0.0, -3.0, -2.0, -2.5])
        fit(vae, images, script, BestWeights(patience=1, start_from_epoch=1), epochs=4)
        assert_equal_weights(vae.get_weights(), script.weights[2])

    def test_real_validation(self, images):
        vae, best_weights = compiled_vae(), BestWeights(patience=5)
        history = fit(vae, images, best_weights, validation_data=(images,)).history
        assert best_weights.best == max(history["val_elbo"])

    def test_ctrl_c_keeps_the_best_weights(self, images):
        vae, script = compiled_vae(run_eagerly=False), Script(val_elbo=[-3.0, -1.0, -2.0, -2.0])
        best_weights = BestWeights(patience=9)
        history = fit(vae, images, script, best_weights, InterruptIn(epoch=2), epochs=4)
        assert best_weights.stop_reason == "interrupted"
        assert history.epoch == [0, 1, 2]
        # Four steps in each of two epochs, and the third step is the one that was running.
        assert vae.optimizer.iterations == 4 + 4 + 3
        assert_equal_weights(vae.get_weights(), script.weights[1])

    def test_ctrl_c_before_any_epoch_keeps_the_weights(self, images):
        vae, best_weights = compiled_vae(), BestWeights(patience=9, start_from_epoch=2)
        fit(vae, images, script := Script(), best_weights, InterruptIn(epoch=0))
        assert best_weights.stop_reason == "interrupted"
        assert_equal_weights(vae.get_weights(), script.weights[0])

    def test_a_second_ctrl_c_interrupts_at_once(self, images, listens_to_ctrl_c):
        vae, script = compiled_vae(), Script(val_elbo=[-3.0, -1.0, -2.0, -2.0])
        best_weights = BestWeights(patience=9)
        with pytest.raises(KeyboardInterrupt):
            fit(vae, images, script, best_weights, InterruptIn(epoch=2, times=2), epochs=4)
        assert len(script.weights) == 2
        best_weights.on_train_end()
        assert_equal_weights(vae.get_weights(), script.weights[1])

    def test_a_loss_that_is_not_finite_ends_training(self, images):
        vae = compiled_vae()
        script = Script(val_elbo=[-3.0, np.nan, 0.0], loss=[3.0, np.nan, 0.0])
        best_weights = BestWeights(patience=9)
        fit(vae, images, script, best_weights)
        assert best_weights.stop_reason == "the loss is nan in epoch 2"
        assert_equal_weights(vae.get_weights(), script.weights[0])

    def test_divergence_from_the_start_is_told(self, images):
        vae = compiled_vae(learning_rate=1e30)
        with pytest.raises(InputError, match=r"loss is (nan|inf) in epoch 1.*lower the learning"):
            fit(vae, images, BestWeights(patience=9), validation_data=(images,))

    @pytest.mark.parametrize("patience", [0, -1, 1.5, True])
    def test_refuses_patience(self, patience):
        with pytest.raises(InputError, match="patience must be an integer of at least 1"):
            BestWeights(patience=patience)

    def test_averaged_weights_are_validated_and_kept(self, images):
        vae, records = compiled_vae(), AveragesOf(momentum=0.5)
        vae.compile(
            optimizer=keras.optimizers.Adam(0.1, use_ema=True, ema_momentum=0.5), run_eagerly=True
        )
        script = Script(val_elbo=[-3.0, -1.0, -2.0])
        callbacks = [records, script, BestWeights(patience=9)]
        fit(vae, images, *callbacks, validation_data=(images,), batch_size=48)
        # What training goes on with is its own weights: the recursion below would break otherwise.
        for validated, average in zip(records.validated, records.averages, strict=True):
            for one, other in zip(validated, average, strict=True):
                np.testing.assert_allclose(one, other, atol=1e-5)
        kept = [variable.numpy() for variable in vae.trainable_variables]
        for one, average, weight in zip(
            kept, records.averages[1], script.weights[1][: len(kept)], strict=True
        ):
            np.testing.assert_allclose(one, average, atol=1e-5)
            assert np.abs(one - weight).max() > 1e-3


class AveragesOf(keras.callbacks.Callback):
    """The moving averages of the weights by hand, and those that were validated."""

    def __init__(self, momentum):
        super().__init__()
        self.momentum = momentum
        self.averages, self.validated = [], []

    def _weights(self):
        return [variable.numpy() for variable in self.model.trainable_variables]

    def on_train_batch_end(self, batch, logs=None):
        weights = self._weights()
        if not self.averages:
            self.averages.append(weights)
            return
        pairs = zip(self.averages[-1], weights, strict=True)
        average = [self.momentum * old + (1 - self.momentum) * new for old, new in pairs]
        self.averages.append(average)

    def on_test_batch_begin(self, batch, logs=None):
        self.validated.append(self._weights())
