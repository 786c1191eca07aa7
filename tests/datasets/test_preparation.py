import urllib.error
import urllib.request

import pytest
import sklearn.datasets
from synthetic_datasets import SyntheticBuilder

from tfvae.common.errors import InputError
from tfvae.datasets import describe_dataset
from tfvae.datasets.digits import Digits
from tfvae.datasets.preparation import open_builder, prepare


class SyntheticUnreachable(SyntheticBuilder):
    def _split_generators(self, dl_manager):
        raise ConnectionError("no route to host")


@pytest.fixture
def few_digits(monkeypatch):
    """Lets scikit-learn have 30 digits, so that they are prepared at once."""
    digits = sklearn.datasets.load_digits()
    digits.images, digits.target = digits.images[:30], digits.target[:30]
    monkeypatch.setattr(sklearn.datasets, "load_digits", lambda: digits)


@pytest.mark.usefixtures("few_digits")
class TestDigits:
    def test_are_prepared_by_two_at_once(self, tmp_path, monkeypatch):
        prepare_alone = Digits.download_and_prepare
        raced = []

        def prepare_while_another_finishes(self):
            prepare_alone(self)
            if not raced:
                raced.append(True)
                prepare(open_builder("digits", tmp_path))

        monkeypatch.setattr(Digits, "download_and_prepare", prepare_while_another_finishes)
        description = describe_dataset("digits", tmp_path)
        assert raced
        assert sum(description.num_examples.values()) == 30
        assert [path.name for path in (tmp_path / "digits").iterdir()] == ["1.0.0"]

    def test_are_prepared_in_the_folder_that_the_environment_names(self, tmp_path, monkeypatch):
        monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "named"))
        describe_dataset("digits")
        assert (tmp_path / "named" / "digits" / "1.0.0").is_dir()

    def test_need_a_place_that_can_be_written(self, tmp_path):
        (tmp_path / "file").write_text("not a folder")
        with pytest.raises(InputError, match=r"cannot be written .*--data-dir or TFDS_DATA_DIR"):
            describe_dataset("digits", tmp_path / "file")


@pytest.mark.usefixtures("few_digits")
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
