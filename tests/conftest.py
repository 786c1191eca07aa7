import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def digits_data_dir(tmp_path_factory):
    """A TFDS data directory with the embedded digits."""
    from tfvae.datasets import describe_dataset

    data_dir = tmp_path_factory.mktemp("tfds")
    describe_dataset("digits", data_dir)
    return data_dir


@pytest.fixture(scope="session")
def tiny_run_lines():
    """The lines that `tiny_run` has said while it was trained."""
    return []


@pytest.fixture(scope="session")
def tiny_run(digits_data_dir, tmp_path_factory, tiny_run_lines):
    """A finished `Run` on the digits, for tests that read its folder; copy the folder to change it.

    Its settings lie in `settings.json`; log p(x) is from 10 samples per image of the test split.
    """
    from tfvae import training

    settings = training.TrainingSettings(
        data_dir=str(digits_data_dir),
        latent_dim=2,
        hidden=[16],
        batch_size=200,
        epochs=4,
        warmup_epochs=2,
        beta=0.5,
        seed=3,
    )
    return training.train(
        settings,
        tmp_path_factory.mktemp("tiny_run"),
        num_importance_samples=10,
        with_tensorboard=True,
        say=tiny_run_lines.append,
    )


@pytest.fixture(scope="session")
def shared_data_dir():
    """A TFDS data directory with mnist and binarized_mnist."""
    candidates = [REPOSITORY.parent / "shared" / "data" / "tfds"]
    if "TFDS_DATA_DIR" in os.environ:
        candidates.insert(0, Path(os.environ["TFDS_DATA_DIR"]))
    for candidate in candidates:
        if (candidate / "mnist").is_dir() and (candidate / "binarized_mnist").is_dir():
            return candidate
    return pytest.skip(
        "mnist and binarized_mnist are neither in TFDS_DATA_DIR nor in ../shared/data/tfds"
    )


NUM_LOGICAL_CPUS = 4


def pytest_configure(config):
    """Splits processor and a single GPU for tests of several replicas, before TensorFlow starts."""
    import tensorflow as tf

    (processor,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(
        processor, NUM_LOGICAL_CPUS * [tf.config.LogicalDeviceConfiguration()]
    )
    gpus = tf.config.list_physical_devices("GPU")
    if len(gpus) == 1 and config.getoption("markexpr") == "gpu":
        part = tf.config.LogicalDeviceConfiguration(memory_limit=4096)
        tf.config.set_logical_device_configuration(gpus[0], 2 * [part])


@pytest.fixture(scope="session")
def logical_cpus():
    """The names of four logical CPU devices."""
    import tensorflow as tf

    return [device.name for device in tf.config.list_logical_devices("CPU")]


@pytest.fixture(scope="session")
def gpus():
    """The names of the visible GPUs; of the two halves of a single one."""
    import tensorflow as tf

    names = [device.name for device in tf.config.list_logical_devices("GPU")]
    if not names:
        pytest.skip("no GPU is visible to TensorFlow")
    # Which would round the products to 10 bits.
    tf.config.experimental.enable_tensor_float_32_execution(False)
    return names
