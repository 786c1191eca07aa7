"""What a strategy costs: one replica against none, two processes against one of two threads.

Each measurement is a process of its own, so that threads and devices are its own too; the
configurations take turns. Run with `python tests/benchmarks/scaling.py --json scaling.json`.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CONFIGURATIONS = {
    # Name: strategy, processes, threads of each.
    "one device, 2 threads": ("one_device", 1, 2),
    "mirrored, 1 replica, 2 threads": ("mirrored", 1, 2),
    "2 workers, 1 thread each": ("multi_worker", 2, 1),
}


def measure(strategy_name: str, batch_size: int, steps: int, epochs: int) -> dict:
    """Trains the default networks on fixed images; milliseconds a step, by epoch."""
    import keras
    import tensorflow as tf

    import tfvae
    from tfvae.training import strategies

    strategy = strategies.get(strategy_name)
    keras.utils.set_random_seed(0)
    with strategies.scope(strategy):
        vae = tfvae.VAE()
    vae.compile(steps_per_execution=16)
    images = tf.cast(tf.random.stateless_uniform([batch_size, 28, 28, 1], (0, 0)) < 0.2, tf.float32)
    data = tf.data.Dataset.from_tensor_slices(images).batch(batch_size).cache().repeat(steps)

    class Clock(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            self.milliseconds = []

        def on_epoch_begin(self, epoch, logs=None):
            self.began = time.perf_counter()

        def on_epoch_end(self, epoch, logs=None):
            seconds = time.perf_counter() - self.began
            self.milliseconds.append(1000 * seconds / steps)

    clock = Clock()
    vae.fit(data, epochs=epochs + 1, steps_per_epoch=None, verbose=0, callbacks=[clock])
    strategies.wait_for_all(strategy)
    # The first epoch compiles.
    return {
        "milliseconds": clock.milliseconds[1:],
        "gradient_bytes": 4 * vae.count_params(),
        "is_chief": strategies.is_chief(strategy),
    }


def run_once(name: str, arguments: argparse.Namespace) -> dict:
    """Runs one configuration in processes of its own."""
    from tfvae.training.local_processes import run_workers

    strategy, count, threads = CONFIGURATIONS[name]
    environment = {"TF_NUM_INTRAOP_THREADS": threads, "OMP_NUM_THREADS": threads}
    os.environ.update({key: str(value) for key, value in environment.items()})
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--measure", strategy, "--json", f"{folder}/result"]
        command += ["--batch-size", str(arguments.batch_size), "--steps", str(arguments.steps)]
        command += ["--epochs", str(arguments.epochs)]
        if count == 1:
            subprocess.run(command, check=True)
        elif run_workers(command, count):
            raise SystemExit(f"{name} failed")
        return json.loads(Path(f"{folder}/result").read_text())


def main() -> None:
    """Measures in turns, prints a table and writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch-size", type=int, default=512, help="of all replicas together")
    parser.add_argument("--steps", type=int, default=48, help="an epoch")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        result = measure(arguments.measure, arguments.batch_size, arguments.steps, arguments.epochs)
        if result["is_chief"]:
            arguments.json.write_text(json.dumps(result))
        return
    times = {name: [] for name in CONFIGURATIONS}
    for _ in range(arguments.repeats):
        for name in CONFIGURATIONS:
            result = run_once(name, arguments)
            times[name].append(statistics.median(result["milliseconds"]))
    medians = {name: statistics.median(values) for name, values in times.items()}
    one = medians["one device, 2 threads"]
    print(f"global batch {arguments.batch_size}, gradient {result['gradient_bytes'] / 1e6:.2f} MB")
    for name, median in medians.items():
        print(
            f"{name:32} {median:7.1f} ms a step (of {len(times[name])}: {min(times[name]):.1f} to "
            f"{max(times[name]):.1f}), {one / median:.2f} of the images per second"
        )
    if arguments.json:
        numbers = {"milliseconds": times, "gradient_bytes": result["gradient_bytes"]}
        arguments.json.write_text(json.dumps(numbers | vars(arguments) | {"json": None}, indent=2))


if __name__ == "__main__":
    main()
