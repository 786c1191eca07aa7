import os
import sys
from pathlib import Path

import hypothesis
import pytest
import wrapt

REPOSITORY = Path(__file__).parents[1]
NUM_LOGICAL_CPUS = 4

hypothesis.settings.register_profile("tfvae", derandomize=True, deadline=None)
hypothesis.settings.load_profile("tfvae")


def pytest_xdist_auto_num_workers(config):
    """All processors for the whole suite; none but this one for chosen files, or for a GPU."""
    is_whole_suite = set(config.args) == set(config.getini("testpaths"))
    is_for_gpu = config.getoption("markexpr") == "gpu"
    return len(os.sched_getaffinity(0)) if is_whole_suite and not is_for_gpu else 0


def pytest_collection_modifyitems(items):
    for item in items:
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(900))


def pytest_configure(config):
    @wrapt.when_imported("tensorflow")
    def split_devices(tf):
        """Makes several devices of the processor, and two of a single GPU, for several replicas."""
        (processor,) = tf.config.list_physical_devices("CPU")
        tf.config.set_logical_device_configuration(
            processor, NUM_LOGICAL_CPUS * [tf.config.LogicalDeviceConfiguration()]
        )
        gpus = tf.config.list_physical_devices("GPU")
        if len(gpus) == 1 and config.getoption("markexpr") == "gpu":
            part = tf.config.LogicalDeviceConfiguration(memory_limit=4096)
            tf.config.set_logical_device_configuration(gpus[0], 2 * [part])


def set_random_seed():
    """The same random numbers whatever ran before; nothing where no test needs TensorFlow."""
    if "keras" in sys.modules:
        sys.modules["keras"].utils.set_random_seed(0)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup():
    set_random_seed()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call():
    # Again, because fixtures that several tests share draw numbers before the first of them alone.
    set_random_seed()


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
        num_importance_samples=10,
    )
    return training.train(
        settings,
        tmp_path_factory.mktemp("tiny_run"),
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
