import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from quadrature import Quadrature, all_images, tiny_example
from small_models import binary_images, check_model

import tfvae
from tfvae.common.errors import InputError

tfd = tfp.distributions


def small_vae(image_shape=(6, 5, 1), latent_dim=3, network="mlp", dtype=None, **sizes):
    sizes = sizes or {"hidden": (16,)}
    encoder, decoder = tfvae.networks.build(network, image_shape, latent_dim, dtype, **sizes)
    return tfvae.VAE(encoder=encoder, decoder=decoder, dtype=dtype)


def zero_logits(vae):
    """Makes the decoder give zero logits whatever the latents are."""
    vae.decoder.set_weights([np.zeros_like(weights) for weights in vae.decoder.get_weights()])
    return vae


def without_noise(seed):
    """A model whose posteriors are so narrow that their samples are their means."""
    keras.utils.set_random_seed(seed)
    vae = small_vae()
    vae.encoder.get_layer("posterior_parameters").bias.assign([0.0] * 3 + [-40.0] * 3)
    return vae


@pytest.fixture(scope="module")
def images():
    return binary_images(24, (6, 5, 1))


@pytest.mark.parametrize(
    ("network", "image_shape", "sizes"),
    [
        ("mlp", (28, 20, 1), {"hidden": (16, 8)}),
        ("conv", (17, 23, 3), {"filters": (4, 6), "hidden": 8}),
        pytest.param(
            "resnet",
            (9, 7, 2),
            {"filters": (3, 4), "blocks": 1, "hidden": 8},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_every_network_passes_the_checks(network, image_shape, sizes, tmp_path):
    check_model(small_vae(image_shape, 4, network, **sizes), tmp_path)


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16", "float64"])
def test_every_precision_passes_the_checks(dtype, tmp_path):
    loaded = check_model(small_vae(dtype=dtype), tmp_path)
    expected = tf.float64 if dtype == "float64" else tf.float32
    assert loaded.encode(binary_images(2, (6, 5, 1))).mean().dtype == expected
    assert loaded.prior.dtype == expected


def test_default_networks():
    vae = tfvae.VAE()
    assert vae.image_shape == (28, 28, 1)
    assert vae.latent_dim == 32
    assert vae.built
    vae = tfvae.VAE(image_shape=(8, 9, 3), latent_dim=5, dtype="mixed_bfloat16")
    assert vae.encoder.output_shape == (None, 10)
    assert vae.decoder.output_shape == (None, 8, 9, 3)
    assert vae.decoder.get_layer("pixels").compute_dtype == "bfloat16"


def test_networks_without_known_shapes_are_built():
    encoder = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(4)])
    decoder = keras.Sequential([keras.layers.Dense(30), keras.layers.Reshape((6, 5, 1))])
    vae = tfvae.VAE(image_shape=(6, 5, 1), encoder=encoder, decoder=decoder)
    assert vae.latent_dim == 2
    assert vae.sample(3).shape == (3, 6, 5, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"latent_dim": 4}, r"encoder must give outputs of shape \(8,\).*it gives \(6,\)"),
        ({"image_shape": (5, 6, 1)}, r"encoder must take inputs of shape \(5, 6, 1\); it takes"),
    ],
)
def test_arguments_that_contradict_the_networks_are_refused(arguments, message):
    vae = small_vae()
    with pytest.raises(InputError, match=message):
        tfvae.VAE(encoder=vae.encoder, **arguments)


def test_networks_that_contradict_each_other_are_refused():
    one, two = small_vae(latent_dim=3), small_vae(latent_dim=4)
    with pytest.raises(InputError, match=r"encoder must give outputs of shape \(8,\) \(2 \* lat"):
        tfvae.VAE(encoder=one.encoder, decoder=two.decoder)
    other = small_vae(image_shape=(5, 5, 1))
    with pytest.raises(InputError, match=r"decoder must give outputs of shape \(6, 5, 1\)"):
        tfvae.VAE(encoder=one.encoder, decoder=other.decoder)
    odd = keras.Sequential([keras.Input((6, 5, 1)), keras.layers.Flatten(), keras.layers.Dense(5)])
    with pytest.raises(InputError, match=r"2 \* latent_dim\); it gives \(5,\)"):
        tfvae.VAE(encoder=odd)


def test_elbo_of_zero_logits_is_exactly_784_log_2_and_the_kl():
    vae = zero_logits(tfvae.VAE((28, 28, 1), 8, dtype="float64"))
    images = binary_images(5, (28, 28, 1))
    kl = tfd.kl_divergence(vae.encode(images), vae.prior)
    assert (kl.numpy() > 1e-3).all()
    np.testing.assert_allclose(vae.elbo(images, seed=0), -784 * np.log(2) - kl, rtol=1e-12)
    vae.compile()
    terms = vae.evaluate(images, return_dict=True, verbose=0)
    assert terms["reconstruction"] == pytest.approx(-543.4274, abs=1e-3)
    assert terms["elbo"] == pytest.approx(terms["reconstruction"] - terms["kl"], abs=1e-3)


def test_decoder_that_gives_the_training_mean_reaches_its_entropy():
    images = binary_images(4000, (6, 5, 1))
    frequencies = images.mean(axis=0)
    vae = zero_logits(small_vae(dtype="float64"))
    bias = np.log(frequencies / (1 - frequencies)).ravel()
    vae.decoder.get_layer("pixels").bias.assign(bias)
    log_likelihood = frequencies * np.log(frequencies) + (1 - frequencies) * np.log1p(-frequencies)
    kl = tfd.kl_divergence(vae.encode(images), vae.prior)
    np.testing.assert_allclose(np.mean(vae.elbo(images) + kl), log_likelihood.sum(), rtol=1e-6)


def test_without_the_kl_reconstruction_improves_and_the_kl_grows(images):
    terms = {}
    for beta in (0.0, 1.0):
        keras.utils.set_random_seed(0)
        vae = small_vae()
        vae.compile(keras.optimizers.Adam(2e-2), objective=tfvae.objectives.ELBO(beta=beta))
        history = vae.fit(images, epochs=30, verbose=0).history
        terms[beta] = {name: np.mean(values[-5:]) for name, values in history.items()}
        first = {name: values[0] for name, values in history.items()}
        assert terms[beta]["reconstruction"] > first["reconstruction"]
    assert terms[0.0]["kl"] > 2 * first["kl"]
    assert terms[0.0]["kl"] > 2 * terms[1.0]["kl"]
    assert terms[0.0]["reconstruction"] > terms[1.0]["reconstruction"] + 1


@pytest.mark.parametrize("kind", ["x", "(x, label)", "(x, x)", "(x, x, weight)"])
def test_fit_takes_data_sets_of_every_kind_and_ignores_targets(images, kind):
    labels = np.arange(len(images))
    weights = np.ones(len(images), np.float32)
    parts = {
        "x": images,
        "(x, label)": (images, labels),
        "(x, x)": (images, images),
        "(x, x, weight)": (images, images, weights),
    }[kind]
    losses = []
    for data in (images, tf.data.Dataset.from_tensor_slices(parts).batch(8)):
        keras.utils.set_random_seed(0)
        vae = small_vae()
        vae.compile(run_eagerly=True)
        batch_size = 8 if isinstance(data, np.ndarray) else None
        history = vae.fit(data, batch_size=batch_size, shuffle=False, epochs=2, verbose=0).history
        losses.append(history["loss"])
        assert vae.predict(data, verbose=0).shape == images.shape
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-6)


def test_fit_takes_arrays_with_validation_split(images):
    vae = small_vae()
    vae.compile()
    history = vae.fit(images, batch_size=8, epochs=2, validation_split=0.25, verbose=0).history
    assert len(history["val_elbo"]) == 2
    assert vae.fit(images, images, 8, 1, 0).history["loss"]


def test_sample_weights_weigh_gradient_and_logs(images):
    def train(images, weights=None):
        # Without noise, so that images can be left out without changing that of the others.
        vae = without_noise(seed=0)
        vae.compile(keras.optimizers.SGD(1e-3))
        arguments = {"batch_size": len(images), "shuffle": False, "verbose": 0}
        history = vae.fit(images, sample_weight=weights, **arguments).history
        return vae.get_weights(), history

    weights = np.zeros(len(images), np.float32)
    weights[:8] = 3.0  # A third of the images, each counted three times: the mean over these.
    weighted, log = train(images, weights)
    alone, log_alone = train(images[:8])
    for x, y in zip(weighted, alone, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)
    for name in ("loss", "elbo", "reconstruction", "kl"):
        np.testing.assert_allclose(log[name], log_alone[name], rtol=1e-5)


def test_sample_weights_need_no_targets(images):
    vae = without_noise(seed=0)
    vae.compile()
    weights = np.linspace(0, 5, len(images), dtype=np.float32)
    expected = vae.evaluate(images, images, sample_weight=weights, verbose=0)
    assert expected != pytest.approx(vae.evaluate(images, verbose=0), rel=1e-3)
    assert vae.evaluate(images, sample_weight=weights, verbose=0) == pytest.approx(expected)
    vae.compile(keras.optimizers.SGD(0.0))
    history = vae.fit(
        images, sample_weight=weights, validation_data=(images, None, weights), verbose=0
    ).history
    for name, value in zip(vae.metrics_names, expected, strict=True):
        assert history[name] == pytest.approx([value], rel=1e-5)
        assert history[f"val_{name}"] == pytest.approx([value], rel=1e-5)


def test_class_weight_is_refused_with_a_reason(images):
    vae = small_vae()
    vae.compile()
    with pytest.raises(InputError, match="no classes to weight: give `sample_weight`"):
        vae.fit(images, images, class_weight={0: 1.0})


@pytest.mark.parametrize("argument", ["loss", "metrics"])
def test_keras_losses_are_refused_with_a_reason(argument):
    with pytest.raises(InputError, match=f"takes no {argument}: it maximizes its objective"):
        small_vae().compile(**{argument: "mse"})


def test_unknown_objective_is_refused():
    with pytest.raises(InputError, match=r"objective must be one of 'elbo'.*got 'evidence'"):
        small_vae().compile(objective="evidence")


def test_logs_are_the_plain_quantities_and_loss_is_what_is_minimized(images):
    vae = small_vae()
    vae.compile(objective=tfvae.objectives.ELBO(beta=0.25))
    terms = vae.evaluate(images, return_dict=True, verbose=0)
    assert terms["elbo"] == pytest.approx(terms["reconstruction"] - terms["kl"], rel=1e-5)
    assert terms["loss"] == pytest.approx(0.25 * terms["kl"] - terms["reconstruction"], rel=1e-5)
    assert vae.metrics_names == ["loss", "elbo", "reconstruction", "kl"]


def test_evaluate_returns_a_list_in_the_order_of_its_names(images):
    vae = small_vae()
    vae.compile()
    loss, elbo, reconstruction, kl = vae.evaluate(images, verbose=0)
    assert loss == pytest.approx(-elbo, rel=1e-6)
    assert elbo == pytest.approx(reconstruction - kl, rel=1e-6)


def test_beta_set_during_fit_takes_effect_in_the_compiled_step(images):
    class SetBeta(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.model.objective.beta = float(epoch)

    vae = small_vae()
    vae.compile(objective=tfvae.objectives.ELBO(beta=7.0))
    history = vae.fit(images, epochs=4, callbacks=[SetBeta()], verbose=0).history
    for epoch in range(4):
        loss = epoch * history["kl"][epoch] - history["reconstruction"][epoch]
        assert history["loss"][epoch] == pytest.approx(loss, rel=1e-5)


def test_frozen_decoder_stays_and_the_encoder_learns(images):
    vae = small_vae()
    vae.decoder.trainable = False
    vae.compile()
    decoder = [np.copy(weights) for weights in vae.decoder.get_weights()]
    encoder = [np.copy(weights) for weights in vae.encoder.get_weights()]
    vae.fit(images, verbose=0)
    assert all((x == y).all() for x, y in zip(decoder, vae.decoder.get_weights(), strict=True))
    assert all((x != y).any() for x, y in zip(encoder, vae.encoder.get_weights(), strict=True))


def test_losses_of_the_networks_are_added(images):
    pixels = keras.layers.Dense(30, kernel_regularizer=keras.regularizers.L2(0.5))
    decoder = keras.Sequential([keras.Input((3,)), pixels, keras.layers.Reshape((6, 5, 1))])
    vae = tfvae.VAE(encoder=small_vae().encoder, decoder=decoder)
    vae.compile()
    terms = vae.evaluate(images, return_dict=True, verbose=0)
    penalty = 0.5 * np.sum(np.square(pixels.kernel.numpy()))
    assert terms["loss"] == pytest.approx(penalty - terms["elbo"], rel=1e-5)


def test_runs_follow_the_random_seed(images):
    def run():
        keras.utils.set_random_seed(5)
        vae = small_vae()
        vae.compile()
        vae.fit(images, batch_size=8, epochs=2, verbose=0)
        return [*vae.get_weights(), vae.sample(3).numpy()]

    assert all((x == y).all() for x, y in zip(run(), run(), strict=True))


def test_validation_does_not_change_training(images):
    def run(**arguments):
        keras.utils.set_random_seed(5)
        vae = small_vae()
        vae.compile()
        vae.fit(images, batch_size=8, epochs=3, shuffle=False, verbose=0, **arguments)
        return vae.get_weights()

    without, with_validation = run(), run(validation_data=images)
    assert all((x == y).all() for x, y in zip(without, with_validation, strict=True))


def test_training_goes_on_from_a_file_as_if_it_had_not_stopped(images, tmp_path):
    data = tf.data.Dataset.from_tensor_slices(images).batch(8)
    schedule = keras.optimizers.schedules.CosineDecay(1e-2, 18)

    def compiled():
        keras.utils.set_random_seed(1)
        vae = small_vae()
        vae.compile(
            keras.optimizers.Adam(schedule), tfvae.objectives.ELBO(beta=0.1), steps_per_execution=2
        )
        return vae

    whole = compiled().fit(data, epochs=6, verbose=0).history
    vae = compiled()
    first = vae.fit(data, epochs=3, verbose=0).history
    vae.objective.beta = 0.1
    vae.save(tmp_path / "model.keras")
    keras.utils.set_random_seed(99)
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    second = loaded.fit(data, epochs=6, initial_epoch=3, verbose=0).history
    assert loaded.steps_per_execution == 2
    for name, values in whole.items():
        np.testing.assert_array_equal(values, first[name] + second[name])


def test_files_hold_beta_as_it_stands(tmp_path):
    vae = small_vae()
    vae.compile(objective=tfvae.objectives.ELBO(beta=0.1, num_samples=3, analytic_kl=False))
    vae.objective.beta = 0.75
    vae.save(tmp_path / "model.keras")
    objective = keras.saving.load_model(tmp_path / "model.keras").objective
    assert objective.beta == 0.75
    assert objective.num_samples == 3
    assert not objective.analytic_kl


def test_uncompiled_models_are_saved_too(tmp_path):
    vae = small_vae()
    vae.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert not loaded.compiled
    np.testing.assert_array_equal(vae.sample(2, seed=0), loaded.sample(2, seed=0))


def test_steps_per_execution_changes_nothing(images):
    def run(steps):
        keras.utils.set_random_seed(5)
        vae = small_vae()
        vae.compile(steps_per_execution=steps)
        history = vae.fit(images, batch_size=5, epochs=2, shuffle=False, verbose=0).history
        return [*vae.get_weights(), *history.values()]

    for x, y in zip(run(1), run(4), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)


def test_predict_is_the_mean_reconstruction(images):
    vae = small_vae()
    expected = vae.decode(vae.encode(images).mean()).mean()
    np.testing.assert_allclose(vae.predict(images, verbose=0), expected, rtol=1e-5)


def test_samples_repeat_with_their_seed_and_follow_their_probabilities():
    vae = small_vae()
    np.testing.assert_array_equal(vae.sample(4, seed=1), vae.sample(4, seed=1))
    assert (vae.sample(4, seed=1) != vae.sample(4, seed=2)).numpy().any()
    assert (vae.sample(4) != vae.sample(4)).numpy().any()
    images, probabilities = vae.sample(3000, seed=3), vae.sample(3000, seed=3, mean=True)
    variance = np.sum(probabilities * (1 - probabilities))
    standard_errors = np.sum(images - probabilities) / np.sqrt(variance)
    assert abs(standard_errors) < 4


@pytest.mark.parametrize("latent_dim", [1, 2])
def test_samples_have_the_exact_distribution_of_the_model(latent_dim):
    """Of all 512 images of 3x3 pixels, whose p(x) is known by quadrature; to 4 standard errors."""
    vae, count = tiny_example(latent_dim).vae, 200_000
    exact = np.exp(Quadrature(vae, all_images(), points=61).log_likelihood)
    images = vae.sample(count, seed=0).numpy().reshape(count, 9)
    numbers = (images @ 2 ** np.arange(8, -1, -1)).astype(int)
    observed, expected = np.bincount(numbers, minlength=512), count * exact
    # The chi-square statistic wants to expect more than a few images in every group.
    is_rare = expected < 10
    observed = np.append(observed[~is_rare], observed[is_rare].sum())
    expected = np.append(expected[~is_rare], expected[is_rare].sum())
    statistic, degrees = np.sum((observed - expected) ** 2 / expected), len(expected) - 1
    assert degrees > 200
    assert abs(statistic - degrees) < 4 * np.sqrt(2 * degrees)

    probabilities = vae.sample(count, seed=0, mean=True).numpy().reshape(count, 9)
    error = probabilities.std(axis=0) / np.sqrt(count)
    truth = exact @ all_images().reshape(512, 9)
    assert np.max(np.abs(probabilities.mean(axis=0) - truth) / error) < 4


def test_prior_is_fixed():
    vae = small_vae()
    assert vae.prior.event_shape == (3,)
    assert not vae.prior.trainable_variables
    count = len(vae.trainable_variables)
    assert count == len(vae.encoder.trainable_variables) + len(vae.decoder.trainable_variables)


def test_more_samples_make_the_elbo_less_noisy(images):
    vae = small_vae()
    many = np.array([vae.elbo(images, num_samples=64, seed=seed) for seed in range(8)])
    one = np.array([vae.elbo(images, num_samples=1, seed=seed) for seed in range(8)])
    # Over 24 images, the ratio of the pooled variances is 64 within a factor of two or so.
    ratio = one.var(axis=0, ddof=1).mean() / many.var(axis=0, ddof=1).mean()
    assert 25 < ratio < 160


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda vae: vae.sample(0), "count must be an integer of at least 1; got 0"),
        (lambda vae: vae.sample(2, seed=-1), "seed must be"),
        (lambda vae: vae.elbo(np.zeros((2, 6, 5, 1)), num_samples=0), "num_samples must be"),
        (lambda vae: vae.decode(np.zeros((2, 4), np.float32)), r"latents must be floats of shape"),
        (lambda vae: vae.encode(np.full((2, 6, 5, 1), 255.0)), "divide by 255"),
    ],
)
def test_wrong_calls_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call(small_vae())


@pytest.mark.parametrize("method", ["fit", "evaluate"])
@pytest.mark.parametrize("as_dataset", [True, False])
def test_wrong_images_are_refused_before_anything_runs(method, as_dataset):
    vae = small_vae()
    vae.compile()
    wrong = np.full((4, 6, 5, 1), 255.0, np.float32)
    data = tf.data.Dataset.from_tensor_slices((wrong, wrong)).batch(2) if as_dataset else wrong
    with pytest.raises(InputError, match="maximum 255: divide by 255"):
        getattr(vae, method)(data, verbose=0)
    right = np.zeros((4, 6, 5, 1), np.float32)
    if method == "fit":
        with pytest.raises(InputError, match="validation images must be floats"):
            vae.fit(right, validation_data=data, verbose=0)


def test_empty_data_is_refused(images):
    vae = small_vae()
    vae.compile()
    with pytest.raises(InputError, match="images are empty"):
        vae.fit(images[:0])
    with pytest.raises(InputError, match="data set of images is empty"):
        vae.fit(tf.data.Dataset.from_tensor_slices(images).batch(50, drop_remainder=True))
