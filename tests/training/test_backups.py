"""Runs that are killed and resumed end as if nothing had happened."""

import json
import random
import resource
import shutil
import signal
import time

import forked_processes
import forked_programs
import numpy as np
import pytest
from forked_programs import EPOCHS

from tfvae.common.errors import InputError
from tfvae.fitting.callbacks import BestWeights
from tfvae.training import runs
from tfvae.training.backups import Backup

SECONDS_TO_NOTICE = 120  # until a worker must have noticed that another one is gone


def train_with_kills(folder, data_dir, strategy, count, num_kills, seed=0):
    """Kills a training at random moments, and resumes it each time; what it has in the end.

    The first time it is killed, or its chief, before there is a backup; then in later epochs.
    """
    generator = random.Random(seed)
    folder.mkdir()
    (folder / "hold").touch()
    longest = 0.0
    for kill in range(num_kills):
        # Reads what lies there, which is whole.
        done = Backup(folder / "backup").initial_epoch
        assert (done > 0) == (kill > 1)
        processes = start(folder, data_dir, strategy, count)
        try:
            # So that some epochs are left for the other kills.
            while not (has_backup_after(done, folder) if kill else (folder / "began-0").exists()):
                assert all(process.is_alive() for process in processes), log_of(folder)
                time.sleep(0.02)
            time.sleep(generator.uniform(0, 0.8))
            victim = generator.choice(processes) if kill else processes[0]
            victim.kill()
            victim.join()
            (folder / "hold").unlink(missing_ok=True)
            began = time.monotonic()
            for other in set(processes) - {victim}:
                other.join(SECONDS_TO_NOTICE)
                assert other.exitcode not in (None, 0), log_of(folder)
            longest = max(longest, time.monotonic() - began)
        finally:
            forked_processes.end(processes, seconds=0)
    print(f"{num_kills} kills; the others noticed after {longest:.1f} s at most")
    (folder / "hold").unlink(missing_ok=True)
    processes = start(folder, data_dir, strategy, count)
    assert forked_processes.end(processes) == [0] * len(processes), log_of(folder)
    with np.load(folder / "result.npz") as result:
        return dict(result)


def start(folder, data_dir, strategy, count):
    """Starts the processes of a training."""
    count = count if strategy == "multi_worker" else None
    return forked_processes.start(
        forked_programs.train_with_backups,
        str(folder),
        str(data_dir),
        strategy,
        logs=folder,
        count=count,
    )


def has_backup_after(epoch, folder):
    backups = (folder / "backup").glob("epoch-*")
    return any(path.name > f"epoch-{epoch:06d}" for path in backups)


def log_of(folder):
    return (folder / "log-0.txt").read_text()[-2000:]


def check_undisturbed(result, expected):
    assert len(result["loss"]) == EPOCHS
    assert result["step"] == expected["step"] == 4 * EPOCHS
    assert set(result) == set(expected)
    for name, values in expected.items():
        np.testing.assert_array_equal(result[name], values, err_msg=name)


@pytest.fixture(scope="module")
def expected_of(digits_data_dir, tmp_path_factory):
    """The results of undisturbed trainings, by strategy and number of workers."""
    results = {}

    def expected(strategy, count):
        if (strategy, count) not in results:
            folder = tmp_path_factory.mktemp("undisturbed") / strategy
            results[strategy, count] = train_with_kills(
                folder, digits_data_dir, strategy, count, num_kills=0
            )
        return results[strategy, count]

    return expected


@pytest.mark.slow
@pytest.mark.parametrize(
    ("strategy", "count", "num_kills"),
    [
        ("one_device", 1, 2),
        ("multi_worker", 2, 2),
        ("mirrored", 1, 3),
        *(
            # A training has no more than EPOCHS - 1 epochs to be killed in.
            pytest.param(*run, 5, id=f"{run[0]}-5-{i}")
            for run in (("one_device", 1), ("multi_worker", 2))
            for i in (1, 2, 3, 4)
        ),
    ],
)
def test_killed_runs_end_like_undisturbed_ones(
    strategy, count, num_kills, expected_of, digits_data_dir, tmp_path, request
):
    expected = expected_of(strategy, count)
    seed = request.node.callspec.id
    result = train_with_kills(tmp_path / "run", digits_data_dir, strategy, count, num_kills, seed)
    check_undisturbed(result, expected)
    assert not list((tmp_path / "run").glob("*.npz.*"))


@pytest.mark.slow
def test_a_killed_command_goes_on_to_equal_results(tiny_run, tmp_path):
    """With the settings, the split and the number of samples that it was begun with."""
    folder = tmp_path / "run"
    settings = str(tiny_run.folder / runs.SETTINGS)
    begin = ("train", "--config", settings, "--output", str(folder))
    for main, arguments, code in (
        (forked_programs.run_command_killed_after, ("2", *begin), -signal.SIGKILL),
        (forked_programs.run_command, ("train", "--resume", str(folder)), 0),
    ):
        processes = forked_processes.start(main, *arguments, logs=tmp_path)
        assert forked_processes.end(processes) == [code], log_of(tmp_path)
        assert runs.read_run(folder)["has_ended"] == (not code)
    assert "up to 4 epochs, 2 of them done" in log_of(tmp_path)
    ours, expected = (runs.read_history(at / runs.HISTORY) for at in (folder, tiny_run.folder))
    assert ours.keys() == expected.keys()
    for name in expected:
        np.testing.assert_allclose(ours[name], expected[name], rtol=1e-5, err_msg=name)
    results = json.loads((folder / runs.RESULTS).read_text())
    assert results.keys() == tiny_run.results.keys()
    for name in ("epochs", "best_epoch", "num_images", "num_importance_samples"):
        assert results[name] == tiny_run.results[name]
    for name in ("elbo", "kl", "log_likelihood"):
        assert results[name] == pytest.approx(tiny_run.results[name], rel=1e-5)


def test_backup_of_another_model_is_refused(tmp_path):
    from small_models import IMAGE_SHAPE, small_vae

    images = np.zeros((8, *IMAGE_SHAPE), np.float32)
    vae = small_vae()
    vae.compile()
    vae.fit(images, verbose=0, callbacks=[Backup(tmp_path)])
    import tfvae

    other = tfvae.VAE(IMAGE_SHAPE, latent_dim=5)
    other.compile()
    with pytest.raises(InputError, match="belongs to another model"):
        other.fit(images, epochs=2, initial_epoch=1, verbose=0, callbacks=[Backup(tmp_path)])


def fit_with_backups(folder, epochs=1, vae=None, **options):
    """A training that goes on from the backups in a folder, if there are any."""
    from small_models import IMAGE_SHAPE, binary_images, small_vae

    vae = vae or small_vae(noise=True)
    vae.compile(run_eagerly=True)
    backup = Backup(folder, **options)
    images = binary_images(8, IMAGE_SHAPE)
    vae.fit(
        images,
        validation_data=images if backup.best_weights else None,
        epochs=epochs,
        initial_epoch=backup.initial_epoch,
        verbose=0,
        callbacks=[each for each in (backup.best_weights, backup) if each],
    )
    return vae, backup


def test_the_last_two_backups_stay_and_only_the_writer_writes(tmp_path):
    _, reader = fit_with_backups(tmp_path / "backup", writes=False)
    assert not (tmp_path / "backup").exists()
    assert len(reader.history["loss"]) == 1
    fit_with_backups(tmp_path / "backup", epochs=3)
    names = sorted(path.name for path in (tmp_path / "backup").iterdir())
    assert names == ["epoch-000002", "epoch-000003"]


@pytest.fixture(scope="module")
def backups(tmp_path_factory):
    """The backups of two epochs, and the weights after three."""
    folder = tmp_path_factory.mktemp("backups") / "backup"
    fit_with_backups(folder, epochs=2, settings="these")
    whole = shutil.copytree(folder, folder.parent / "whole")
    vae, _ = fit_with_backups(folder, epochs=3, settings="these")
    return whole, vae.get_weights()


def damage(file, how):
    content = bytearray(file.read_bytes())
    if how == "missing":
        file.unlink()
        return
    if how == "flipped":
        content[len(content) // 2] ^= 4
    file.write_bytes(b"" if how == "emptied" else content)


@pytest.mark.parametrize("how", ["missing", "emptied", "flipped"])
@pytest.mark.parametrize("name", ["weights.npz", "state.json", "manifest.json"])
def test_a_damaged_backup_is_named_and_the_one_before_is_taken(name, how, backups, tmp_path):
    whole, expected = backups
    folder = shutil.copytree(whole, tmp_path / "backup")
    damage(folder / "epoch-000002" / name, how)
    if how == "flipped" and name == "manifest.json":
        # A flipped bit may also stand where the settings are.
        (folder / "epoch-000002" / name).write_bytes(b"{" + bytes(10))
    backup = Backup(folder, settings="these")
    assert backup.initial_epoch == 1
    assert len(backup.damage) == 1
    assert str(folder / "epoch-000002") in backup.damage[0]
    vae, _ = fit_with_backups(folder, epochs=3, settings="these")
    for ours, theirs in zip(vae.get_weights(), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert Backup(folder, settings="these").damage == []
    for epoch in folder.iterdir():
        damage(epoch / name, "missing")
    with pytest.raises(InputError, match=r"all backups are damaged: .*epoch-000003.*start a new"):
        Backup(folder, settings="these")


def test_a_backup_of_other_settings_is_refused(backups):
    with pytest.raises(InputError, match="is of a run with other settings"):
        Backup(backups[0], settings="others")


def test_an_epoch_that_was_cut_off_is_not_backed_up(tmp_path):
    best_weights = BestWeights(patience=5)
    backup = Backup(tmp_path, best_weights)
    backup.set_params({"epochs": 3})
    best_weights.stop_reason = "interrupted"
    backup.on_epoch_end(0, {"loss": 1.0})
    assert backup.history == {"loss": [1.0]}
    assert backup.initial_epoch == 0
    assert not list(tmp_path.iterdir())


def test_ctrl_c_while_a_backup_is_written_does_not_end_the_training(tmp_path, monkeypatch):
    best_weights = BestWeights(patience=5)

    def save(file, *arrays):
        best_weights.stop_reason = "interrupted"
        best_weights.model.stop_training = True
        return savez(file, *arrays)

    savez = np.savez
    monkeypatch.setattr(np, "savez", save)
    fit_with_backups(tmp_path, epochs=2, best_weights=best_weights)
    backup = Backup(tmp_path, BestWeights(patience=5))
    assert (backup.initial_epoch, backup.is_over) == (1, None)
    monkeypatch.setattr(np, "savez", savez)
    _, backup = fit_with_backups(tmp_path, epochs=2, best_weights=BestWeights(patience=5))
    assert (backup.initial_epoch, backup.best_weights.stop_reason) == (2, None)


def test_a_backup_for_which_there_is_no_room_leaves_those_before(backups, tmp_path):
    folder = shutil.copytree(backups[0], tmp_path / "backup")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, hard))
    try:
        with pytest.raises(OSError, match="too large") as error:
            fit_with_backups(folder, epochs=3, settings="these")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert error.value.filename == str(folder / "epoch-000003")
    backup = Backup(folder, settings="these")
    assert (backup.initial_epoch, backup.damage) == (2, [])
