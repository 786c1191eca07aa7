"""What a training run is made of: settings with defaults, from a file or from the command line."""

import dataclasses
import difflib
import json
import math
import os
import tomllib
from pathlib import Path
from typing import Any, Literal, get_args

from tfvae.errors import InputError

Network = Literal["mlp", "conv", "resnet"]
Binarization = Literal["dynamic", "fixed", "threshold", "none"]
Strategy = Literal["auto", "one_device", "mirrored", "multi_worker"]
Precision = Literal["float32", "mixed_bfloat16", "mixed_float16", "float64"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """The settings of a training run.

    Attributes:
        dataset: `digits`, or the name of a TFDS data set with one image a record.
        data_dir: The TFDS data directory; None for TFDS's own.
        binarization: How grey images become binary; see `tfvae.load_dataset`.
        network: The kind of encoder and decoder.
        latent_dim: The number of latent dimensions.
        hidden: The units of each hidden layer of an mlp, from the image on; None for its default.
        precision: The Keras dtype policy of the networks.
        beta: The weight of the KL.
        warmup_epochs: Over how many first epochs the weight of the KL rises from 0; 0 for none.
        learning_rate: Of Adam, at the start; it falls to 0 along a cosine.
        strategy: Over which devices the images of a step are shared out; see `strategies.get`.
        batch_size: Images a step, of all devices together.
        epochs: Passes over the training images; None for as many as make about 40,000 steps, but
            no fewer than 50 and no more than 200.
        patience: After how many epochs without a better validation ELBO training stops; None for
            a tenth of the epochs, but no fewer than 10.
        seed: Of everything random.

    Raises:
        InputError: If a value is not possible.
    """

    dataset: str = "digits"
    data_dir: str | None = None
    binarization: Binarization = "dynamic"
    network: Network = "mlp"
    latent_dim: int = 32
    hidden: tuple[int, ...] | None = None
    precision: Precision = "float32"
    beta: float = 1.0
    warmup_epochs: int = 0
    learning_rate: float = 1e-3
    strategy: Strategy = "auto"
    batch_size: int = 128
    epochs: int | None = None
    patience: int | None = None
    seed: int = 0

    def __post_init__(self):
        if self.hidden is not None:
            if not isinstance(self.hidden, list | tuple) or not all(map(_is_positive, self.hidden)):
                raise InputError(f"hidden must be integers of at least 1; got {self.hidden!r}")
            if self.network != "mlp":
                raise InputError(f"hidden is for the network mlp; the network is {self.network}")
            # From a file or from options it comes as a list.
            object.__setattr__(self, "hidden", tuple(self.hidden))
        for name, choices in (
            ("binarization", get_args(Binarization)),
            ("network", get_args(Network)),
            ("precision", get_args(Precision)),
            ("strategy", get_args(Strategy)),
        ):
            if getattr(self, name) not in choices:
                raise InputError(
                    f"{name} must be one of {', '.join(choices)}; got {getattr(self, name)!r}"
                )
        for name, least in (
            ("latent_dim", 1),
            ("batch_size", 1),
            ("epochs", 1),
            ("patience", 1),
            ("warmup_epochs", 0),
            ("seed", 0),
        ):
            value = getattr(self, name)
            if value is None and name in ("epochs", "patience"):
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise InputError(f"{name} must be an integer of at least {least}; got {value!r}")
        for name, positive in (("beta", False), ("learning_rate", True)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise InputError(f"{name} must be a number; got {value!r}")
            if not math.isfinite(value) or value < 0 or (positive and value == 0):
                bound = "above 0" if positive else "of at least 0"
                raise InputError(f"{name} must be a finite number {bound}; got {value!r}")

    @classmethod
    def merged(cls, file: str | os.PathLike | None = None, **given: Any) -> "TrainingSettings":
        """Settings from a file, with those that are given besides over them.

        Args:
            file: A TOML or JSON file of settings by name, such as the `settings.json` of a run.
            **given: Settings; those that are None count as not given.

        Returns:
            The settings.

        Raises:
            InputError: If the file cannot be read, or a setting is not known or not possible.
        """
        settings = {} if file is None else _read(Path(file))
        known = [field.name for field in dataclasses.fields(cls)]
        for name in settings:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                advice = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
                raise InputError(f"{file} has an unknown setting {name!r}: {advice}")
        settings |= {name: value for name, value in given.items() if value is not None}
        return cls(**settings)

    def to_json(self) -> str:
        """The settings as the text of a file that `merged` reads."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"


def _is_positive(value):
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _read(file):
    if file.suffix not in (".toml", ".json"):
        raise InputError(f"settings must be in a .toml or a .json file; got {str(file)!r}")
    try:
        text = file.read_text(encoding="utf-8")
        settings = tomllib.loads(text) if file.suffix == ".toml" else json.loads(text)
    except OSError as error:
        raise InputError(f"cannot read the settings {file}: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{file} is not {file.suffix[1:].upper()}: {error}") from error
    if not isinstance(settings, dict):
        raise InputError(f"{file} must hold settings by name; it holds {type(settings).__name__}")
    return settings
