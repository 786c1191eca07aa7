"""What TensorFlow Serving needs beside the models: its configuration, and how to use it."""

import os
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from tfvae.common.errors import InputError
from tfvae.common.files import atomic_write
from tfvae.serving.versions import versions

_MODELS_CONFIG = "models.config"
_FIXED_FILES = ("batching.config", "monitoring.config", "compose.yaml", "README.md")


def write_server_configuration(
    folder: str | os.PathLike,
    *,
    labels: Mapping[str, Mapping[str, int]] | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """Writes the server's configuration into the folder of all models.

    `models.config` names every model in the folder that has a version; `batching.config`,
    `monitoring.config`, `compose.yaml` and `README.md` are the same for all.

    Args:
        folder: `saved_models`, with a folder for each model.
        labels: Labels of versions by model, such as `{"digits": {"stable": 1, "canary": 2}}`: of
            that model the labelled versions are served; of the others, the newest.
        overwrite: Whether files that are there are replaced; otherwise they stay as they are.

    Returns:
        The paths of the files that were written.

    Raises:
        InputError: If there is no model in the folder, a label names a model or version that is
            not there, or the folder cannot be written to.
    """
    folder = Path(folder)
    contents = {_MODELS_CONFIG: _models_config(_models(folder), labels or {}, folder)}
    files = resources.files("tfvae.serving") / "server_files"
    contents |= {name: (files / name).read_text("utf-8") for name in _FIXED_FILES}
    written = []
    for name, text in contents.items():
        path = folder / name
        if path.exists() and not overwrite:
            continue
        try:
            with atomic_write(path) as beside:
                beside.write_text(text, "utf-8")
        except OSError as error:
            raise InputError(f"{path} cannot be written: {error.strerror or error}") from error
        written.append(path)
    return written


def _models(folder):
    """The versions of each model in the folder."""
    models = {
        path.name: list(versions(path))
        for path in sorted(folder.iterdir() if folder.is_dir() else [])
        if path.is_dir() and not path.name.startswith(".")
    }
    models = {name: numbers for name, numbers in models.items() if numbers}
    if not models:
        raise InputError(
            f"there is no exported model in {folder}: export one with "
            f"`tfvae export MODEL.keras {folder}/<model>` first"
        )
    return models


def _models_config(models, labels, folder):
    for name, versions_of_labels in labels.items():
        if name not in models:
            raise InputError(f"there is no model {name!r} in {folder}; got labels for it")
        for label, number in versions_of_labels.items():
            if number not in models[name]:
                raise InputError(
                    f"the label {label!r} of {name!r} is for version {number}, and there are "
                    f"{', '.join(map(str, models[name]))}"
                )
    configs = "".join(_model_config(name, labels.get(name, {})) for name in models)
    return f"model_config_list {{\n{configs}}}\n"


def _model_config(name, labels):
    lines = [
        f'name: "{name}"',
        f'base_path: "/models/{name}"',
        'model_platform: "tensorflow"',
    ]
    if labels:
        numbers = " ".join(f"versions: {number}" for number in sorted(set(labels.values())))
        lines.append(f"model_version_policy {{ specific {{ {numbers} }} }}")
        lines += [
            f'version_labels {{ key: "{label}" value: {number} }}'
            for label, number in labels.items()
        ]
    return "  config {\n" + "".join(f"    {line}\n" for line in lines) + "  }\n"
