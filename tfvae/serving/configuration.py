"""What TensorFlow Serving needs beside the models: its configuration, and how to use it."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from google.protobuf import text_format

from tfvae.common.checks import check_integer
from tfvae.common.errors import InputError
from tfvae.common.files import SHIPPED_MODELS, write_text
from tfvae.serving import messages
from tfvae.serving.versions import versions

_MODELS = "models.config"
_SAME_FOR_ALL = ("README.md", "batching.config", "compose.yaml", "monitoring.config")


class ServerConfiguration(NamedTuple):
    """What `write_server_configuration` has written.

    Attributes:
        files: The files that were written.
        waiting: By model, the labels that stay where they are until the server has loaded the
            versions to which they are to move; then the same call moves them.
    """

    files: list[Path]
    waiting: dict[str, dict[str, int]]


def write_server_configuration(
    folder: str | os.PathLike, *, labels: Mapping[str, Mapping[str, int]] | None = None
) -> ServerConfiguration:
    """Writes the server's configuration into the folder of all models.

    `models.config` names every model in the folder that has a version. What it says of the versions
    of a model stays as it is where no labels are given. `README.md`, `batching.config`,
    `compose.yaml` and `monitoring.config`, the same for all, are written where they are missing.

    The server moves a label only to a version that it has loaded. So a version stays loaded when a
    label leaves it, ready for the label to come back; and where a label is to move to a version
    that was not loaded until now, this call has that version loaded, and the next one moves the
    label.

    Args:
        folder: `saved_models`, with a folder for each model.
        labels: Labels of versions by model, such as `{"digits": {"stable": 1, "canary": 2}}`, in
            place of those that the model has. Without any, the server takes its newest version.

    Raises:
        InputError: If there is no model in the folder, a label names a model or version that is not
            there, or `models.config` has something else in it.
        OSError: If the folder cannot be written to.

    Example:
        >>> write_server_configuration("saved_models", labels={"digits": {"stable": 2}})
    """
    folder = Path(folder)
    models = _models(folder)
    former = _read(folder / _MODELS)
    config, waiting = messages.ModelServerConfig(), {}
    for name in {**models, **(labels or {})}:
        if name not in models:
            raise InputError(f"there is no model {name!r} in {folder}; got labels for it")
        model = config.model_config_list.config.add()
        if name in former:
            model.CopyFrom(former[name])
        else:
            model.name, model.base_path = name, f"/models/{name}"
            model.model_platform = "tensorflow"
        if labels and name in labels:
            _check_labels(name, labels[name], models[name])
            if late := _set_labels(model, dict(labels[name]), models[name]):
                waiting[name] = late
    contents = {_MODELS: text_format.MessageToString(config)}
    for name in _SAME_FOR_ALL:
        if not (folder / name).exists():
            contents[name] = (SHIPPED_MODELS / name).read_text("utf-8")
    for name, text in contents.items():
        write_text(folder / name, text)
    return ServerConfiguration([folder / name for name in contents], waiting)


def _models(folder):
    """The numbers of the versions of each model, by its name."""
    models = {
        path.name: list(versions(path))
        for path in sorted(folder.iterdir() if folder.is_dir() else [])
        if path.is_dir() and not path.name.startswith(".") and versions(path)
    }
    if not models:
        raise InputError(
            f"there is no exported model in {folder}: export one with "
            f"`tfvae export MODEL.keras {folder}/<model>` first"
        )
    for name in models:
        if not name.isprintable():
            raise InputError(f"the server cannot be told of a model named {name!a}: rename it")
    return models


def _read(file):
    """What the file says of each model, by its name."""
    config = messages.ModelServerConfig()
    if file.exists():
        try:
            text_format.Parse(file.read_text("utf-8"), config)
        except (text_format.ParseError, UnicodeDecodeError) as error:
            raise InputError(
                f"{file} has something else in it than `tfvae configure` writes ({error}): change "
                "it by hand, or move it away"
            ) from error
    return {model.name: model for model in config.model_config_list.config}


def _check_labels(name, labels, numbers):
    for label, number in labels.items():
        if check_integer("the version of a label", number, minimum=0) not in numbers:
            raise InputError(
                f"the label {label!r} of {name!r} is for version {number}, and there are "
                f"{', '.join(map(str, numbers))}"
            )
        if not (isinstance(label, str) and label and label.isprintable()):
            raise InputError(f"a label must be a word; got {label!a}")


def _set_labels(model: Any, labels: dict[str, int], numbers: list[int]) -> dict[str, int]:
    """Gives a model of these versions labels, and returns those that cannot move yet."""
    former = {entry.key: entry.value for entry in model.version_labels}
    if labels == former:
        return {}
    loaded = set(model.model_version_policy.specific.versions)
    moved = {label for label in labels if label in former and former[label] != labels[label]}
    late = {label: labels[label] for label in moved if labels[label] not in loaded}
    wanted = set(labels.values()) | {former[label] for label in moved}
    model.ClearField("model_version_policy")
    model.ClearField("version_labels")
    if labels:
        model.model_version_policy.specific.versions.extend(sorted(wanted.intersection(numbers)))
    for label, number in labels.items():
        model.version_labels.add(key=label, value=former[label] if label in late else number)
    return late
