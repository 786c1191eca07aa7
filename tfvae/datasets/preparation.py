"""From a data set's name to a TFDS builder whose records lie on disk."""

import contextlib
import difflib
import io
import os
import re
import sys
import urllib.error
import urllib.request
from pathlib import Path

import tensorflow_datasets as tfds

from tfvae.common.errors import InputError
from tfvae.common.files import atomic_write
from tfvae.datasets.digits import Digits

HOW_TO_LIST = 'python -c "import tensorflow_datasets as tfds; print(*tfds.list_builders())"'
CONNECT_SECONDS = 10


def open_builder(name: str, data_dir: str | os.PathLike | None = None) -> tfds.core.DatasetBuilder:
    """Finds the TFDS builder of a name; reads and writes nothing but the builder's metadata.

    Args:
        name: `digits` or a name of TFDS: `mnist`, `emnist/letters`, `mnist:3.0.1`.
        data_dir: The TFDS data directory; `None` for TFDS's own, which is `TFDS_DATA_DIR` or
            `~/tensorflow_datasets`.

    Returns:
        The builder. Its records need not be on disk yet.

    Raises:
        InputError: If there is no such data set.
    """
    if not re.fullmatch(r"\w+(/[\w.-]+)?(:[\d.]+)?", str(name)):
        raise InputError(
            f"data set names look like mnist, emnist/letters or mnist:3.0.1; got {name!r}"
        )
    # TFDS reads the variable once, when it is imported; whoever sets it later means it too.
    data_dir = data_dir or os.environ.get("TFDS_DATA_DIR")
    data_dir = Path(data_dir).expanduser() if data_dir else None
    try:
        return tfds.builder(name, data_dir=data_dir)
    except tfds.core.DatasetNotFoundError as error:
        raise InputError(_unknown_name_message(name)) from error
    except Exception as error:  # TFDS raises whatever it meets, from AssertionError to ImportError
        raise InputError(_failed_message(name, "opened", error)) from error


def _unknown_name_message(name: str) -> str:
    names = tfds.list_builders(with_community_datasets=False)
    near = difflib.get_close_matches(re.split("[/:]", name)[0].lower(), names)
    suggestion = f": did you mean {' or '.join(near)}?" if near else "."
    return f"no data set is named {name!r}{suggestion} List the names with {HOW_TO_LIST}"


def _failed_message(name: str, verb: str, error: Exception) -> str:
    # TFDS puts its own context first and the cause last, in several lines.
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if isinstance(error, ValueError) and "BuilderConfig" in str(error):
        configs = tfds.builder_cls(name.split("/")[0]).builder_configs
        return f"the data set {name!r} has no such configuration; it has {', '.join(configs)}"
    cause = lines[-1] if lines else type(error).__name__
    return f"the data set {name!r} could not be {verb}: {cause}"


def prepare(builder: tfds.core.DatasetBuilder) -> None:
    """Sees to it that a data set's records are on disk, downloading them where they are not.

    Nothing is printed to stdout; the progress of a download goes to stderr.

    Args:
        builder: The builder, as from `open_builder`.

    Raises:
        InputError: If the records are not there and cannot be made.
    """
    if builder.is_prepared():
        return
    if isinstance(builder, Digits):
        _prepare_digits(builder)
    else:
        _download_and_prepare(builder)


def _prepare_digits(builder: Digits) -> None:
    """Prepares the digits so that any number of processes may do so at once.

    TFDS names its temporary folder with Python's `random`: processes that were given the same
    seed would write into the same one.
    """
    silence = io.StringIO()
    try:
        with atomic_write(builder.data_path) as place:
            beside = Digits(data_dir=place.parent / "prepared")
            with contextlib.redirect_stdout(silence), contextlib.redirect_stderr(silence):
                beside.download_and_prepare()
            Path(beside.data_path).rename(place)
    except OSError as error:
        if not _prepared_by_another(builder):
            raise InputError(
                f"the data set 'digits' is prepared once in {builder.data_dir}, and that folder "
                f"cannot be written ({error.strerror or error}): name a data directory that can, "
                "as data_dir, --data-dir or TFDS_DATA_DIR"
            ) from error
    builder.info.read_from_directory(builder.data_path)


def _prepared_by_another(builder: tfds.core.DatasetBuilder) -> bool:
    return Path(builder.data_path).is_dir()


def _download_and_prepare(builder: tfds.core.DatasetBuilder) -> None:
    name = builder.info.full_name
    fetch = f"import tensorflow_datasets as tfds; tfds.load('{name.rpartition('/')[0]}')"
    advice = (
        f"It is not in {_data_root(builder)}. Where there is a network, "
        f'`python -c "{fetch}"` fetches it; where it lies elsewhere, name that TFDS data directory '
        "as data_dir, --data-dir or TFDS_DATA_DIR"
    )
    _check_network(builder, advice)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            builder.download_and_prepare(
                download_config=tfds.download.DownloadConfig(try_download_gcs=False)
            )
    except Exception as error:  # TFDS raises whatever it meets, from AssertionError to OSError
        if not _prepared_by_another(builder):
            raise InputError(f"{_failed_message(name, 'prepared', error)}. {advice}") from error
        builder.info.read_from_directory(builder.data_path)


def _data_root(builder: tfds.core.DatasetBuilder) -> Path:
    return Path(str(builder.data_path).removesuffix(builder.info.full_name))


def _check_network(builder: tfds.core.DatasetBuilder, advice: str) -> None:
    """Asks for the first of the data set's files: TFDS itself would retry for minutes."""
    downloaded = (_data_root(builder) / "downloads" / builder.name).rglob("*.INFO")
    urls = [url for url in builder.url_infos or () if url.startswith("http")]
    if not urls or any(downloaded):
        return
    try:
        request = urllib.request.Request(urls[0], method="HEAD")
        urllib.request.urlopen(request, timeout=CONNECT_SECONDS).close()
    except urllib.error.HTTPError:
        return  # a server answered: what it thinks of HEAD does not matter here
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise InputError(
            f"the data set {builder.info.full_name!r} could not be downloaded: {reason}. {advice}"
        ) from error
