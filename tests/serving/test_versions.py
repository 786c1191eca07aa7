import os
import subprocess
import sys
from pathlib import Path

import pytest
from model_server import in_threads

import tfvae
from tfvae.common.errors import InputError
from tfvae.serving.versions import add_version, prune_versions, versions


def write(path):
    path.mkdir()
    (path / "saved_model.pb").write_text("graph")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_versions_are_numbered_on_and_none_is_touched(tmp_path):
    folder = tmp_path / "saved_models" / "digits"
    assert versions(folder) == {}
    assert add_version(folder, write) == folder / "1"
    (folder / "1" / "saved_model.pb").write_text("first")
    (folder / "card").mkdir()
    (folder / "model.keras").write_text("weights")
    (folder / "9").mkdir()
    assert add_version(folder, write) == folder / "10"
    assert list(versions(folder)) == [1, 9, 10]
    assert (folder / "1" / "saved_model.pb").read_text() == "first"
    assert names(folder) == ["1", "10", "9", "card", "model.keras"]


def test_a_version_appears_whole_and_readable(tmp_path):
    def slow_write(path):
        assert names(tmp_path) == [path.parent.name]
        assert path.parent.name.startswith(".")
        write(path)
        assert versions(tmp_path) == {}

    version = add_version(tmp_path, slow_write)
    umask = os.umask(0)
    os.umask(umask)
    assert version.stat().st_mode & 0o777 == 0o777 & ~umask


@pytest.mark.parametrize("error", [RuntimeError("no"), OSError(28, "No space left on device")])
def test_nothing_is_left_of_what_failed(tmp_path, error):
    def failing_write(path):
        write(path)
        raise error

    expected = InputError if isinstance(error, OSError) else RuntimeError
    for folder in (tmp_path / "new", tmp_path):
        with pytest.raises(expected, match=str(error.args[-1])):
            add_version(folder, failing_write)
    assert names(tmp_path) == []


def test_two_at_once_get_two_versions(tmp_path):
    def numbered_write(index):
        def write_index(path):
            path.mkdir()
            (path / "saved_model.pb").write_text(str(index))

        return add_version(tmp_path, write_index)

    paths = in_threads(16, numbered_write)
    assert [path.joinpath("saved_model.pb").read_text() for path in paths] == [
        str(index) for index in range(16)
    ]
    assert list(versions(tmp_path)) == list(range(1, 17))


def test_pruning_keeps_the_newest_by_number(tmp_path):
    for number in ("2", "9", "10", "100"):
        write(tmp_path / number)
    (tmp_path / "card").mkdir()
    assert prune_versions(tmp_path, keep=2) == [2, 9]
    assert names(tmp_path) == ["10", "100", "card"]
    assert prune_versions(tmp_path, keep=5) == []
    for keep in (0, -1, 1.5, True):
        with pytest.raises(InputError, match="must be an integer of at least 1"):
            prune_versions(tmp_path, keep=keep)


def test_a_target_that_cannot_be_is_refused(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(InputError, match="is a file: give a folder"):
        add_version(file, write)
    with pytest.raises(InputError, match="cannot be written to: Not a directory"):
        add_version(file / "digits", write)
    write(tmp_path / "model")
    with pytest.raises(InputError, match="is a SavedModel itself: give the folder above"):
        add_version(tmp_path / "model", write)
    write(tmp_path / "digits")
    with pytest.raises(InputError, match="its name is not a number"):
        add_version(tmp_path, write)


UNWRITABLE = """
import os, sys
from tfvae.common.errors import InputError
from tfvae.serving.versions import add_version

os.setuid(65534)
try:
    add_version(sys.argv[1], None)
except InputError as error:
    print(error)
"""


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to become a user that may not write")
def test_a_folder_that_may_not_be_written_is_refused(tmp_path):
    for parent in (tmp_path, *tmp_path.parents[:3]):
        parent.chmod(0o755)
    result = subprocess.run(
        [sys.executable, "-c", UNWRITABLE, str(tmp_path / "digits")],
        capture_output=True,
        text=True,
        cwd=Path(tfvae.__file__).parents[1],
    )
    assert "cannot be written to: Permission denied" in result.stdout, result.stderr


def test_a_folder_that_is_read_only_is_refused(tmp_path):
    tmp_path.chmod(0o555)
    try:
        if os.access(tmp_path, os.W_OK):
            pytest.skip("root may write anywhere")
        with pytest.raises(InputError, match="cannot be written to: Permission denied"):
            add_version(tmp_path / "digits", write)
    finally:
        tmp_path.chmod(0o755)
