"""What several commands have as options."""

import json
from pathlib import Path
from typing import Annotated, Any

import pydantic
from cyclopts import Group, Parameter

from tfvae.common.files import atomic_write
from tfvae.common.validation import NONE, ValidatedModel
from tfvae.training import settings
from tfvae.training.settings import Text, TrainingSettings

# In the order of the help.
COMMON = Group(settings.COMMON, sort_key=0)
DEVICES = Group(settings.DEVICES, sort_key=5)
EVALUATION = Group("Evaluation", sort_key=6)
_GROUPS = {
    settings.COMMON: COMMON,
    settings.DATA: Group(settings.DATA, sort_key=1),
    settings.NETWORKS: Group(settings.NETWORKS, sort_key=2),
    settings.OBJECTIVE: Group(settings.OBJECTIVE, sort_key=3),
    settings.OPTIMIZATION: Group(settings.OPTIMIZATION, sort_key=4),
    settings.DEVICES: DEVICES,
}


def options_of(model: type[ValidatedModel], *names: str) -> type[pydantic.BaseModel]:
    """The type of options for settings, which are checked one by one.

    Together they are checked once they are merged with what a file and a recipe have.

    Args:
        model: The settings, where each is declared.
        *names: The settings that are options, without headings; all if there are none.
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
    return pydantic.create_model(model.__name__, __config__=config, **options)


def _read_none(word: Any) -> Any:
    return None if word == NONE else word


def given(options: pydantic.BaseModel | None) -> dict[str, Any]:
    """The settings that options of the command line gave, by name."""
    return {} if options is None else options.model_dump(exclude_unset=True)


class DataOptions(
    options_of(TrainingSettings, "dataset", "data_dir", "binarization", "batch_size", "seed")  # type: ignore[misc]
):
    """Which images a trained model is evaluated on, where they are not those of its training."""


WorkerCount = Annotated[int, pydantic.Field(ge=1, le=256)]
Flag = Annotated[bool, Parameter(negative=(), show_default=False)]
ModelArgument = Annotated[
    Path, Parameter(help="A .keras file, the folder of a training run, or a pretrained model.")
]
DataOption = Annotated[DataOptions | None, Parameter(name="*", show_default=False)]
SplitOption = Annotated[
    Text, Parameter(help="The split: train, validation, test, or a TFDS slice of one.")
]
DataDirOption = Annotated[
    Text | None, Parameter(help=TrainingSettings.model_fields["data_dir"].description)
]
JsonOption = Annotated[Path | None, Parameter(help="Also write the numbers to this JSON file.")]
OverwriteOption = Annotated[Flag, Parameter(help="Replace the output where it exists.")]


def write_json(file: Path | None, results: dict[str, Any]) -> None:
    """Writes the numbers of an evaluation, where they are asked for."""
    if file is not None:
        with atomic_write(file) as path:
            path.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
