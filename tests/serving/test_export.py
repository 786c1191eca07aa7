import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

import tfvae
from tfvae.common.errors import InputError
from tfvae.serving import signatures
from tfvae.serving.versions import versions

HERE = Path(__file__).parent
NAMES = {"serving_default", "encode", "decode", "reconstruct", "sample", "score"}
BATCH_SIZES = (0, 1, 7, 1000)


def inputs_of(vae, count, seed=0):
    """What each signature takes, by `<signature>/<tensor>`."""
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 2, (count, *vae.image_shape)).astype(np.float32)
    seeds = generator.integers(-(2**63), 2**63, count)
    return {
        "serving_default/images": images,
        "encode/images": images,
        "reconstruct/images": images,
        "decode/latents": generator.normal(size=(count, vae.latent_dim)).astype(np.float32),
        "sample/seed": seeds,
        "score/images": images,
        "score/seed": seeds,
    }


def expected_of(vae, inputs, num_importance_samples):
    """What the Python model gives."""
    posterior = vae.encode(inputs["encode/images"])
    outputs = {
        "decode/probabilities": vae.decode(inputs["decode/latents"]).mean(),
        "reconstruct/probabilities": vae(inputs["reconstruct/images"]),
    }
    for name in ("encode", "serving_default"):
        outputs |= {f"{name}/mean": posterior.mean(), f"{name}/stddev": posterior.stddev()}
    functions = signatures.signatures(vae, num_importance_samples=num_importance_samples)
    for name in ("sample", "score"):
        function, specs = functions[name]
        results = function(*(inputs[f"{name}/{spec.name}"] for spec in specs))
        outputs |= {f"{name}/{key}": value for key, value in results.items()}
    return {name: np.asarray(value) for name, value in outputs.items()}


def run_elsewhere(script, *arguments, folder):
    """Runs a script in a process that knows nothing of this one's paths."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    result = subprocess.run(
        [sys.executable, str(HERE / script), *map(str, arguments)],
        cwd=folder,
        env={**environment, "TF_CPP_MIN_LOG_LEVEL": "2"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr[-3000:]


@pytest.mark.parametrize("loader", ["saved_model", "session", "c_api"])
def test_every_signature_runs_without_tfvae_and_agrees_with_the_model(
    vae, version, tmp_path, loader
):
    inputs = {f"{size}/{k}": x for size in BATCH_SIZES for k, x in inputs_of(vae, size).items()}
    np.savez(tmp_path / "inputs.npz", **inputs)
    files = (tmp_path / "inputs.npz", tmp_path / "outputs.npz")
    if loader == "c_api":
        names = {
            name: {
                "inputs": {key: info.name for key, info in signature.inputs.items()},
                "outputs": {key: info.name for key, info in signature.outputs.items()},
            }
            for name, signature in signature_definitions(version).items()
        }
        (tmp_path / "names.json").write_text(json.dumps(names))
        run_elsewhere(
            "run_with_c_api.py", version, tmp_path / "names.json", *files, folder=tmp_path
        )
    else:
        run_elsewhere("run_without_tfvae.py", loader, version, *files, folder=tmp_path)

    with np.load(tmp_path / "outputs.npz") as outputs:
        assert {key.split("/")[1] for key in outputs} == NAMES
        for size in BATCH_SIZES:
            expected = expected_of(vae, inputs_of(vae, size), num_importance_samples=20)
            assert {key for key in outputs if key.startswith(f"{size}/")} == {
                f"{size}/{key}" for key in expected
            }
            for key, value in expected.items():
                output = outputs[f"{size}/{key}"]
                assert output.dtype == np.float32
                assert output.shape == value.shape
                np.testing.assert_allclose(output, value, rtol=1e-6, atol=1e-6, err_msg=key)


def signature_definitions(version):
    signatures = meta_graph(version).signature_def
    return {name: x for name, x in signatures.items() if not name.startswith("__")}


def meta_graph(version):
    file = (version / "saved_model.pb").read_bytes()
    return saved_model_pb2.SavedModel.FromString(file).meta_graphs[0]


def test_signatures_are_those_of_the_contract(vae, version):
    served = {
        name: {
            side: {
                key: (tf.DType(info.dtype).name, [d.size for d in info.tensor_shape.dim])
                for key, info in getattr(signature, side).items()
            }
            for side in ("inputs", "outputs")
        }
        for name, signature in signature_definitions(version).items()
    }
    images = ("float32", [-1, 28, 28, 1])
    latents = ("float32", [-1, vae.latent_dim])
    encode = {"inputs": {"images": images}, "outputs": {"mean": latents, "stddev": latents}}
    scores = ("elbo", "log_likelihood", "reconstruction", "kl")
    assert served == {
        "serving_default": encode,
        "encode": encode,
        "decode": {"inputs": {"latents": latents}, "outputs": {"probabilities": images}},
        "reconstruct": {"inputs": {"images": images}, "outputs": {"probabilities": images}},
        "sample": {
            "inputs": {"seed": ("int64", [-1])},
            "outputs": {"images": images, "probabilities": images, "latents": latents},
        },
        "score": {
            "inputs": {"images": images, "seed": ("int64", [-1])},
            "outputs": {name: ("float32", [-1]) for name in scores},
        },
    }


def test_no_operation_needs_python_xla_or_custom_kernels(vae, version):
    graph = meta_graph(version).graph_def
    nodes = [*graph.node]
    for function in graph.library.function:
        nodes += function.node_def
        assert "_XlaMustCompile" not in function.attr or not function.attr["_XlaMustCompile"].b
    operations = {node.op for node in nodes}
    assert not {name for name in operations if "PyFunc" in name or "Xla" in name}
    # No state but the variables, no randomness but the seeds'.
    assert not {name for name in operations if "Random" in name or "Assert" in name}
    # The optimizer, the metrics and the noise of training stay behind.
    variables = tf.train.load_checkpoint(str(version / "variables" / "variables"))
    shapes = [shape for shape in variables.get_variable_to_shape_map().values() if shape]
    weights = [*vae.encoder.weights, *vae.decoder.weights]
    assert sorted(shapes) == sorted(list(weight.shape) for weight in weights)


def test_same_seed_gives_same_image_in_any_batch(version, vae):
    sample = tf.saved_model.load(str(version)).signatures["sample"]
    seeds = np.arange(1000, dtype=np.int64) - 500
    together = {name: output.numpy() for name, output in sample(seed=tf.constant(seeds)).items()}
    for rows in ([3], [999, 0], [5] * 7, list(range(100, 356)), list(range(999))):
        apart = sample(seed=tf.constant(seeds[rows]))
        np.testing.assert_array_equal(apart["latents"], together["latents"][rows])
        np.testing.assert_array_equal(apart["images"], together["images"][rows])
        np.testing.assert_allclose(
            apart["probabilities"], together["probabilities"][rows], rtol=1e-6, atol=1e-6
        )
    assert len(np.unique(together["latents"], axis=0)) == 1000
    np.testing.assert_allclose(
        together["probabilities"], vae.decode(together["latents"]).mean(), atol=1e-6
    )


def test_sampled_pixels_have_their_probabilities(version):
    sample = tf.saved_model.load(str(version)).signatures["sample"]
    outputs = sample(seed=tf.range(20_000, dtype=tf.int64))
    assert set(np.unique(outputs["images"])) == {0.0, 1.0}
    images, probabilities = (
        outputs[name].numpy().astype(np.float64) for name in ("images", "probabilities")
    )
    standardised = (images - probabilities) / np.sqrt(probabilities * (1 - probabilities))
    # Of each pixel, 784 in all.
    assert np.abs(standardised.mean(axis=0)).max() * np.sqrt(20_000) < 4.5
    # Of neighbouring pixels, which come from one word, and of each pixel with the first latent.
    flat = standardised.reshape(20_000, 784)
    between_neighbours = (flat[:, 1:] * flat[:, :-1]).mean(axis=0) * np.sqrt(20_000)
    with_latent = (flat * outputs["latents"].numpy()[:, :1]).mean(axis=0) * np.sqrt(20_000)
    assert np.abs(between_neighbours).max() < 4.5
    assert np.abs(with_latent).max() < 4.5


@pytest.mark.parametrize("image_shape", [(5, 3, 1), (8, 8, 3), (64, 48, 1)])
def test_images_of_other_shapes(make_vae, tmp_path, image_shape):
    vae = make_vae(image_shape=image_shape, latent_dim=2)
    version = tfvae.export_saved_model(vae, tmp_path / "m", num_importance_samples=4)
    loaded = tf.saved_model.load(str(version)).signatures
    inputs = inputs_of(vae, 3)
    for key, value in expected_of(vae, inputs, num_importance_samples=4).items():
        signature, name = key.split("/")
        arguments = {k.split("/")[1]: x for k, x in inputs.items() if k.startswith(f"{signature}/")}
        output = loaded[signature](**{k: tf.constant(x) for k, x in arguments.items()})[name]
        np.testing.assert_allclose(output, value, rtol=1e-6, atol=1e-6)


def test_int8_images_in(vae, make_images, tmp_path):
    version = tfvae.export_saved_model(
        vae, tmp_path / "m", image_dtype="int8", num_importance_samples=4
    )
    loaded = tf.saved_model.load(str(version)).signatures
    images = make_images(4)
    mean = loaded["encode"](images=tf.constant(images, tf.int8))["mean"]
    np.testing.assert_allclose(mean, vae.encode(images).mean(), atol=1e-6)
    in_float32 = signatures.signatures(vae, num_importance_samples=4)["score"].function
    seeds = tf.range(4, dtype=tf.int64)
    expected = in_float32(images, seeds)
    scores = loaded["score"](images=tf.constant(images, tf.int8), seed=seeds)
    for name, values in scores.items():
        np.testing.assert_allclose(values, expected[name], rtol=1e-6)


def test_a_loaded_model_a_trained_one_and_networks_of_ones_own(make_images, tmp_path):
    encoder = keras.Sequential(
        [
            keras.Input((6, 6, 1)),
            keras.layers.Conv2D(4, 3, activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.5),
            keras.layers.Flatten(),
            keras.layers.Dense(6),
        ]
    )
    decoder = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(36), keras.layers.Reshape((6, 6, 1))]
    )
    vae = tfvae.VAE(encoder=encoder, decoder=decoder)
    vae.compile(optimizer="adam")
    images = make_images(8, image_shape=(6, 6, 1))
    vae.fit(images, epochs=1, verbose=0)
    vae.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for number, model in enumerate((vae, loaded), start=1):
        version = tfvae.export_saved_model(model, tmp_path / "m", num_importance_samples=4)
        assert version == tmp_path / "m" / str(number)
        encode = tf.saved_model.load(str(version)).signatures["encode"]
        mean = encode(images=tf.constant(images))["mean"]
        np.testing.assert_allclose(mean, vae.encode(images).mean(), atol=1e-6)


@pytest.mark.parametrize(("dtype", "tolerance"), [("mixed_bfloat16", 2e-2), ("float64", 1e-6)])
def test_models_of_other_types_are_served_in_float32(make_vae, tmp_path, dtype, tolerance):
    vae = make_vae(dtype=dtype)
    version = tfvae.export_saved_model(vae, tmp_path / "m", num_importance_samples=4)
    inputs = inputs_of(vae, 3)
    loaded = tf.saved_model.load(str(version)).signatures
    outputs = {
        "encode/mean": loaded["encode"](images=tf.constant(inputs["encode/images"]))["mean"],
        "score/elbo": loaded["score"](
            images=tf.constant(inputs["score/images"]), seed=tf.constant(inputs["score/seed"])
        )["elbo"],
    }
    expected = expected_of(vae, inputs, num_importance_samples=4)
    for key, output in outputs.items():
        assert output.dtype == tf.float32
        np.testing.assert_allclose(output, expected[key], rtol=tolerance, atol=tolerance)


def test_exporting_leaves_the_model_as_it_was(make_vae, make_images, tmp_path):
    vae = make_vae()
    vae.compile(optimizer="adam")
    images = make_images(8)
    vae.fit(images, epochs=1, verbose=0)
    weights = vae.get_weights()
    tfvae.export_saved_model(vae, tmp_path / "m", num_importance_samples=4)
    for before, after in zip(weights, vae.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    vae.fit(images, epochs=1, verbose=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image_dtype": "uint8"}, "image_dtype must be one of float32, int8; got 'uint8'"),
        ({"num_importance_samples": 0}, "num_importance_samples must be an integer"),
        ({"warmup_batch_sizes": (1, 0)}, "warmup_batch_sizes must be an integer"),
        ({"prune": 0}, "prune must be an integer of at least 1"),
    ],
)
def test_impossible_options_are_refused_before_anything_is_written(
    vae, tmp_path, arguments, message
):
    with pytest.raises(InputError, match=message):
        tfvae.export_saved_model(vae, tmp_path / "m", **arguments)
    assert not (tmp_path / "m").exists()


def test_what_is_no_model_or_was_never_built_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"only a tfvae.VAE can be exported; got Sequential"):
        tfvae.export_saved_model(keras.Sequential(), tmp_path / "m")
    vae = tfvae.VAE(image_shape=(4, 4, 1), latent_dim=2)
    vae.encoder = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(4)])
    with pytest.raises(InputError, match="the encoder has never been built"):
        tfvae.export_saved_model(vae, tmp_path / "m")
    assert not (tmp_path / "m").exists()


FULL_DISK = """
import resource, sys
import tfvae
from tfvae.common.errors import InputError

vae = tfvae.VAE(latent_dim=2)
# A file that would grow above the limit fails, as on a full disk.
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
for target in sys.argv[1:]:
    try:
        tfvae.export_saved_model(vae, target, num_importance_samples=4)
    except InputError as error:
        print(error)
"""


def test_nothing_visible_remains_of_a_full_disk(tmp_path):
    targets = [tmp_path / "existing", tmp_path / "new"]
    (targets[0] / "1").mkdir(parents=True)
    result = subprocess.run(
        [sys.executable, "-c", FULL_DISK, *map(str, targets)],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=Path(tfvae.__file__).parents[1],
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stdout.count("cannot be written to") == 2
    assert [path.name for path in targets[0].iterdir()] == ["1"]
    assert not targets[1].exists()


def test_prune_keeps_the_newest(make_vae, tmp_path):
    vae = make_vae(image_shape=(3, 3, 1), latent_dim=1)
    for number in (1, 2, 3):
        version = tfvae.export_saved_model(
            vae, tmp_path / "m", num_importance_samples=1, prune=2, warmup_batch_sizes=()
        )
        assert version.name == str(number)
        assert not (version / "assets.extra").exists()
    assert list(versions(tmp_path / "m")) == [2, 3]
