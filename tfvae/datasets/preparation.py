"""From a data set's name to a TFDS builder whose records lie on disk."""

import contextlib
import os
import re
import sys
import urllib.error
import urllib.request
from pathlib import Path

import tensorflow_datasets as tfds

from tfvae.common.checks import suggestion
from tfvae.common.errors import InputError
from tfvae.datasets import digits, photo_patches  # noqa: F401, which TFDS knows once they are imported


def open_builder(name: str, data_dir: str | os.PathLike | None = None) -> tfds.core.DatasetBuilder:
    """Finds the TFDS builder of a name, and reads no more than its metadata."""
    if not re.fullmatch(r"\w+(/[\w.-]+)?(:[\d.]+)?", str(name)):
        raise InputError(
            f"data set names look like mnist, emnist/letters or mnist:3.0.1; got {name!r}"
        )
    # TFDS reads the variable once, when it is imported; whoever sets it later means it, too.
    data_dir = data_dir or os.environ.get("TFDS_DATA_DIR")
    try:
        return tfds.builder(name, data_dir=Path(data_dir).expanduser() if data_dir else None)
    except tfds.core.DatasetNotFoundError as error:
        names = tfds.list_builders(with_community_datasets=False)
        list_all = 'python -c "import tensorflow_datasets as tfds; print(*tfds.list_builders())"'
        near = suggestion(re.split("[/:]", name)[0].lower(), names, f"list all with {list_all}")
        raise InputError(f"no data set is named {name!r}: {near}") from error
    except Exception as error:  # TFDS raises whatever it meets, from AssertionError to ImportError
        dataset, _, config = name.partition("/")
        if config and "BuilderConfig" in str(error):
            near = suggestion(config, list(tfds.builder_cls(dataset).builder_configs))
            raise InputError(f"the data set {dataset!r} has no {config!r}: {near}") from error
        raise InputError(f"the data set {name!r} could not be opened: {_cause(error)}") from error


def prepare(builder: tfds.core.DatasetBuilder) -> None:
    """Sees to it that a data set's records are on disk, downloading them where they are not.

    Nothing is printed to stdout; the progress of a download goes to stderr.
    """
    if builder.is_prepared():
        return
    try:
        _download_and_prepare(builder)
    except InputError:
        if not Path(builder.data_path).is_dir():  # or else another process has prepared it
            raise
    builder.info.read_from_directory(builder.data_path)


def _download_and_prepare(builder: tfds.core.DatasetBuilder) -> None:
    name = builder.info.full_name
    root = Path(str(builder.data_path).removesuffix(name))
    fetch = f"import tensorflow_datasets as tfds; tfds.load('{name.rpartition('/')[0]}')"
    advice = (
        f'It is not in {root}. Where there is a network, `python -c "{fetch}"` fetches it; where '
        "it lies elsewhere, name that TFDS data directory as data_dir, --data-dir or TFDS_DATA_DIR"
    )
    if not any((root / "downloads" / builder.name).rglob("*.INFO")):
        _check_network(builder, advice)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            config = tfds.download.DownloadConfig(try_download_gcs=False)
            builder.download_and_prepare(download_config=config)
    except Exception as error:  # TFDS raises whatever it meets, from AssertionError to OSError
        raise InputError(
            f"the data set {name!r} could not be prepared: {_cause(error)}. {advice}"
        ) from error


def _check_network(builder: tfds.core.DatasetBuilder, advice: str) -> None:
    """Asks for the first of the data set's files: TFDS itself would retry for minutes."""
    for url in [url for url in builder.url_infos or () if url.startswith("http")][:1]:
        try:
            request = urllib.request.Request(url, method="HEAD")
            urllib.request.urlopen(request, timeout=10).close()
        except urllib.error.HTTPError:
            pass  # a server answered: what it thinks of HEAD does not matter here
        except OSError as error:
            name, reason = builder.info.full_name, getattr(error, "reason", error)
            raise InputError(
                f"the data set {name!r} could not be downloaded: {reason}. {advice}"
            ) from error


def _cause(error: Exception) -> str:
    # TFDS puts its own context first and the cause last, in several lines.
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
