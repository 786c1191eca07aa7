import subprocess
import sys

import pytest

PROGRAM = """
import {first}
import {second}
vae = keras.models.load_model({path!r})
assert type(vae) is tfvae.VAE, vae
"""


@pytest.mark.parametrize("first", ["keras", pytest.param("tfvae", marks=pytest.mark.slow)])
def test_keras_loads_a_model_in_a_new_process_after_a_plain_import(first, tiny_run):
    program = PROGRAM.format(
        first=first,
        second={"keras": "tfvae", "tfvae": "keras"}[first],
        path=str(tiny_run.folder / "model.keras"),
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr


def test_importing_the_package_imports_neither_keras_nor_tensorflow():
    program = "import sys, tfvae; print({'keras', 'tensorflow'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "set()\n", done
