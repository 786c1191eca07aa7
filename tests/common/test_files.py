import os
import resource
import signal
import stat
import tempfile
from pathlib import Path

import pytest

from tfvae.common.errors import InputError
from tfvae.common.files import atomic_write, check_output_file, locked, remove_half_written


@pytest.fixture
def target(tmp_path):
    return tmp_path / "results" / "history.csv"


def fail_midway(path, error):
    with atomic_write(path) as beside:
        beside.write_text("half")
        raise error


def in_folder(folder):
    return sorted(entry.name for entry in folder.iterdir())


def test_file_appears_only_once_it_is_whole(target):
    with atomic_write(target) as beside:
        beside.write_text("epoch,loss\n")
        assert not target.exists()
        assert beside.name == target.name
    assert target.read_text() == "epoch,loss\n"
    assert in_folder(target.parent) == ["history.csv"]


def test_path_may_be_a_string_in_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with atomic_write("model.keras") as beside:
        beside.write_bytes(b"weights")
    assert in_folder(tmp_path) == ["model.keras"]


def test_readers_see_the_old_content_until_the_end(target):
    target.parent.mkdir()
    target.write_text("old")
    with target.open() as reader:
        with atomic_write(target) as beside:
            beside.write_text("new")
            assert target.read_text() == "old"
        assert reader.read() == "old"
    assert target.read_text() == "new"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_failure_keeps_the_old_content_and_leaves_nothing(target, error):
    target.parent.mkdir()
    target.write_text("old")
    with pytest.raises(error):
        fail_midway(target, error)
    assert target.read_text() == "old"
    assert in_folder(target.parent) == ["history.csv"]


def test_failure_of_a_first_write_leaves_nothing(target):
    with pytest.raises(ValueError, match="no"):
        fail_midway(target, ValueError("no"))
    assert in_folder(target.parent) == []


def test_block_that_writes_nothing_is_an_error_and_keeps_the_old_content(target):
    target.parent.mkdir()
    target.write_text("old")
    with pytest.raises(FileNotFoundError), atomic_write(target):
        pass
    assert target.read_text() == "old"
    assert in_folder(target.parent) == ["history.csv"]


def test_disk_that_takes_no_more_keeps_the_old_content(target):
    target.parent.mkdir()
    target.write_text("old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with (
            pytest.raises(OSError, match="File too large") as error,
            atomic_write(target) as beside,
        ):
            beside.write_bytes(bytes(2000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert error.value.filename == str(target)
    assert target.read_text() == "old"
    assert in_folder(target.parent) == ["history.csv"]


def test_what_is_replaced_keeps_its_mode(target):
    target.parent.mkdir()
    target.write_text("old")
    target.chmod(0o600)
    with atomic_write(target) as beside:
        beside.write_text("new")
    assert target.read_text() == "new"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_only_what_a_killed_process_was_writing_is_removed(tmp_path):
    kept = (".git", ".cache.tfvae", ".model.keras.abcd1234", "trial_1")
    for name in (*kept, ".notes"):
        (tmp_path / name).mkdir()
    for place in (tmp_path / "model.keras", tmp_path / "trial_1" / "result.json"):
        pid = os.fork()
        if not pid:
            with atomic_write(place) as beside:
                beside.write_text("half")
                os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(pid, 0)
        (half,) = place.parent.glob(f".{place.name}.????????.tfvae")
        assert (half / place.name).read_text() == "half"
    remove_half_written(tmp_path)
    assert in_folder(tmp_path) == sorted((*kept, ".notes"))
    assert in_folder(tmp_path / "trial_1") == []


def test_a_folder_has_one_user_and_a_dead_one_is_none(tmp_path):
    folder = tmp_path / "run"
    ready, is_ready = os.pipe()
    pid = os.fork()
    if not pid:
        with locked(folder, "somebody writes"):
            os.write(is_ready, b".")
            signal.pause()
    try:
        os.read(ready, 1)
        with pytest.raises(InputError, match=r"somebody writes in .*: wait for its end, or choose"):
            locked(folder, "somebody writes").__enter__()
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    with locked(folder, "somebody writes"):
        assert folder.is_dir()


def test_folder_is_whole_or_absent(tmp_path):
    version = tmp_path / "digits" / "1"
    with atomic_write(version) as beside:
        (beside / "variables").mkdir(parents=True)
        (beside / "variables" / "data").write_text("weights")
        assert not version.exists()
    assert (version / "variables" / "data").read_text() == "weights"
    assert in_folder(version.parent) == ["1"]


def test_half_a_folder_leaves_nothing(tmp_path):
    def fail_in_folder():
        with atomic_write(tmp_path / "1") as beside:
            (beside / "variables").mkdir(parents=True)
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail_in_folder()
    assert in_folder(tmp_path) == []


def test_folder_with_content_is_never_replaced(tmp_path):
    version = tmp_path / "1"
    version.mkdir()
    (version / "saved_model.pb").write_text("old")
    with pytest.raises(OSError, match="not empty"), atomic_write(version) as beside:
        beside.mkdir()
    assert (version / "saved_model.pb").read_text() == "old"
    assert in_folder(tmp_path) == ["1"]


def test_permissions_are_those_of_any_new_file(tmp_path):
    previous = os.umask(0o027)
    try:
        with atomic_write(tmp_path / "file") as beside:
            beside.write_text("")
        with atomic_write(tmp_path / "folder") as beside:
            beside.mkdir()
    finally:
        os.umask(previous)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o750


def test_link_stays_and_what_it_points_to_is_written(tmp_path):
    (tmp_path / "store").mkdir()
    real = tmp_path / "store" / "settings.json"
    real.write_text("old")
    link = tmp_path / "settings.json"
    link.symlink_to(real)
    with atomic_write(link) as beside:
        beside.write_text("new")
    assert link.is_symlink()
    assert real.read_text() == "new"
    assert in_folder(tmp_path / "store") == ["settings.json"]


def test_pipe_is_written_to_and_not_replaced(tmp_path):
    pipe = tmp_path / "numbers"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with atomic_write(pipe) as beside:
            beside.write_text("{}")
        assert os.read(reader, 10) == b"{}"
    finally:
        os.close(reader)
    assert pipe.is_fifo()


@pytest.fixture
def read_only_folder():
    """A folder that even root, who is otherwise let in everywhere, cannot write to."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o555)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)
        try:
            yield folder
        finally:
            os.seteuid(user)
            folder.chmod(0o755)


def test_read_only_folder_raises_and_stays_empty(read_only_folder):
    with pytest.raises(PermissionError), atomic_write(read_only_folder / "model.keras"):
        pytest.fail("the block must not run: training for nothing is what this prevents")
    assert in_folder(read_only_folder) == []


def test_folder_below_a_file_raises(tmp_path):
    (tmp_path / "results").write_text("a file")
    with pytest.raises(OSError, match="results"), atomic_write(tmp_path / "results" / "x.png"):
        pytest.fail("the block must not run")
    assert (tmp_path / "results").read_text() == "a file"


def test_long_names_are_written(tmp_path):
    name = "n" * 251 + ".png"
    with atomic_write(tmp_path / name) as beside:
        beside.write_text("")
    assert in_folder(tmp_path) == [name]


def test_output_files_that_cannot_be_written_are_refused(tmp_path):
    check_output_file(None, ".png")
    check_output_file(tmp_path / "sample.png", ".png", ".npy")
    with pytest.raises(InputError, match=r"the output must be a \.png or \.npy file; got 'a\.jpg'"):
        check_output_file(Path("a.jpg"), ".png", ".npy")
    with pytest.raises(InputError, match="must be a file; there is a folder"):
        check_output_file(tmp_path)
    (tmp_path / "sample.png").write_bytes(b"image")
    check_output_file(tmp_path / "sample.png", overwrite=True)
    with pytest.raises(InputError, match="exists: choose another"):
        check_output_file(tmp_path / "sample.png")


def test_a_named_pipe_is_refused_and_the_standard_output_is_not(tmp_path):
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(InputError, match="is a named pipe"):
        check_output_file(tmp_path / "pipe.json")
    (tmp_path / "stdout").symlink_to(tmp_path / "pipe.json")
    check_output_file(tmp_path / "stdout")


def test_a_place_that_cannot_be_written_shows_before_the_work(read_only_folder):
    with pytest.raises(InputError, match=r"b.json cannot be written in .*: Permission denied"):
        check_output_file(read_only_folder / "a" / "b.json")
    assert in_folder(read_only_folder) == []
