"""How fast the input pipeline alone gives batches, against how fast training can take them.

Run by hand: `python tests/benchmarks/datasets.py [--json FILE]`.
"""

import argparse
import importlib.util
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

BATCH_SIZE = 128


def pipeline_rate(batches, num_batches: int) -> float:
    """Batches per second of the pipeline alone, after the first."""
    iterator = iter(batches.repeat())
    next(iterator)
    start = time.perf_counter()
    for _ in range(num_batches):
        next(iterator)
    return num_batches / (time.perf_counter() - start)


class TrainingRate:
    """Batches per second that the default model's training step takes of one batch in memory."""

    def __init__(self, batches):
        import tensorflow as tf

        import tfvae

        self.batch = tf.data.Dataset.from_tensors(next(iter(batches))).cache()
        self.model = tfvae.VAE(image_shape=batches.element_spec.shape[1:])
        self.model.compile()
        self.measure(20)

    def measure(self, num_batches: int) -> float:
        start = time.perf_counter()
        self.model.fit(self.batch.repeat(num_batches), verbose=0)
        return num_batches / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--batches", type=int, default=400)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from tfvae.common.errors import InputError
    from tfvae.datasets import load_dataset

    has_model = importlib.util.find_spec("tfvae.vae") is not None
    shared = Path(__file__).parents[3] / "shared" / "data" / "tfds"
    own = tempfile.TemporaryDirectory()  # the digits are not to be left in a shared folder
    data_dirs = {
        "digits": own.name,
        "mnist": os.environ.get("TFDS_DATA_DIR") or (shared if shared.is_dir() else None),
    }
    rows = []
    for name, data_dir in data_dirs.items():
        for binarization in ("dynamic", "fixed"):
            start = time.perf_counter()
            try:
                batches = load_dataset(
                    name, batch_size=BATCH_SIZE, binarization=binarization, seed=0,
                    drop_remainder=True, data_dir=data_dir,
                )  # fmt: skip
            except InputError as error:
                print(f"left out: {error}", file=sys.stderr)
                break
            load_seconds = time.perf_counter() - start
            training = TrainingRate(batches) if has_model else None
            pipeline, steps = [], []
            for _ in range(arguments.repeats):  # in turns, so that both see the same machine
                pipeline.append(pipeline_rate(batches, arguments.batches))
                if training:
                    steps.append(training.measure(arguments.batches // 4))
            row = {
                "dataset": name,
                "binarization": binarization,
                "load_seconds": load_seconds,
                "pipeline_batches_per_second": statistics.median(pipeline),
                "training_batches_per_second": statistics.median(steps) if steps else None,
            }
            row["ratio"] = (
                row["pipeline_batches_per_second"] / row["training_batches_per_second"]
                if steps
                else None
            )
            rows.append(row)

    titles = ("data set", "binarization", "load s", "pipeline/s", "training/s", "ratio")
    print(("{:>12}  " * len(titles)).format(*titles))
    for row in rows:
        cells = [f"{cell:.1f}" if isinstance(cell, float) else cell or "-" for cell in row.values()]
        print(("{:>12}  " * len(titles)).format(*cells))
    if arguments.json:
        settings = {
            "batch_size": BATCH_SIZE,
            "batches": arguments.batches,
            "repeats": arguments.repeats,
            "cpu_cores": os.cpu_count(),
        }
        arguments.json.write_text(json.dumps({"settings": settings, "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
