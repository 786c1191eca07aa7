import urllib.error
import urllib.request

import pytest
from synthetic_datasets import SyntheticBuilder

from tfvae.common.errors import InputError
from tfvae.datasets import describe_dataset


class SyntheticUnreachable(SyntheticBuilder):
    def _split_generators(self, dl_manager):
        raise ConnectionError("no route to host")


@pytest.mark.parametrize("name", ["digits", "synthetic_gray"])
def test_nothing_goes_to_stdout(tmp_path, capfd, name):
    describe_dataset(name, tmp_path)
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mnsit", "no data set is named 'mnsit': did you mean mnist?"),
        ("zzzzzzzz", r"no data set is named 'zzzzzzzz': list all with python .*list_builders"),
        ("huggingface:mnist", "data set names look like .*got 'huggingface:mnist'"),
        ("", "data set names look like"),
        ("emnist/lettres", r"the data set 'emnist' has no 'lettres': did you mean letters?"),
        ("mnist:9.9.9", "could not be opened: .* cannot be loaded at version 9.9.9"),
    ],
)
def test_names_that_no_data_set_has(tmp_path, name, message):
    with pytest.raises(InputError, match=message):
        describe_dataset(name, tmp_path)


def test_data_sets_that_cannot_be_prepared(tmp_path):
    with pytest.raises(InputError, match=r"no route to host.*--data-dir or TFDS_DATA_DIR"):
        describe_dataset("synthetic_unreachable", tmp_path)
    assert not list(tmp_path.glob("*/*/*.tfrecord*"))


def test_no_network(tmp_path, monkeypatch):
    def refuse(request, timeout):
        raise urllib.error.URLError("name or service not known")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    with pytest.raises(
        InputError, match=r"service not known.* tfds.load\('emnist/letters'\).* fetches it"
    ):
        describe_dataset("emnist/letters", tmp_path)
    assert not list(tmp_path.iterdir())
