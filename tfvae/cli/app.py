"""The command itself: how it starts, and what it says when something is wrong."""

import contextlib
import errno
import functools
import importlib.metadata
import inspect
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, get_origin

import pydantic
from cyclopts import (
    App,
    CycloptsError,
    MissingArgumentError,
    Parameter,
    RepeatArgumentError,
    Token,
    UnknownCommandError,
    UnknownOptionError,
    UnusedCliTokensError,
)

from tfvae import __version__
from tfvae.common.checks import suggestion
from tfvae.common.errors import InputError, WorkerLostError
from tfvae.common.validation import NONE, expected, short_repr
from tfvae.training.settings import Strategy

say = functools.partial(print, flush=True)

# What others call an option, where no letters would tell.
_OTHER_NAMES = {
    "--lr": "--learning-rate",
    "--z-dim": "--latent-dim",
    "--kl-weight": "--beta",
    "--model": "--network",
    "--architecture": "--network",
    "--optimizer": "--learning-rate: the optimizer is Adam",
    "--validation-split": "--num-validation-images",
    "--data": "--dataset",
    "--out": "--output",
    "--force": "--overwrite",
}


def _versions() -> str:
    packages = ("tensorflow", "keras", "tensorflow-probability")
    versions = [f"{package} {importlib.metadata.version(package)}" for package in packages]
    return "\n".join([f"tfvae {__version__}", *versions])


def _convert(hint: Any, tokens: Sequence[Token]) -> Any:
    """Reads words as pydantic reads those of the settings: 1.5 and 0x10 are no integers."""
    words = [token.value for token in tokens]
    if words == [NONE] and hint in (int, float):
        return None
    is_list = get_origin(hint) in (list, tuple)
    return pydantic.TypeAdapter(hint).validate_python(words if is_list else words[0])


app = App(
    name="tfvae",
    help="Variational autoencoders for Keras and TensorFlow.",
    version=_versions,
    version_format="plaintext",
    group_parameters="Options",
    # Lists take several values after one option.
    default_parameter=Parameter(converter=_convert, consume_multiple=1),
)


def main() -> int:
    """Runs the command; returns 0 if all was done, 2 if it was given what it cannot use, or 1."""
    try:
        command, bound = _parse(sys.argv[1:])
        return command(*bound.args, **bound.kwargs) or 0
    except InputError as error:
        return _fail(error)
    except WorkerLostError as error:
        return _fail(error, status=1)
    except BrokenPipeError:
        # Whoever reads what is printed has had enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        place = f" {error.filename}" if error.filename else ""
        # Where nothing was wrong with what the user gave.
        is_failure = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO)
        return _fail(
            f"cannot read or write{place}: {error.strerror or error}: make room or permission, or "
            "go elsewhere",
            *_notes(error),
            status=1 if is_failure else 2,
        )
    except KeyboardInterrupt as error:
        return _fail("interrupted", *_notes(error), status=130)
    except Exception as error:
        # TensorFlow's own errors, of a full disk or full memory among them.
        if not any(kind.__name__ == "OpError" for kind in type(error).__mro__):
            raise
        return _fail(f"{type(error).__name__}: {str(error).splitlines()[0]}", status=1)


def _notes(error: BaseException) -> list[str]:
    return getattr(error, "__notes__", [])


def _fail(*messages: object, status: int = 2) -> int:
    print("tfvae:", " ".join("; ".join(map(str, messages)).split()), file=sys.stderr)
    return status


def _parse(words: list[str]) -> tuple[Callable[..., int | None], inspect.BoundArguments]:
    if any("\0" in word for word in words):
        raise InputError("options and names must not contain null characters")
    try:
        return app.parse_args(words, print_error=False, exit_on_error=False)[:2]
    except CycloptsError as error:
        raise InputError(_explain(error)) from error
    except RecursionError as error:
        raise InputError("the options are nested too deeply") from error


def _explain(error: CycloptsError) -> str:
    """What is wrong with the words of the command line, in a line."""
    argument, cause, words = error.argument, error.__cause__, error.unused_tokens or [""]
    if isinstance(error, UnknownCommandError):
        commands = [name for name in app if not name.startswith("-")]
        return f"there is no command {short_repr(words[0])}: {suggestion(words[0], commands)}"
    if isinstance(error, UnknownOptionError) and (word := error.token.keyword) in _OTHER_NAMES:
        return f"Unknown option: {word}. Did you mean {_OTHER_NAMES[word]}?"
    if isinstance(error, UnusedCliTokensError):
        return f"there is no place for {' '.join(map(short_repr, words))}"
    if argument is None or isinstance(error, RepeatArgumentError):
        return f"{error}"
    if argument.children and isinstance(cause, pydantic.ValidationError):
        # Of the settings, it is one that is refused.
        name = cause.errors()[0]["loc"][0]
        argument = next(child for child in argument.children if child.keys[-1] == name)
    must_be = expected(argument.field_info.annotation)
    if isinstance(error, MissingArgumentError):
        return f"{argument.name} needs a value: {argument.parameter.help or must_be}"
    tokens = argument.tokens or filter(None, [getattr(error, "token", None)])
    given = short_repr(" ".join(token.value for token in tokens))
    return f"{argument.name} must be {must_be}; got {given}"


@contextlib.contextmanager
def _quiet_start() -> Iterator[None]:
    """Keeps what TensorFlow's libraries print while they load, and shows it if loading fails."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as chatter:
        os.dup2(chatter.fileno(), 2)
        try:
            yield
        except BaseException:
            chatter.seek(0)
            os.write(terminal, chatter.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)


def load_tensorflow(strategy: Strategy = "auto") -> None:
    """Imports TensorFlow without its chatter, before a command imports what needs it."""
    with _quiet_start():
        import tensorflow as tf

        import tfvae.training.job  # noqa: F401, whose libraries have something to say as well

        # What is said about devices is said when they are first asked for. Several workers must
        # have found each other by then.
        if strategy != "multi_worker":
            tf.config.list_logical_devices()
    for library in ("absl", "tensorflow"):
        logging.getLogger(library).setLevel(logging.ERROR)
    warnings.showwarning = _show_warning


def _show_warning(message, category, filename, lineno, file=None, line=None):
    """Our own warnings are for users; those of the libraries are for us, not for users."""
    if category.__module__.startswith("tfvae."):
        print(f"tfvae: warning: {message}", file=sys.stderr)
