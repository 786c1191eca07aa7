"""One worker of several: trains on fixed images, and writes what it has."""

import zlib
from pathlib import Path

import keras
import numpy as np
from model_checks import binary_images
from small_models import IMAGE_SHAPE, trained

import tfvae
from tfvae.training import strategies


def compile_arguments():
    """With an optimizer that clips nearly all gradients."""
    optimizer = keras.optimizers.Adam(1e-2, epsilon=1e-2, global_clipnorm=1.0)
    return {"optimizer": optimizer, "steps_per_execution": 3}


def main(folder, data_dir):
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
