"""Models of what people set: declared once, checked at once, refused in one line."""

import reprlib
from typing import Any, Self, get_args

import pydantic

from tfvae.common.checks import suggestion
from tfvae.common.errors import InputError

NONE = "none"
"""The word for no value, in files and on the command line: TOML has no null."""

_KINDS = {
    "integer": ("an integer", "integers"),
    "number": ("a number", "numbers"),
    "string": ("text", "texts"),
    "boolean": ("true or false", "booleans"),
    "null": (NONE, NONE),
    "object": ("a table", "tables"),
}
_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = _repr.maxlong = 80
_repr.maxlist = _repr.maxtuple = 12


class ValidatedModel(pydantic.BaseModel):
    """Named values, each declared in one place with its type, bounds, default and help.

    The string below a field is its help. Values must have the type of their field as they come,
    but an option of the command line may be text. A value that is impossible raises `InputError`.
    """

    model_config = pydantic.ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )

    def __init__(self, /, **values: Any):
        try:
            super().__init__(**values)
        except pydantic.ValidationError as error:
            raise InputError(_explain(type(self), error, values)) from error

    @pydantic.field_validator("*", mode="before")
    @classmethod
    def _understand_none(cls, value: Any, info: pydantic.ValidationInfo) -> Any:
        return None if value == NONE and cls.can_be_none(f"{info.field_name}") else value

    @classmethod
    def can_be_none(cls, name: str) -> bool:
        """Whether the field may have no value, which the word `none` stands for."""
        return type(None) in get_args(cls.model_fields[name].annotation)

    def replace(self, **changes: Any) -> Self:
        """A copy with other values, which are checked."""
        return type(self)(**{**dict(self), **changes})

    def to_json(self) -> str:
        """The text of a JSON file of all values."""
        return self.model_dump_json(indent=2) + "\n"


def short_repr(value: Any) -> str:
    """What a message shows of a value, however large it is."""
    return _repr.repr(value)


def _explain(model, error, values):
    """What is wrong first, as a line: which value, what was expected, what came."""
    first = error.errors()[0]
    if not first["loc"]:
        return str(first["ctx"]["error"])
    name = first["loc"][0]
    if first["type"] == "extra_forbidden":
        return f"{short_repr(name)} is not known: {suggestion(name, list(model.model_fields))}"
    if first["type"] == "missing":
        return f"{name} is missing"
    schema = model.model_json_schema()["properties"][name]
    return f"{name} must be {_describe(schema)}; got {short_repr(values[name])}"


def expected(annotation: Any) -> str:
    """What a value of a type must be, in words."""
    return _describe(pydantic.TypeAdapter(annotation).json_schema())


def _describe(schema, plural=False):
    """What a value must be by its JSON schema."""
    if "anyOf" in schema:
        return ", or ".join(_describe(each, plural) for each in schema["anyOf"])
    if "enum" in schema:
        return f"one of {', '.join(schema['enum'])}"
    if schema["type"] == "array":
        items = schema.get("items") or schema["prefixItems"][0]
        count = f"{schema['maxItems']}" if "maxItems" in schema else "a list of"
        return f"{count} {_describe(items, plural=True)}"
    if schema.get("format") == "path":
        return "a path"
    kind = _KINDS[schema["type"]][plural]
    if "pattern" in schema:
        kind = f"{kind} of at least a character, and without null characters"
    words = {"minimum": "from", "exclusiveMinimum": "above"}
    words |= {"maximum": "to" if "minimum" in schema else "and at most"}
    words |= {"exclusiveMaximum": "and below"}
    bounds = {word: schema[name] for name, word in words.items() if name in schema}
    # 1e9 is 1,000,000,000.
    rounded = {word: int(bound) if bound == int(bound) else bound for word, bound in bounds.items()}
    return " ".join([kind, *(f"{word} {bound:,}" for word, bound in rounded.items())])
