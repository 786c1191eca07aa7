"""The command itself: how it starts, and what it says when something is wrong."""

import contextlib
import functools
import importlib.metadata
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, get_origin

import pydantic
from cyclopts import (
    App,
    CoercionError,
    CycloptsError,
    MissingArgumentError,
    Parameter,
    Token,
    UnknownCommandError,
    UnusedCliTokensError,
    ValidationError,
)

from tfvae import __version__
from tfvae.common.checks import suggestion
from tfvae.common.errors import InputError, WorkerLostError
from tfvae.common.validation import NONE, expected, short_repr
from tfvae.training.settings import Strategy

say = functools.partial(print, flush=True)


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
    # Lists take several values after one option, and have no option that empties them.
    default_parameter=Parameter(converter=_convert, consume_multiple=1, negative_iterable=()),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        arguments: The words after `tfvae`; those of the command line if None.

    Returns:
        The exit status: 0 if all was done, 2 if what was given cannot be used, 1 otherwise.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if any("\0" in word for word in words):
            raise InputError("options and names must not contain null characters")
        command, bound, _ = app.parse_args(words, print_error=False, exit_on_error=False)
    except CycloptsError as error:
        return _fail(_explain(error))
    except InputError as error:
        return _fail(error)
    except RecursionError:
        return _fail("the options are nested too deeply")
    try:
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
        reason = error.strerror or error
        return _fail(
            f"cannot read or write{place}: {reason}: make room or permission, or go elsewhere"
        )
    except KeyboardInterrupt:
        return _fail("interrupted", status=130)


def _fail(message: object, status: int = 2) -> int:
    print("tfvae:", " ".join(str(message).split()), file=sys.stderr)
    return status


def _explain(error: CycloptsError) -> str:
    """What is wrong with the words of the command line, in a line."""
    argument, cause = error.argument, error.__cause__
    if isinstance(error, UnknownCommandError):
        commands = [name for name in app if not name.startswith("-")]
        word = (error.unused_tokens or [""])[0]
        return f"there is no command {short_repr(word)}: {suggestion(word, commands)}"
    if isinstance(error, UnusedCliTokensError):
        return f"there is no place for {' '.join(map(short_repr, error.unused_tokens or ()))}"
    if argument is not None and argument.children and isinstance(cause, pydantic.ValidationError):
        # Of the settings, it is one that is refused.
        name = cause.errors()[0]["loc"][0]
        argument = next(child for child in argument.children if child.keys[-1] == name)
    if argument is not None and isinstance(error, MissingArgumentError):
        must_be = expected(argument.field_info.annotation)
        if error.keyword is None:
            return f"{argument.name} is missing: {argument.parameter.help or must_be}"
        return f"{argument.name} needs a value: {must_be}"
    if argument is not None and isinstance(error, CoercionError | ValidationError):
        tokens = argument.tokens or filter(None, [getattr(error, "token", None)])
        given = " ".join(token.value for token in tokens)
        must_be = expected(argument.field_info.annotation)
        return f"{argument.name} must be {must_be}; got {short_repr(given)}"
    return f"{error}"


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
