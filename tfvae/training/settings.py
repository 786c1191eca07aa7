"""What a training run is made of: settings with defaults, from a file or from the command line."""

import functools
import json
import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from tfvae.common.errors import InputError
from tfvae.common.validation import NONE, ValidatedModel, short_repr
from tfvae.training import recipes

Network = Literal["mlp", "conv", "resnet"]
Strategy = Literal["auto", "one_device", "mirrored", "multi_worker"]
Precision = Literal["float32", "mixed_bfloat16", "mixed_float16", "float64"]
Activation = Literal["relu", "elu", "selu", "gelu", "silu", "softplus", "tanh", "glu"]
GradientEstimator = Literal["reparameterized", "score_function", "doubly_reparameterized"]
LearningRateSchedule = Literal["cosine", "constant", "piecewise"]

Text = Annotated[str, Field(pattern=r"^[^\x00]+$")]
Size = Annotated[int, Field(ge=1, le=100_000)]
"""Of something that lies in memory: units, latents, images, samples."""
Count = Annotated[int, Field(ge=1, le=1_000_000_000)]
"""Of something that is done again and again."""
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
NonnegativeNumber = Annotated[float, Field(ge=0, le=1e9)]
PositiveNumber = Annotated[float, Field(gt=0, le=1e9)]
# Lists of a file become tuples.
Sizes = Annotated[tuple[Size, ...], Field(strict=False, min_length=1)]

HEADINGS = (
    *("Common options", "Data", "Networks", "Objective", "Optimization"),
    *("This machine", "Evaluation"),
)
"""What the settings are listed under."""
COMMON, DATA, NETWORKS, OBJECTIVE, OPTIMIZATION, MACHINE, EVALUATION = HEADINGS

# Where each of these settings has a meaning: another setting, and its values.
_PLACES = {
    "filters": ("network", ("conv", "resnet")),
    "blocks": ("network", ("resnet",)),
    "batch_normalization": ("network", ("resnet",)),
    "activation glu": ("network", ("mlp",)),
    "beta": ("objective", ("elbo",)),
    "warmup_epochs": ("objective", ("elbo",)),
    "free_bits": ("objective", ("elbo",)),
    "num_resampled": ("objective", ("iwae",)),
    "gradient_estimator score_function": ("objective", ("elbo",)),
    "gradient_estimator doubly_reparameterized": ("objective", ("iwae",)),
}
_CONFLICTS = (
    ("decoder_bias", "initial_model", "brings its own bias of the logits"),
    ("batch_normalization", "average_weights", "averages no moving means and variances"),
    ("batch_normalization", "num_resampled", "needs a decoder that is a function of each latent"),
)


class TrainingSettings(ValidatedModel):
    """The settings of a training run.

    References:
        Dauphin et al. Language Modeling with Gated Convolutional Networks. 2016. arXiv:1612.08083
        (gated layers).
        Loshchilov and Hutter. Decoupled Weight Decay Regularization. 2017. arXiv:1711.05101
        (`weight_decay`).
        Burda et al. Importance Weighted Autoencoders. 2015. arXiv:1509.00519 (`piecewise`).
    """

    recipe: Annotated[Text | None, COMMON] = None
    """The settings of a model of the literature (see `tfvae recipes`), under those given here."""
    dataset: Annotated[Text, COMMON] = "digits"
    """The images: digits, mnist, or any TFDS data set with one image per record."""
    network: Annotated[Network, COMMON] = "mlp"
    """The kind of encoder and decoder."""
    latent_dim: Annotated[Size, COMMON] = 32
    """The number of latent dimensions."""
    objective: Annotated[Literal["elbo", "iwae"], COMMON] = "elbo"
    """What is maximized: the ELBO, or the importance-weighted ELBO."""
    epochs: Annotated[Count | None, COMMON] = None
    """The passes over the training images; if none, as many as make about 40,000 steps, but from
    50 to 200."""
    seed: Annotated[Seed, COMMON] = 0
    """The seed of everything random."""
    binarization: Annotated[Literal["dynamic", "fixed", "threshold", "none"], DATA] = "dynamic"
    """How gray images become binary: sampled anew in each epoch, sampled once, by a threshold of
    one half, or not at all."""
    num_validation_images: Annotated[Count | None, DATA] = None
    """How many images at the end of the train split choose the epoch, where the data set has no
    validation split; a tenth of them if none."""
    batch_size: Annotated[Size, DATA] = 128
    """The images per step, of all devices together."""
    hidden: Annotated[Sizes | None, NETWORKS] = None
    """The units of each hidden layer of an mlp, from the image on, or of the one dense layer of a
    conv or resnet; if none, 512 512 or 256."""
    filters: Annotated[Sizes | None, NETWORKS] = None
    """The filters of each convolution of a conv, or of each stage of a resnet, from the image on;
    32 64 if none."""
    blocks: Annotated[Size | None, NETWORKS] = None
    """The residual blocks of each stage of a resnet; 2 if none."""
    batch_normalization: Annotated[bool, NETWORKS] = False
    """Normalize batches before each activation of a resnet's blocks."""
    activation: Annotated[Activation | None, NETWORKS] = None
    """The activation of the hidden layers, where glu (gated layers) is for an mlp; if none, relu,
    or elu for a resnet."""
    decoder_bias: Annotated[Literal["zeros", "data_mean"], NETWORKS] = "zeros"
    """The first bias of the decoder's logits: data_mean gives each pixel the mean of the training
    images as its probability."""
    initial_model: Annotated[Text | None, NETWORKS] = None
    """A .keras file, the folder of a run, or the name of a pretrained model of the same networks,
    whose weights training starts from."""
    precision: Annotated[Precision, NETWORKS] = "float32"
    """The Keras dtype policy of the networks."""
    num_samples: Annotated[Size, OBJECTIVE] = 1
    """How many latents per image the objective draws in a step."""
    num_resampled: Annotated[Size | None, OBJECTIVE] = None
    """How many of these latents the gradient of iwae passes through, chosen by their importance
    weights; all of them if none."""
    gradient_estimator: Annotated[GradientEstimator, OBJECTIVE] = "reparameterized"
    """How the gradient of the encoder is estimated; score_function is for elbo,
    doubly_reparameterized for iwae."""
    beta: Annotated[NonnegativeNumber, OBJECTIVE] = 1.0
    """The weight of the KL."""
    warmup_epochs: Annotated[Annotated[int, Field(ge=0, le=1_000_000_000)], OBJECTIVE] = 0
    """The first epochs, in which the weight of the KL rises from 0."""
    free_bits: Annotated[NonnegativeNumber, OBJECTIVE] = 0.0
    """The nats that the KL of each latent dimension has free."""
    learning_rate: Annotated[PositiveNumber, OPTIMIZATION] = 1e-3
    """The learning rate of Adam at the start."""
    learning_rate_schedule: Annotated[LearningRateSchedule, OPTIMIZATION] = "cosine"
    """How the learning rate goes on: cosine to 0, constant, or piecewise in eight stages, each
    three times as long as the one before, down to a tenth."""
    gradient_clipping: Annotated[PositiveNumber | None, OPTIMIZATION] = None
    """The largest norm of the whole gradient."""
    weight_decay: Annotated[PositiveNumber | None, OPTIMIZATION] = None
    """The part of each weight but the biases that a step takes off, times the learning rate."""
    average_weights: Annotated[Annotated[float, Field(gt=0, lt=1)] | None, OPTIMIZATION] = None
    """The momentum, such as 0.999, of the moving average of the weights that is validated and
    kept."""
    patience: Annotated[Count | None, OPTIMIZATION] = None
    """After how many epochs without a better objective on the validation images training stops; if
    none, a tenth of the epochs, but at least 10."""
    data_dir: Annotated[Text | None, MACHINE] = None
    """Where TensorFlow Datasets keeps the data sets that it prepares, if it is not its own place;
    no folder of images."""
    strategy: Annotated[Strategy, MACHINE] = "auto"
    """The devices that share the images of a step: one, all of this machine, or those of the
    machines in TF_CONFIG."""
    split: Annotated[Text, EVALUATION] = "test"
    """The split whose images the numbers and figures are of: test, validation where settings are
    still to be chosen, train, or a TFDS slice of one."""
    num_importance_samples: Annotated[Count, EVALUATION] = 500
    """The importance samples per image for log p(x)."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        for place, (other, values) in _PLACES.items():
            if self._is_given(place) and getattr(self, other) not in values:
                raise InputError(
                    f"{place} is for the {other} {' or '.join(values)}; the {other} is "
                    f"{getattr(self, other)}: leave it out"
                )
        for one, other, reason in _CONFLICTS:
            if self._is_given(one) and self._is_given(other):
                raise InputError(f"{other} {reason}: leave out it or {one}")
        if self.network != "mlp" and self.hidden is not None and len(self.hidden) != 1:
            raise InputError(
                f"hidden must be one number for the network {self.network}; got {self.hidden!r}"
            )
        if (self.num_resampled or 0) > self.num_samples:
            raise InputError(
                f"num_resampled must be at most num_samples, {self.num_samples}; got "
                f"{self.num_resampled}"
            )
        return self

    def _is_given(self, place):
        """Whether a setting has a value, or where none is named, another one than its default."""
        name, _, value = place.partition(" ")
        is_default = getattr(self, name) == type(self).model_fields[name].default
        return getattr(self, name) == value if value else not is_default

    @property
    def monitor(self) -> str:
        """The log of an epoch by which the best one is chosen."""
        # The ELBO at beta = 1; of other objectives, what is maximized.
        return "val_elbo" if self.objective == "elbo" else "val_loss"

    @classmethod
    def under(cls, *headings: str) -> set[str]:
        """The names of the settings under some headings."""
        fields = cls.model_fields.items()
        return {name for name, field in fields if not {*headings}.isdisjoint(field.metadata)}

    @classmethod
    def merged(cls, file: str | os.PathLike | None = None, **given: Any) -> Self:
        """Settings that are given, over those of a file, over those of a recipe that either names.

        `None` or `"none"` takes away what the file or the recipe has, of settings that may be none.

        Args:
            file: A TOML or JSON file of settings by name.
            **given: Settings by name.

        Raises:
            InputError: If the file cannot be read or a setting is not possible.
        """
        of_file = {} if file is None else _read(Path(file))
        recipe = {**of_file, **given}.get("recipe")
        of_recipe = {}
        # What is no name of a recipe is refused with the other settings.
        if isinstance(recipe, str) and recipe != NONE:
            of_recipe = recipes.load(recipe).settings
        return cls._of_layers({f"the recipe {recipe}": of_recipe, f"{file}": of_file}, given)

    @classmethod
    def of_run(cls, file: str | os.PathLike, **given: Any) -> Self:
        """The settings that a run has written to its `settings.json`, under those that are given.

        They are all that its training was made of. A setting that its file does not have is newer
        than the run, and has its default, whatever the recipe says by now. See also `merged`.
        """
        return cls._of_layers({f"{file}": _read(Path(file))}, given)

    def replace(self, **changes: Any) -> Self:
        """These settings with others over them; another data set has its own validation images."""
        return type(self)(**_merge(dict(self), changes))

    @classmethod
    def _of_layers(cls, layers: dict[str, dict[str, Any]], given: dict[str, Any]) -> Self:
        """Settings of layers by their source, the lowest first, under those that are given."""
        settings = functools.reduce(_merge, [*layers.values(), given])
        try:
            return cls(**settings)
        except InputError as error:
            # So that nobody looks elsewhere for what a file or a recipe has set.
            notes = [cls._note(str(error), settings, *source) for source in layers.items()]
            raise InputError(f"{error}{''.join(notes)}") from error

    @classmethod
    def _note(cls, message, settings, source, layer):
        """Which settings that a message names are from a source, and how they are taken away."""
        named = {
            name: short_repr(value)
            for name, value in layer.items()
            if settings.get(name) is value and re.search(rf"\b{re.escape(name)}\b", message)
        }
        if not named:
            return ""
        text = ", ".join(f"{name} = {value}" for name, value in named.items())
        fields = named.keys() & cls.model_fields.keys()
        options = [f"{option_of(name)} {NONE}" for name in fields if cls.can_be_none(name)]
        advice = f"; {' '.join(options)} takes it away" if options else ""
        return f" ({source} has {text}{advice})"


def option_of(name: str) -> str:
    """The option of the command line for a setting."""
    return f"--{name.replace('_', '-')}"


def _merge(below, above):
    """Settings over others by name; a number of validation images stays with its data set."""
    dataset = below.get("dataset", TrainingSettings.model_fields["dataset"].default)
    if above.get("dataset", dataset) != dataset:
        below = {name: below[name] for name in below if name != "num_validation_images"}
    return {**below, **above}


def _read(file):
    if file.suffix not in (".toml", ".json"):
        raise InputError(f"settings must be in a .toml or a .json file; got {str(file)!r}")
    if file.exists() and not file.is_file():
        raise InputError(f"the settings {file} must be a file; there is a folder or a pipe")
    kind = file.suffix[1:].upper()
    try:
        text = file.read_bytes().decode()
        settings = tomllib.loads(text) if kind == "TOML" else json.loads(text)
    except OSError as error:
        raise InputError(f"cannot read the settings {file}: {error.strerror}") from error
    except RecursionError as error:
        raise InputError(f"{file} is not {kind}: it is nested too deeply") from error
    except ValueError as error:
        raise InputError(f"{file} is not {kind}: {error}") from error
    if not isinstance(settings, dict):
        raise InputError(f"{file} must hold settings by name; it holds {type(settings).__name__}")
    return settings
