"""The `tfvae` command in this process, which has TensorFlow loaded already."""

import contextlib
import io
import sys
import warnings
from typing import NamedTuple

import pytest

from tfvae import cli


class Done(NamedTuple):
    status: int
    stdout: str
    stderr: str


def tfvae(*arguments):
    """What the command with these arguments gives."""
    words = [str(argument) for argument in arguments]
    stdout, stderr = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        warnings.catch_warnings(),
        contextlib.redirect_stdout(stdout),
        contextlib.redirect_stderr(stderr),
    ):
        patch.setattr(sys, "argv", ["tfvae", *words])
        status = cli.main()
    return Done(status, stdout.getvalue(), stderr.getvalue())


def assert_refused(done, message, status=2):
    """Checks that a command has ended with one line that says what is wrong."""
    assert done.status == status, done
    assert done.stderr.startswith("tfvae: "), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert len(done.stderr) < 1500, done.stderr
    assert message in done.stderr, done.stderr
