import pytest


@pytest.fixture(scope="session")
def synthetic_data_dir(tmp_path_factory):
    """A TFDS data directory in which the synthetic data sets are prepared when first asked for."""
    return tmp_path_factory.mktemp("synthetic")
