"""Each benchmark starts, and ends with numbers when it is asked for little."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent
SMALL = {
    "datasets.py": "--repeats 1 --batches 8",
    "likelihood.py": "--repeats 1 --images 2 --peer-images 1 --epochs 1 --test-images 8",
    "scaling.py": "--repeats 1 --epochs 2 --steps 2 --batch-size 16",
    "serving.py": "--repeats 2",
    "start.py": "--repeats 1",
    "training.py": "--only mlp128 --rounds 1 --images 256 --contestants fit(array)",
}


def run(name, *arguments, **variables):
    command = [sys.executable, BENCHMARKS / name, *arguments]
    environment = os.environ | variables
    return subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("name", SMALL)
def test_it_says_how_it_is_used(name):
    assert name in run(name, "--help").stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_it_ends_with_numbers(name, shared_data_dir, tmp_path):
    if name == "likelihood.py":
        pytest.importorskip("pythae")
    file = tmp_path / "figures.json"
    run(name, *SMALL[name].split(), "--json", file, TFDS_DATA_DIR=str(shared_data_dir))
    numbers = list(floats(json.loads(file.read_text())))
    assert len(numbers) >= 3
    assert all(math.isfinite(number) for number in numbers)


def floats(value):
    """All floats in what JSON holds."""
    if isinstance(value, float):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from floats(item)


def test_there_is_one_for_each():
    scripts = {file.name for file in BENCHMARKS.glob("*.py")} - {Path(__file__).name}
    assert scripts == set(SMALL)
