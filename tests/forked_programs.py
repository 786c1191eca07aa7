"""What tests run in processes of their own, see `forked_processes`."""

import os
import signal
import sys
import time
import zlib
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from small_models import IMAGE_SHAPE, binary_images, small_vae, trained

import tfvae
from tfvae import cli
from tfvae.common.files import atomic_write
from tfvae.fitting.callbacks import BestWeights, KLWarmup
from tfvae.training import strategies
from tfvae.training.backups import Backup

EPOCHS = 8


def run_command(*arguments):
    """Runs the `tfvae` command with these arguments."""
    sys.argv = ["tfvae", *arguments]
    sys.exit(cli.main())


def run_command_on_two_cpus(*arguments):
    """The same on a machine whose processor is two devices of TensorFlow."""
    (processor,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(
        processor, 2 * [tf.config.LogicalDeviceConfiguration()]
    )
    run_command(*arguments)


def run_command_killed_after(num_epochs, *arguments):
    """The same, killed as soon as there is a backup of so many epochs."""
    back_up = Backup.on_epoch_end

    def back_up_and_die(self, epoch, logs=None):
        back_up(self, epoch, logs)
        if epoch + 1 == int(num_epochs):
            os.kill(os.getpid(), signal.SIGKILL)

    Backup.on_epoch_end = back_up_and_die
    run_command(*arguments)


def compile_arguments():
    """With an optimizer that clips nearly all gradients."""
    optimizer = keras.optimizers.Adam(1e-2, epsilon=1e-2, global_clipnorm=1.0)
    return {"optimizer": optimizer, "steps_per_execution": 3}


def train_as_worker(folder, data_dir):
    """One worker of several: trains on fixed images, and writes what it has."""
    strategy = strategies.get("multi_worker", seconds_to_wait=60)
    images = binary_images(33, IMAGE_SHAPE)
    vae, history = trained(strategy, images, **compile_arguments())
    results = {f"log_{name}": values for name, values in history.items()}
    results |= {f"weight_{number:03d}": weight for number, weight in enumerate(vae.get_weights())}
    results["predicted"] = vae.predict(images, batch_size=8, verbose=0)
    # An even number of batches and one left over, of which the last is smaller.
    data = tfvae.load_dataset(
        "digits", "validation", batch_size=40, seed=1, shuffle=True, data_dir=data_dir
    )
    results["first_epoch"], results["second_epoch"] = (fingerprints(strategy, data) for _ in "ab")
    np.savez(Path(folder) / f"{strategy.cluster_resolver.task_id}.npz", **results)
    strategies.wait_for_all(strategy)


def fingerprints(strategy, data):
    """A number for each image that this worker is given in an epoch."""
    return [
        zlib.crc32(image.tobytes())
        for batch in strategy.experimental_distribute_dataset(data)
        for part in strategy.experimental_local_results(batch)
        for image in part.numpy()
    ]


def train_with_backups(folder, data_dir, strategy_name):
    """A training that may be killed at any moment, and started again to go on.

    The backups lie in its folder; the result, when all epochs are done, is `result.npz`. It says
    that an epoch has begun with a file `began-NUMBER`, and does not end one while there is a file
    `hold`.
    """
    strategy = strategies.get(strategy_name, seconds_to_wait=60)
    is_chief = strategies.is_chief(strategy)
    best_weights = BestWeights(patience=EPOCHS, start_from_epoch=2)
    backup = Backup(Path(folder) / "backup", best_weights, writes=is_chief)
    train, validation = (
        tfvae.load_dataset(
            "digits",
            split,
            batch_size=50,
            seed=1,
            shuffle=split == "validation",
            initial_epoch=backup.initial_epoch if split == "validation" else 0,
            binarization="dynamic" if split == "validation" else "fixed",
            data_dir=data_dir,
        ).map(lambda images: images[:, 11:17, 11:16])
        # The smaller ones, for speed.
        for split in ("validation", "test")
    )
    vae = small_vae(strategy, noise=True)
    # What is not restored must not be right by chance.
    keras.utils.set_random_seed(time.time_ns() % 2**31)
    schedule = keras.optimizers.schedules.CosineDecay(1e-2, decay_steps=4 * EPOCHS)
    optimizer = keras.optimizers.Adam(schedule, use_ema=True, ema_momentum=0.9)
    vae.compile(optimizer, steps_per_execution=2)

    def pause(epoch, logs):
        time.sleep(0.2)
        while (Path(folder) / "hold").exists():
            time.sleep(0.02)

    moments = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: (Path(folder) / f"began-{epoch}").touch(),
        on_epoch_end=pause,
    )
    vae.fit(
        train,
        validation_data=validation,
        epochs=EPOCHS,
        initial_epoch=backup.initial_epoch,
        callbacks=[KLWarmup(5, end=1.0), moments, best_weights, backup],
        verbose=0,
    )
    if is_chief:
        with atomic_write(Path(folder) / "result.npz") as path:
            weights = {f"weight_{i:03d}": weight for i, weight in enumerate(vae.get_weights())}
            step = vae.optimizer.iterations.numpy()
            best = {"best_epoch": best_weights.best_epoch, "wait": best_weights.wait}
            np.savez(path, step=step, **backup.history, **best, **weights)
    strategies.wait_for_all(strategy)
