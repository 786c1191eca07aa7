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


def pytest_configure():
    """Splits the processor for the tests of several replicas, before TensorFlow is started."""
    import tensorflow as tf

    (processor,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(
        processor, NUM_LOGICAL_CPUS * [tf.config.LogicalDeviceConfiguration()]
    )


@pytest.fixture(scope="session")
def logical_cpus():
    """The names of four logical CPU devices."""
    import tensorflow as tf

    return [device.name for device in tf.config.list_logical_devices("CPU")]
