"""What several commands have as options."""

import json
from pathlib import Path
from typing import Annotated, Any

import pydantic
from cyclopts import Group, Parameter

from tfvae.common.errors import InputError
from tfvae.common.files import atomic_write
from tfvae.common.validation import NONE, ValidatedModel
from tfvae.training import settings
from tfvae.training.settings import Count, Text, TrainingSettings

_GROUPS = {
    heading: Group(heading, sort_key=place) for place, heading in enumerate(settings.HEADINGS)
}
COMMON, DEVICES = _GROUPS[settings.COMMON], _GROUPS[settings.DEVICES]
EVALUATION = Group("Evaluation", sort_key=len(_GROUPS))


def options_of(model: type[ValidatedModel], *names: str, **parameter: Any) -> Any:
    """The type of an argument of a command whose options are settings, each checked for itself.

    Together they are checked once they are merged with what a file and a recipe have.

    Args:
        model: The settings, where each is declared.
        *names: The settings that are options, without headings; all if there are none.
        **parameter: What cyclopts is told of all of them.
    """
    options: dict[str, Any] = {}
    for name in names or model.model_fields:
        field = model.model_fields[name]
        marks: list[Any] = [mark for mark in field.metadata if mark not in _GROUPS]
        if model.can_be_none(name):
            marks.append(pydantic.BeforeValidator(_read_none))
        if field.default is False:
            marks.append(Parameter(show_default=False))
        elif isinstance(field.default, tuple):
            marks.append(Parameter(show_default=" ".join(map(str, field.default)) or False))
        if not names:
            groups = [_GROUPS[mark] for mark in field.metadata if mark in _GROUPS]
            marks += [Parameter(group=group) for group in groups]
        annotation = Annotated[(field.annotation, *marks)] if marks else field.annotation
        options[name] = annotation, pydantic.Field(field.default, description=field.description)
    config = pydantic.ConfigDict(allow_inf_nan=False)
    kind = pydantic.create_model(model.__name__, __config__=config, **options)
    return Annotated[kind | None, Parameter(name="*", **parameter)]


def _read_none(word: Any) -> Any:
    return None if word == NONE else word


def given(options: pydantic.BaseModel | None) -> dict[str, Any]:
    """The settings that options of the command line gave, by name."""
    return {} if options is None else options.model_dump(exclude_unset=True)


DATA = ("dataset", "data_dir", "binarization", "batch_size", "seed")
"""The settings that say which images a trained model is given."""
WorkerCount = Annotated[int, pydantic.Field(ge=1, le=256)]
Flag = Annotated[bool, Parameter(negative=(), show_default=False)]
ModelArgument = Annotated[
    Path, Parameter(help="A .keras file, the folder of a training run, or a pretrained model.")
]
SplitOption = Annotated[
    Text, Parameter(help="The split: train, validation, test, or a TFDS slice of one.")
]
DataDirOption = Annotated[
    Text | None, Parameter(help=TrainingSettings.model_fields["data_dir"].description)
]
JsonOption = Annotated[Path | None, Parameter(help="Also write the numbers to this JSON file.")]
NumImportanceSamplesOption = Annotated[
    Count | None,
    Parameter(
        help="The importance samples per image for log p(x); if none, 500, or those of the recipe."
    ),
]
OverwriteOption = Annotated[Flag, Parameter(help="Replace the output where it exists.")]


def check_output_folder(folder: Path, *, overwrite: bool = False) -> None:
    """Checks that a folder can be written to, before the work is done that it shall hold."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"the output {folder} must be a folder; there is a file")
    if folder.is_dir() and any(folder.iterdir()) and not overwrite:
        raise InputError(f"the folder {folder} is not empty: choose another, or empty it")


def write_json(file: Path | None, results: dict[str, Any]) -> None:
    """Writes the numbers of an evaluation, where they are asked for."""
    if file is not None:
        with atomic_write(file) as path:
            path.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
