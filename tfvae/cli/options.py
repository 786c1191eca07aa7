"""What several commands have as options."""

from pathlib import Path
from typing import Annotated, Any

import pydantic
from cyclopts import Group, Parameter

from tfvae.common.validation import NONE, ValidatedModel
from tfvae.training import settings
from tfvae.training.settings import Text, TrainingSettings

_GROUPS = {
    heading: Group(heading, sort_key=place) for place, heading in enumerate(settings.HEADINGS)
}
COMMON, MACHINE, EVALUATION = (
    _GROUPS[heading] for heading in (settings.COMMON, settings.MACHINE, settings.EVALUATION)
)


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
        # A list has no option that empties it, and a flag no default that is worth telling.
        marks.append(Parameter(negative_iterable=()))
        if field.default is False:
            marks.append(Parameter(show_default=False))
        if not names:
            groups = [_GROUPS[mark] for mark in field.metadata if mark in _GROUPS]
            marks += [Parameter(group=group) for group in groups]
        default = pydantic.Field(field.default, description=field.description)
        options[name] = Annotated[(field.annotation, *marks)], default
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
EVALUATED = (*DATA, "split", "num_importance_samples")
WorkerCount = Annotated[int, pydantic.Field(ge=1, le=256)]
Flag = Annotated[bool, Parameter(negative=(), show_default=False)]
ModelArgument = Annotated[
    Path, Parameter(help="A .keras file, the folder of a training run, or a pretrained model.")
]
DataDirOption = Annotated[
    Text | None, Parameter(help=TrainingSettings.model_fields["data_dir"].description)
]
JsonOption = Annotated[Path | None, Parameter(help="Also write the numbers to this JSON file.")]
OverwriteOption = Annotated[Flag, Parameter(help="Replace the output where it exists.")]
