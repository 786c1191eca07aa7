"""The scripts of .ci, run on commands that do nothing but say that they were called."""

import os
import subprocess
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[1] / ".ci"
COMMANDS = ("python", "pip", "ruff", "mypy", "lint-imports", "tfvae", "apt-get", "pytest")

# Fails as the call number $FAILS_AT; makes a virtual environment of itself.
COMMAND = """#!/bin/bash
echo "$(basename "$0") $*" >> "$CALLS"
[ "$(wc -l < "$CALLS")" != "$FAILS_AT" ] || exit 3
if [ "$1 $2" = "-m venv" ]; then
    mkdir -p "$3/bin"
    for name in COMMANDS; do cp "$0" "$3/bin/$name"; done
fi
"""


def run(script, folder, fails_at=0):
    """The exit status of a script, and what it has called."""
    (folder / "bin").mkdir()
    command = folder / "bin" / "python3"
    command.write_text(COMMAND.replace("COMMANDS", " ".join(COMMANDS)))
    command.chmod(0o755)
    calls = folder / "calls"
    variables = {"CALLS": str(calls), "FAILS_AT": str(fails_at), "TMPDIR": str(folder)}
    path = f"{folder / 'bin'}:{os.environ['PATH']}"
    ended = subprocess.run(
        [SCRIPTS / script], env=os.environ | variables | {"PATH": path}, timeout=60
    )
    return ended.returncode, calls.read_text().splitlines()


@pytest.mark.parametrize("script", ["run", "slow"])
def test_a_command_that_fails_ends_the_script(script, tmp_path):
    (tmp_path / "all").mkdir()
    status, calls = run(script, tmp_path / "all")
    assert status == 0
    for number, call in enumerate(calls, start=1):
        (tmp_path / str(number)).mkdir()
        status, until_then = run(script, tmp_path / str(number), fails_at=number)
        if call.startswith("apt-get"):
            assert (status, until_then[-1]) == (0, calls[-1]), call
        else:
            assert (status, len(until_then)) == (3, number), call


def test_everything_is_checked(tmp_path):
    _, calls = run("run", tmp_path)
    called = [call.split()[0] for call in calls]
    assert called == [
        *("python3", "pip", "ruff", "ruff", "mypy", "lint-imports", "tfvae", "python"),
        *("pip", "pip", "apt-get", "apt-get", "pytest"),
    ]
