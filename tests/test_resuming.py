"""Runs that are killed and resumed end as if nothing had happened."""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from killed import EPOCHS

from tfvae import runs, workers
from tfvae.errors import InputError
from tfvae.resuming import Backup
from tfvae.settings import TrainingSettings

HERE = Path(__file__).parent
SECONDS_TO_NOTICE = 60  # until a worker must have noticed that another one is gone


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    path = os.pathsep.join([str(HERE.parent), str(HERE), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")


def start(folder, data_dir, strategy, count):
    """Starts the workers of a training."""
    addresses = [f"127.0.0.1:{port}" for port in workers.free_ports(count)]
    processes = []
    for index in range(count):
        task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        variables = {"TF_CONFIG": json.dumps(task)} if strategy == "multi_worker" else {}
        arguments = [str(HERE / "killed.py"), str(folder), str(data_dir), strategy]
        with (folder / f"log-{index}.txt").open("ab") as log:
            processes.append(
                subprocess.Popen(
                    ["timeout", "-s", "KILL", "240", sys.executable, *arguments],
                    env=os.environ | variables,
                    stderr=log,
                    # To kill the process with the `timeout` around it.
                    start_new_session=True,
                )
            )
    return processes


def kill(process):
    os.killpg(process.pid, 9)
    process.wait()


def end(processes):
    """Waits for the end of all; their exit codes."""
    try:
        return [process.wait(240) for process in processes]
    finally:
        for process in processes:
            if process.poll() is None:
                kill(process)


def train_with_kills(folder, data_dir, strategy, count, num_kills, seed=0):
    """Kills a training at random moments, and resumes it each time; what it has in the end."""
    generator = random.Random(seed)
    folder.mkdir()
    kills, longest = 0, 0.0
    while not (folder / "result.npz").exists():
        done = Backup(folder / "backup").initial_epoch
        processes = start(folder, data_dir, strategy, count)
        if kills == num_kills:
            assert end(processes) == [0] * count, (folder / "log-0.txt").read_text()[-2000:]
            continue
        # Not in the minute in which libraries are imported, and so that some epochs are left.
        while not any((folder / "backup").glob(f"epoch-{done + 1:06d}")):
            assert all(process.poll() is None for process in processes)
            assert done < EPOCHS
            time.sleep(0.02)
        time.sleep(generator.uniform(0, 0.8))
        victim, *others = generator.sample(processes, count)
        kill(victim)
        began = time.monotonic()
        kills += 1
        for other in others:
            assert other.wait(SECONDS_TO_NOTICE) != 0
        longest = max(longest, time.monotonic() - began)
        # Whatever is there under a name of its own is whole.
        for backup in (folder / "backup").glob("epoch-*"):
            assert Backup(backup.parent).initial_epoch >= 1
    print(f"{kills} kills; the others noticed after {longest:.1f} s at most")
    with np.load(folder / "result.npz") as result:
        return dict(result)


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


@pytest.mark.parametrize(
    ("strategy", "count", "num_kills"),
    [
        ("one_device", 1, 3),
        pytest.param("multi_worker", 2, 3, marks=pytest.mark.slow),
        pytest.param("mirrored", 1, 3, marks=pytest.mark.slow),
        # No more than EPOCHS - 1 kills find an epoch to be in.
        *(pytest.param("one_device", 1, 10, marks=pytest.mark.slow, id=f"one-{i}") for i in (1, 2)),
        *(
            pytest.param("multi_worker", 2, 10, marks=pytest.mark.slow, id=f"two-{i}")
            for i in (1, 2)
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


def test_backup_of_another_model_is_refused(tmp_path):
    from test_replicas import IMAGE_SHAPE, small_vae

    images = np.zeros((8, *IMAGE_SHAPE), np.float32)
    vae = small_vae()
    vae.compile()
    vae.fit(images, verbose=0, callbacks=[Backup(tmp_path)])
    import tfvae

    other = tfvae.VAE(IMAGE_SHAPE, latent_dim=5)
    other.compile()
    with pytest.raises(InputError, match="belongs to another model"):
        other.fit(images, epochs=2, verbose=0, callbacks=[Backup(tmp_path)])


def test_only_the_writer_writes_and_remove_removes(tmp_path):
    from test_replicas import IMAGE_SHAPE, small_vae

    images = np.zeros((8, *IMAGE_SHAPE), np.float32)
    vae = small_vae()
    vae.compile()
    reader = Backup(tmp_path / "backup", writes=False)
    vae.fit(images, verbose=0, callbacks=[reader])
    assert not (tmp_path / "backup").exists()
    assert len(reader.history["loss"]) == 1
    writer = Backup(tmp_path / "backup")
    vae.fit(images, epochs=3, verbose=0, callbacks=[writer])
    assert [path.name for path in (tmp_path / "backup").iterdir()] == ["epoch-000003"]
    writer.remove()
    assert not (tmp_path / "backup").exists()


def test_runs_that_cannot_be_resumed_are_refused(tmp_path):
    with pytest.raises(InputError, match="no run to resume"):
        runs.unfinished_folder(tmp_path)
    (tmp_path / runs.SETTINGS).write_text(TrainingSettings(latent_dim=7).to_json())
    assert runs.unfinished_folder(tmp_path)[1].latent_dim == 7
    (tmp_path / runs.RESULTS).write_text("{}")
    with pytest.raises(InputError, match="has ended: there is nothing to resume"):
        runs.unfinished_folder(tmp_path)


def test_other_settings_are_another_run(tmp_path):
    from tfvae import commands

    (tmp_path / runs.SETTINGS).write_text(TrainingSettings(latent_dim=7).to_json())
    arguments = {"num_importance_samples": 1, "with_tensorboard": False, "json_file": None}
    with pytest.raises(InputError, match=r"another one: dataset is 'digits' .*, latent_dim is 7 t"):
        commands.train(
            TrainingSettings(dataset="mnist", latent_dim=8),
            None,
            resume=tmp_path,
            say=print,
            **arguments,
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == [runs.SETTINGS]


def test_what_a_killed_writer_leaves_is_removed(tmp_path):
    for name in (".model.keras.abc", "backup/.epoch-000002.abc"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "backup" / "epoch-000001").mkdir()
    runs.remove_half_written(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["backup"]
    assert [path.name for path in (tmp_path / "backup").iterdir()] == ["epoch-000001"]
