"""What TensorFlow Serving needs beside the models: its configuration, and how to use it."""

import os
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from tfvae.common.errors import InputError
from tfvae.common.files import atomic_write
from tfvae.serving.versions import versions


def write_server_configuration(
    folder: str | os.PathLike,
    *,
    labels: Mapping[str, Mapping[str, int]] | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """Writes the server's configuration into the folder of all models; returns the files' paths.

    `models.config` names every model in the folder that has a version; `batching.config`,
    `monitoring.config`, `compose.yaml` and `README.md` are the same for all.

    Args:
        folder: `saved_models`, with a folder for each model.
        labels: Labels of versions by model, such as `{"digits": {"stable": 1, "canary": 2}}`. Of
            such a model, the labeled versions are served; of the others, the newest.
        overwrite: Whether files that are there are replaced; otherwise they stay as they are.

    Raises:
        InputError: If there is no model in the folder, or a label names a model or version that
            is not there.
        OSError: If the folder cannot be written to.
    """
    folder = Path(folder)
    contents = {"models.config": _models_config(folder, labels or {})}
    for file in (resources.files("tfvae.serving") / "server_files").iterdir():
        contents[file.name] = file.read_text("utf-8")
    paths = [folder / name for name in contents]
    paths = [path for path in paths if overwrite or not path.exists()]
    for path in paths:
        with atomic_write(path) as beside:
            beside.write_text(contents[path.name], "utf-8")
    return paths


def _models_config(folder, labels):
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
    for name, labels_of_model in labels.items():
        if name not in models:
            raise InputError(f"there is no model {name!r} in {folder}; got labels for it")
        for label, number in labels_of_model.items():
            if number not in models[name]:
                raise InputError(
                    f"the label {label!r} of {name!r} is for version {number}, and there are "
                    f"{', '.join(map(str, models[name]))}"
                )
    configs = "".join(_model_config(name, labels.get(name, {})) for name in models)
    return f"model_config_list {{\n{configs}}}\n"


def _model_config(name, labels):
    lines = [f'name: "{name}"', f'base_path: "/models/{name}"', 'model_platform: "tensorflow"']
    if labels:
        numbers = " ".join(f"versions: {number}" for number in sorted(set(labels.values())))
        lines.append(f"model_version_policy {{ specific {{ {numbers} }} }}")
    for label, number in labels.items():
        lines.append(f'version_labels {{ key: "{label}" value: {number} }}')
    return "  config {\n" + "".join(f"    {line}\n" for line in lines) + "  }\n"
