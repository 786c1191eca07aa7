import gc
import json
import os
import resource
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


def arguments_of(inputs, signature):
    """What one signature takes, as tensors by name."""
    return {
        key.split("/")[1]: tf.constant(value)
        for key, value in inputs.items()
        if key.startswith(f"{signature}/")
    }


def expected_of(vae, inputs, functions=None):
    """What the Python model gives."""
    functions = functions or signatures.signatures(vae, num_importance_samples=4)
    posterior = vae.encode(inputs["encode/images"])
    outputs = {
        "decode/probabilities": vae.decode(inputs["decode/latents"]).mean(),
        "reconstruct/probabilities": vae(inputs["reconstruct/images"]),
    }
    for name in ("encode", "serving_default"):
        outputs |= {f"{name}/mean": posterior.mean(), f"{name}/stddev": posterior.stddev()}
    for name in ("sample", "score"):
        specs = functions[name].input_signature
        results = functions[name](*(inputs[f"{name}/{spec.name}"] for spec in specs))
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


@pytest.fixture(scope="module")
def expected_and_inputs(vae):
    """What the Python model gives for batches of several sizes, and for which inputs."""
    inputs = {size: inputs_of(vae, size) for size in BATCH_SIZES}
    functions = signatures.signatures(vae, num_importance_samples=20)
    expected = {
        f"{size}/{key}": value
        for size in BATCH_SIZES
        for key, value in expected_of(vae, inputs[size], functions=functions).items()
    }
    return expected, {f"{size}/{k}": x for size in BATCH_SIZES for k, x in inputs[size].items()}


def assert_agree(file, expected):
    with np.load(file) as outputs:
        assert set(outputs) == set(expected)
        assert {key.split("/")[1] for key in outputs} == NAMES
        for key, value in expected.items():
            assert outputs[key].dtype == np.float32
            assert outputs[key].shape == value.shape
            np.testing.assert_allclose(outputs[key], value, rtol=1e-6, atol=1e-6, err_msg=key)


def test_every_signature_runs_without_tfvae_and_agrees_with_the_model(
    expected_and_inputs, version, tmp_path
):
    """Loaded by `tf.saved_model.load`, and in a session as TensorFlow Serving does."""
    expected, inputs = expected_and_inputs
    np.savez(tmp_path / "inputs.npz", **inputs)
    run_elsewhere("run_without_tfvae.py", version, "inputs.npz", "outputs", folder=tmp_path)
    for loader in ("saved_model", "session"):
        assert_agree(tmp_path / f"outputs-{loader}.npz", expected)


@pytest.mark.slow
def test_every_signature_runs_without_python(expected_and_inputs, version, tmp_path):
    expected, inputs = expected_and_inputs
    np.savez(tmp_path / "inputs.npz", **inputs)
    names = {
        name: {
            "inputs": {key: info.name for key, info in signature.inputs.items()},
            "outputs": {key: info.name for key, info in signature.outputs.items()},
        }
        for name, signature in signature_definitions(version).items()
    }
    (tmp_path / "names.json").write_text(json.dumps(names))
    files = ("names.json", "inputs.npz", "outputs.npz")
    run_elsewhere("run_with_c_api.py", version, *files, folder=tmp_path)
    assert_agree(tmp_path / "outputs.npz", expected)


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
    outputs = sample(seed=tf.range(10_000, dtype=tf.int64))
    assert set(np.unique(outputs["images"])) == {0.0, 1.0}
    images, probabilities = (
        outputs[name].numpy().astype(np.float64) for name in ("images", "probabilities")
    )
    standardized = (images - probabilities) / np.sqrt(probabilities * (1 - probabilities))
    # Of each pixel, 784 in all.
    assert np.abs(standardized.mean(axis=0)).max() * np.sqrt(10_000) < 4.5
    # Of neighboring pixels, which come from one word, and of each pixel with the first latent.
    flat = standardized.reshape(10_000, 784)
    between_neighbors = (flat[:, 1:] * flat[:, :-1]).mean(axis=0) * np.sqrt(10_000)
    with_latent = (flat * outputs["latents"].numpy()[:, :1]).mean(axis=0) * np.sqrt(10_000)
    assert np.abs(between_neighbors).max() < 4.5
    assert np.abs(with_latent).max() < 4.5


def test_a_float64_model_of_color_images(color_vae, color_version):
    served = tf.saved_model.load(str(color_version)).signatures
    inputs = inputs_of(color_vae, 3)
    for key, value in expected_of(color_vae, inputs).items():
        signature, name = key.split("/")
        output = served[signature](**arguments_of(inputs, signature))[name]
        assert output.dtype == tf.float32
        np.testing.assert_allclose(output, value, rtol=1e-6, atol=1e-6, err_msg=key)


def test_a_bfloat16_model_answers_in_float32(make_vae, make_images):
    shape = {"image_shape": (4, 3, 1), "latent_dim": 2}
    images, seed = make_images(3, image_shape=(4, 3, 1)), tf.range(3, dtype=tf.int64)
    outputs, expected = (
        signatures.signatures(make_vae(**shape, dtype=dtype), num_importance_samples=4)
        for dtype in ("mixed_bfloat16", None)
    )
    for name, arguments in (("encode", (images,)), ("sample", (seed,)), ("score", (images, seed))):
        of_float32 = expected[name](*arguments)
        for key, output in outputs[name](*arguments).items():
            assert output.dtype == tf.float32
            if key != "images":
                np.testing.assert_allclose(output, of_float32[key], rtol=5e-2, atol=5e-2)


def test_int8_images_in(vae, int8_version):
    inputs = inputs_of(vae, 3)
    expected = expected_of(vae, inputs)
    served = tf.saved_model.load(str(int8_version)).signatures
    for signature in ("encode", "score"):
        arguments = arguments_of(inputs, signature)
        arguments["images"] = tf.cast(arguments["images"], tf.int8)
        for name, output in served[signature](**arguments).items():
            value = expected[f"{signature}/{name}"]
            np.testing.assert_allclose(output, value, rtol=1e-6, atol=1e-6)


def test_a_trained_model_of_own_networks_that_was_loaded(make_images, tmp_path):
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
    vae.compile(optimizer="adam", run_eagerly=True)
    images = make_images(8, image_shape=(6, 6, 1))
    vae.fit(images, epochs=1, verbose=0)
    vae.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    version = tfvae.export_saved_model(loaded, tmp_path / "m", num_importance_samples=4)
    assert version == tmp_path / "m" / "1"
    encode = tf.saved_model.load(str(version)).signatures["encode"]
    mean = encode(images=tf.constant(images))["mean"]
    np.testing.assert_allclose(mean, vae.encode(images).mean(), atol=1e-6)
    # Exporting leaves the model as it was.
    for before, after in zip(vae.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    loaded.fit(images, epochs=1, verbose=0)


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


def test_what_is_no_model_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"only a tfvae.VAE can be exported; got Sequential"):
        tfvae.export_saved_model(keras.Sequential(), tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_nothing_visible_remains_of_a_full_disk(make_vae, tmp_path):
    vae = make_vae(latent_dim=2, hidden=(512,))
    (tmp_path / "m" / "1").mkdir(parents=True)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # A file that would grow above the limit fails, as on a full disk.
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large") as refused:
            tfvae.export_saved_model(vae, tmp_path / "m", num_importance_samples=4)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert refused.value.filename == str(tmp_path / "m" / "2")
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == [".lock", "1"]


def test_prune_keeps_the_newest(make_vae, tmp_path):
    vae = make_vae(image_shape=(3, 3, 1), latent_dim=1)
    for number in ("1", "2"):
        (tmp_path / "m" / number).mkdir(parents=True)
        (tmp_path / "m" / number / "saved_model.pb").write_text("graph")
    version = tfvae.export_saved_model(
        vae, tmp_path / "m", num_importance_samples=1, prune=2, warmup_batch_sizes=()
    )
    assert version.name == "3"
    assert not (version / "assets.extra").exists()
    assert list(versions(tmp_path / "m")) == [2, 3]


def test_a_model_whose_training_has_failed_is_refused(make_vae, tmp_path):
    vae = make_vae(image_shape=(3, 3, 1), latent_dim=1)
    vae.decoder.trainable_variables[0].assign(vae.decoder.trainable_variables[0] * np.nan)
    with pytest.raises(InputError, match="hidden_0/kernel of the model have NaN or infinity"):
        tfvae.export_saved_model(vae, tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_exports_leave_no_graph_in_memory(make_vae, tmp_path):
    vae = make_vae(image_shape=(3, 3, 1), latent_dim=1)

    def graphs_after_export():
        tfvae.export_saved_model(vae, tmp_path, num_importance_samples=1, warmup_batch_sizes=())
        gc.collect()
        return sum(isinstance(thing, tf.Graph) for thing in gc.get_objects())

    graphs_after_export()
    assert graphs_after_export() == graphs_after_export()


# What is no image, and what are no latents.
WRONG_VALUES = {
    "encode": [np.nan, np.inf, -1.0, -1e-6, 1.001, 255.0],
    "decode": [np.nan, np.inf, -np.inf],
}


def test_a_wrong_row_gives_nan_and_spoils_no_other(version, int8_version, vae):
    served = tf.saved_model.load(str(version)).signatures
    inputs = inputs_of(vae, 4)
    for name in NAMES - {"sample"}:
        right = arguments_of(inputs, name)
        expected = {key: value.numpy() for key, value in served[name](**right).items()}
        of_values = "latents" if name == "decode" else "images"
        for value in WRONG_VALUES["decode" if name == "decode" else "encode"]:
            wrong = inputs[f"{name}/{of_values}"].copy()
            wrong[2].flat[-1] = value
            outputs = served[name](**{**right, of_values: tf.constant(wrong)})
            for key, output in outputs.items():
                assert np.isnan(output[2]).all(), (name, key, value)
                others = [0, 1, 3]
                np.testing.assert_array_equal(output.numpy()[others], expected[key][others])
    encode = tf.saved_model.load(str(int8_version)).signatures["encode"]
    images = np.zeros((3, *vae.image_shape), np.int8)
    images[0, 0, 0], images[2, 0, 0] = 2, -1
    for output in encode(images=tf.constant(images)).values():
        assert np.isnan(output).all(axis=1).tolist() == [True, False, True]
