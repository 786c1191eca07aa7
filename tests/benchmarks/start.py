"""Seconds until the first step of `tfvae train`, beside what importing TensorFlow alone takes.

    pip install .
    python tests/benchmarks/start.py --json start.json

Each is a process of its own, in turns, so that other work on the machine hits all. The moments of
`tfvae train` are those of its lines: it names the data when they are loaded, the network when it is
built, and tells of the training when its one epoch on the digits is over, a single execution of
twelve steps and the validation.
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

IMPORTS = {
    "python alone": "pass",
    "import tfvae": "import tfvae",
    "import tfvae.VAE": "from tfvae import VAE",
    "import tensorflow": "import tensorflow",
    "import tensorflow, tensorflow_probability": (
        "import tensorflow, tensorflow_probability; tensorflow_probability.distributions"
    ),
}
MOMENTS = {
    "digits": "tfvae train: data loaded",
    "mlp": "tfvae train: networks built",
    "Trained": "tfvae train: one epoch trained and validated",
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", help="where to write the figures")
    settings = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    seconds = {}
    for turn in range(settings.repeats + 1):
        for name, code in IMPORTS.items():
            started = time.perf_counter()
            run = subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
            if run.returncode:
                sys.exit(f"{name} failed:\n{run.stderr}")
            keep(seconds, turn, name, time.perf_counter() - started)
        for name, value in train():
            keep(seconds, turn, name, value)
    print(f"{'seconds':46}{'median':>8}{'lowest':>8}{'highest':>8}")
    for name, values in seconds.items():
        figures = (statistics.median(values), min(values), max(values))
        print(f"{name:46}" + "".join(f"{value:8.2f}" for value in figures))
    if settings.json:
        from tfvae.common.files import atomic_write

        with atomic_write(settings.json) as path:
            path.write_text(json.dumps(seconds, indent=1) + "\n")


def keep(seconds, turn, name, value):
    if turn:  # In the first, files come from the disk.
        seconds.setdefault(name, []).append(value)


def train():
    """Runs the command, and gives the moments of its lines."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-u", "-m", "tfvae.cli", "train", "--epochs", "1"]
        command += ["--num-importance-samples", "1", "--output", Path(folder, "run")]
        started, seen = time.perf_counter(), set()
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            for line in process.stdout:
                name = MOMENTS.get(line.split("/")[0].split(" ")[0])
                if name is not None:
                    seen.add(name)
                    yield name, time.perf_counter() - started
        yield "tfvae train: evaluated, drawn and exported", time.perf_counter() - started
        if process.returncode:
            sys.exit(f"tfvae train ended with {process.returncode}")
        if missing := set(MOMENTS.values()) - seen:
            sys.exit(f"no line of tfvae train told of: {', '.join(missing)}")


if __name__ == "__main__":
    main()
