"""Checks what `tfvae train` has left in the folder of a run on the digits."""

import json
import math
import sys
from pathlib import Path

FIGURES = ("samples", "reconstructions", "latent_traversals", "kl_per_dimension", "training_curves")

folder = Path(sys.argv[1])
results = json.loads((folder / "results.json").read_text())
numbers = {name: value for name, value in results.items() if isinstance(value, float)}
assert all(math.isfinite(value) for value in numbers.values()), numbers
# It gives -133.7 nats per image; another seed or processor changes that by less than 1.
assert -136 < results["elbo"] < -131, results
assert results["elbo"] < results["log_likelihood"] < results["elbo"] + 4, results

files = [folder / "model.keras", folder / "history.csv", folder / "settings.json"]
files += [folder / f"{name}.png" for name in FIGURES]
files += [folder / "saved_model" / "1" / "saved_model.pb"]
for file in files:
    assert file.stat().st_size > 100, f"{file} is empty"
print(f"{folder}: ELBO {results['elbo']:.2f} nats per image, and all {len(files)} files are there")
