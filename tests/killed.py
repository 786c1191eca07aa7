"""A training that may be killed at any moment, and started again to go on.

The backups lie in its folder; the result, when all epochs are done, is `result.npz`. It says that
an epoch has begun with a file `began-NUMBER`, and does not end one while there is a file `hold`.
"""

import time
from pathlib import Path

import keras
import numpy as np
from small_models import small_vae

import tfvae
from tfvae.common.files import atomic_write
from tfvae.fitting.callbacks import BestWeights, KLWarmup
from tfvae.training import strategies
from tfvae.training.backups import Backup

EPOCHS = 8


def main(folder, data_dir, strategy_name):
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
