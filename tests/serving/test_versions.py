import os
import signal
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
    assert list(versions(folder)) == [1, 10]
    assert (folder / "1" / "saved_model.pb").read_text() == "first"
    assert names(folder) == [".lock", "1", "10", "9", "card", "model.keras"]


def test_a_version_appears_whole_and_readable(tmp_path):
    def slow_write(path):
        assert names(tmp_path) == sorted([path.parent.name, ".lock"])
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

    (tmp_path / "old").mkdir()
    for folder in (tmp_path / "new", tmp_path / "old"):
        with pytest.raises(type(error), match=str(error.args[-1])):
            add_version(folder, failing_write)
    assert names(tmp_path) == ["old"]
    assert names(tmp_path / "old") == [".lock"]


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
    assert names(tmp_path) == [".lock", "10", "100", "card"]
    assert prune_versions(tmp_path, keep=5) == []
    assert prune_versions(tmp_path / "missing", keep=1) == []
    for keep in (0, -1, 1.5, True):
        with pytest.raises(InputError, match="must be an integer of at least 1"):
            prune_versions(tmp_path, keep=keep)


def test_what_is_no_version_is_never_pruned(tmp_path):
    for number in ("3", "5"):
        write(tmp_path / number)
    (tmp_path / "1").write_text("a file")
    (tmp_path / "2").mkdir()
    (tmp_path / "2" / "notes").write_text("a folder of someone else")
    too_large = str(2**63)
    (tmp_path / too_large).mkdir()
    assert prune_versions(tmp_path, keep=1) == [3]
    assert names(tmp_path) == [".lock", "1", "2", "5", too_large]
    assert add_version(tmp_path, write) == tmp_path / "6"


def test_numbers_are_those_that_the_server_can_serve(tmp_path):
    for name in (str(2**63), "007"):
        write(tmp_path / name)
        with pytest.raises(InputError, match=f"{name} holds a SavedModel, but its name is not a"):
            add_version(tmp_path, write)
        (tmp_path / name).rename(tmp_path / ".hidden")
        (tmp_path / ".hidden" / "saved_model.pb").unlink()
        (tmp_path / ".hidden").rmdir()
    write(tmp_path / str(2**63 - 1))
    with pytest.raises(InputError, match=f"{2**63 - 1} has the largest number that a version"):
        add_version(tmp_path, write)
    assert names(tmp_path) == [str(2**63 - 1)]


PROCESS = """
import os, signal, sys
from pathlib import Path
from tfvae.serving.versions import add_version, prune_versions

folder, what = Path(sys.argv[1]), sys.argv[2]

def write(path):
    path.mkdir()
    (path / "saved_model.pb").write_text("half")
    if what == "killed while it writes":
        os.kill(os.getpid(), signal.SIGKILL)
    (path / "saved_model.pb").write_text("whole")

def killed(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

add_version(folder, write)
if what == "killed while it prunes":
    from tfvae.common import files
    files.shutil.rmtree = killed
prune_versions(folder, keep=1)
"""


def start(folder, what="not killed"):
    command = [sys.executable, "-c", PROCESS, str(folder), what]
    return subprocess.Popen(command, stderr=subprocess.PIPE, cwd=Path(tfvae.__file__).parents[1])


def test_six_processes_at_once_leave_the_newest_version_whole(tmp_path):
    folder = tmp_path / "digits"
    processes = [start(folder) for _ in range(6)]
    for process in processes:
        assert process.wait(timeout=60) == 0, process.stderr.read()
    assert names(folder) == [".lock", "6"]
    assert (folder / "6" / "saved_model.pb").read_text() == "whole"


@pytest.mark.parametrize("what", ["killed while it writes", "killed while it prunes"])
def test_what_a_killed_process_leaves_is_removed_by_the_next(tmp_path, what):
    write(tmp_path / "1")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".1.tfvae").mkdir()
    (tmp_path / ".model.keras.abcdefgh.tfvae").mkdir()
    assert start(tmp_path, what).wait(timeout=60) == -signal.SIGKILL
    others = {".1.tfvae", ".model.keras.abcdefgh.tfvae", ".git"}
    assert any(name.endswith(".tfvae") for name in set(names(tmp_path)) - others)
    add_version(tmp_path, write)
    newest = max(map(int, versions(tmp_path)))
    assert set(names(tmp_path)) - {"1"} == {*others, ".lock", "2", str(newest)}


def test_a_hanging_export_is_not_waited_for_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr("tfvae.serving.versions._SECONDS_TO_WAIT", 0.1)

    def write_twice(path):
        with pytest.raises(InputError, match=r"another export is writing in .*: wait for its end"):
            in_threads(1, lambda _: add_version(tmp_path, write))
        write(path)

    assert add_version(tmp_path, write_twice).name == "1"


def test_a_target_that_cannot_be_is_refused(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(InputError, match="is a file: give a folder"):
        add_version(file, write)
    with pytest.raises(OSError, match="Not a directory"):
        add_version(file / "digits", write)
    write(tmp_path / "model")
    with pytest.raises(InputError, match="is a SavedModel itself: give the folder above"):
        add_version(tmp_path / "model", write)
    write(tmp_path / "digits")
    with pytest.raises(InputError, match="its name is not a number"):
        add_version(tmp_path, write)


UNWRITABLE = """
import os, sys
from tfvae.serving.versions import add_version

os.setuid(65534)
try:
    add_version(sys.argv[1], None)
except OSError as error:
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
    assert "Permission denied" in result.stdout, result.stderr


def test_a_folder_that_is_read_only_is_refused(tmp_path):
    tmp_path.chmod(0o555)
    try:
        if os.access(tmp_path, os.W_OK):
            pytest.skip("root may write anywhere")
        with pytest.raises(OSError, match="Permission denied"):
            add_version(tmp_path / "digits", write)
    finally:
        tmp_path.chmod(0o755)
