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
