"""What a training run is made of: settings with defaults, from a file or from the command line."""

import dataclasses
import json
import math
import os
import re
import tomllib
from pathlib import Path
from typing import Any, Literal, get_args

from tfvae.common.checks import suggestion
from tfvae.common.errors import InputError
from tfvae.training import recipes

Network = Literal["mlp", "conv", "resnet"]
Binarization = Literal["dynamic", "fixed", "threshold", "none"]
Strategy = Literal["auto", "one_device", "mirrored", "multi_worker"]
Precision = Literal["float32", "mixed_bfloat16", "mixed_float16", "float64"]
Activation = Literal["relu", "elu", "selu", "gelu", "silu", "softplus", "tanh", "glu"]
ObjectiveName = Literal["elbo", "iwae"]
Gradient = Literal["plain", "doubly_reparametrized"]
DecoderBias = Literal["zeros", "data_mean"]
LearningRateSchedule = Literal["cosine", "constant", "piecewise"]

NONE = "none"
"""Takes away what a file or a recipe sets, of the settings that `CAN_BE_TAKEN_AWAY` names."""

CAN_BE_TAKEN_AWAY = (
    "initial_model",
    "resampled_per_image",
    "gradient_clipping",
    "weight_decay",
    "average_weights",
)

NUM_IMPORTANCE_SAMPLES = 500
"""Latents per image for log p(x) of the held-out images, where no recipe says otherwise."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """The settings of a training run.

    Attributes:
        recipe: The recipe that the settings below are from, where they differ from its; see
            `tfvae.training.recipes`.
        dataset: `digits`, or the name of a TFDS data set with one image a record.
        data_dir: The TFDS data directory; None for TFDS's own.
        binarization: How grey images become binary; see `tfvae.load_dataset`.
        num_validation_images: How many images at the end of TFDS's train choose the epoch, for a
            data set without a validation split; None for a tenth of them.
        network: The kind of encoder and decoder.
        latent_dim: The number of latent dimensions.
        hidden: The units of each hidden layer of an mlp, from the image on, or of the one fully
            connected layer of the others; None for the network's default.
        filters: The filters of each convolution of a conv, or of each stage of a resnet, from the
            image on; None for its default.
        blocks: The residual blocks of each stage of a resnet; None for its default.
        batch_normalization: Whether one stands before each activation of a resnet's blocks.
        activation: Of the hidden layers, `glu` (gated layers) for the mlp alone; None for the
            network's default.
        decoder_bias: What the bias of the logits is at the start: `zeros`, or `data_mean`, with
            which each pixel has the mean of the training images as its probability.
        initial_model: A `.keras` file, the folder of a run, or the name of a pretrained model,
            whose weights training starts from; None for random ones. Its networks must be those of
            these settings.
        precision: The Keras dtype policy of the networks.
        objective: What is maximised; see `tfvae.objectives`.
        latents_per_image: How many latents the objective draws for each image in a step.
        resampled_per_image: Through how many of these latents the gradient of the objective
            `iwae` passes, which their importance weights choose; None for all. See
            `objectives.IWAE`.
        gradient: How the objective `iwae` estimates the gradient of the encoder; see
            `objectives.IWAE`.
        beta: The weight of the KL.
        warmup_epochs: Over how many first epochs the weight of the KL rises from 0; 0 for none.
        free_bits: The nats that the KL of each latent dimension has free.
        learning_rate: Of Adam, at the start.
        learning_rate_schedule: How it goes on: `cosine` to 0, `constant`, or `piecewise`, in eight
            stages, each three times as long as the one before, down to a tenth.
        gradient_clipping: The greatest norm of the whole gradient; None for any.
        weight_decay: By which part of itself, times the learning rate, each weight but the biases
            shrinks in a step; None for none.
        average_weights: The momentum of the exponential moving average of the weights that is
            validated and kept, such as 0.999; None for the weights themselves.
        strategy: Over which devices the images of a step are shared out; see `strategies.get`.
        batch_size: Images a step, of all devices together.
        epochs: Passes over the training images; None for as many as make about 40,000 steps, but
            no fewer than 50 and no more than 200.
        patience: After how many epochs without a better objective on the validation images
            training stops; None for a tenth of the epochs, but no fewer than 10.
        seed: Of everything random.

    Raises:
        InputError: If a value is not possible.

    References:
        Dauphin et al. Language Modeling with Gated Convolutional Networks. 2016. arXiv:1612.08083
        (gated layers).
        Loshchilov and Hutter. Decoupled Weight Decay Regularization. 2017. arXiv:1711.05101
        (`weight_decay`).
        Burda et al. Importance Weighted Autoencoders. 2015. arXiv:1509.00519 (`piecewise`).
    """

    recipe: str | None = None
    dataset: str = "digits"
    data_dir: str | None = None
    binarization: Binarization = "dynamic"
    num_validation_images: int | None = None
    network: Network = "mlp"
    latent_dim: int = 32
    hidden: tuple[int, ...] | None = None
    filters: tuple[int, ...] | None = None
    blocks: int | None = None
    batch_normalization: bool = False
    activation: Activation | None = None
    decoder_bias: DecoderBias = "zeros"
    initial_model: str | None = None
    precision: Precision = "float32"
    objective: ObjectiveName = "elbo"
    latents_per_image: int = 1
    resampled_per_image: int | None = None
    gradient: Gradient = "plain"
    beta: float = 1.0
    warmup_epochs: int = 0
    free_bits: float = 0.0
    learning_rate: float = 1e-3
    learning_rate_schedule: LearningRateSchedule = "cosine"
    gradient_clipping: float | None = None
    weight_decay: float | None = None
    average_weights: float | None = None
    strategy: Strategy = "auto"
    batch_size: int = 128
    epochs: int | None = None
    patience: int | None = None
    seed: int = 0

    def __post_init__(self):
        for name in ("hidden", "filters"):
            sizes = getattr(self, name)
            if sizes is None:
                continue
            if not isinstance(sizes, list | tuple) or not all(map(_is_positive, sizes)):
                raise InputError(f"{name} must be integers of at least 1; got {sizes!r}")
            # From a file or from options it comes as a list.
            object.__setattr__(self, name, tuple(sizes))
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            if value not in choices and not (value is None and name in _OPTIONAL):
                raise InputError(f"{name} must be one of {', '.join(choices)}; got {value!r}")
        for name, least in _INTEGERS.items():
            value = getattr(self, name)
            if value is None and name in _OPTIONAL:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise InputError(f"{name} must be an integer of at least {least}; got {value!r}")
        for name, (bound, is_possible) in _NUMBERS.items():
            value = getattr(self, name)
            if value is None and name in _OPTIONAL:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise InputError(f"{name} must be a number; got {value!r}")
            if not math.isfinite(value) or not is_possible(value):
                raise InputError(f"{name} must be a finite number {bound}; got {value!r}")
        for name, networks in _OF_NETWORKS.items():
            if getattr(self, name) is not None and self.network not in networks:
                raise InputError(
                    f"{name} is for the network {' or '.join(networks)}; the network is "
                    f"{self.network}"
                )
        if not isinstance(self.batch_normalization, bool):
            raise InputError(
                f"batch_normalization must be true or false; got {self.batch_normalization!r}"
            )
        if self.batch_normalization and self.network != "resnet":
            raise InputError(
                f"batch_normalization is for the network resnet; the network is {self.network}"
            )
        if self.batch_normalization and self.average_weights is not None:
            raise InputError(
                "average_weights averages no moving means and variances, with which averaged "
                "weights would have to be normalised: leave out it or batch_normalization"
            )
        if self.initial_model is not None and self.decoder_bias != "zeros":
            raise InputError(
                f"initial_model brings its own bias of the logits: leave it out, or decoder_bias "
                f"{self.decoder_bias}"
            )
        if self.network != "mlp" and self.hidden is not None and len(self.hidden) != 1:
            raise InputError(
                f"hidden must be one number for the network {self.network}; got {self.hidden!r}"
            )
        if self.network != "mlp" and self.activation == "glu":
            raise InputError(f"glu is for the network mlp; the network is {self.network}")
        if self.objective != "elbo" and (self.beta != 1 or self.warmup_epochs or self.free_bits):
            raise InputError(
                f"beta, warmup_epochs and free_bits weigh the KL of the objective elbo; the "
                f"objective is {self.objective}, which has none to weigh: leave them out"
            )
        if self.resampled_per_image is not None:
            if self.objective != "iwae":
                raise InputError(
                    f"resampled_per_image is for the objective iwae; the objective is "
                    f"{self.objective}: leave it out"
                )
            if self.batch_normalization:
                raise InputError(
                    "resampled_per_image needs a decoder that is a function of each latent alone: "
                    "leave out it or batch_normalization"
                )
            if self.resampled_per_image > self.latents_per_image:
                raise InputError(
                    f"resampled_per_image must be at most latents_per_image, "
                    f"{self.latents_per_image}; got {self.resampled_per_image}"
                )
        if self.objective != "iwae" and self.gradient != "plain":
            raise InputError(
                f"gradient {self.gradient} is for the objective iwae; the objective is "
                f"{self.objective}: give gradient plain"
            )

    @property
    def monitor(self) -> str:
        """The log of an epoch by which the best one is chosen."""
        # The ELBO at beta = 1; of other objectives, what is maximised.
        return "val_elbo" if self.objective == "elbo" else "val_loss"

    @property
    def num_importance_samples(self) -> int:
        """Latents per image for log p(x) of the held-out images."""
        if self.recipe is None:
            return NUM_IMPORTANCE_SAMPLES
        return recipes.load(self.recipe).num_importance_samples

    @classmethod
    def merged(cls, file: str | os.PathLike | None = None, **given: Any) -> "TrainingSettings":
        """Settings from a file, with those that are given besides over them.

        A recipe, which may be given or be named in the file, lies under both.

        Args:
            file: A TOML or JSON file of settings by name.
            **given: Settings; those that are None count as not given. `"none"` takes away what lies
                under it of the settings in `CAN_BE_TAKEN_AWAY`, here and in the file.

        Returns:
            The settings.

        Raises:
            InputError: If the file cannot be read, there is no such recipe, or a setting is not
                known or not possible.
        """
        settings = _laid_over({} if file is None else _read(Path(file)), given)
        if settings.get("recipe") is not None:
            below = recipes.load(settings["recipe"]).settings
            try:
                return cls(**_taken_away(_laid_over(below, settings)))
            except InputError as error:
                note = _note_on_recipe(str(error), below, settings)
                raise InputError(f"{error}{note}") from error
        return cls(**_taken_away(settings))

    @classmethod
    def of_run(cls, file: str | os.PathLike, **given: Any) -> "TrainingSettings":
        """The settings that a run has written, with those that are given over them.

        They are all that its training was made of. A setting that its file does not have is from
        later than the run, and has its default, whatever the recipe says by now.

        Args:
            file: The `settings.json` of the run.
            **given: Settings; those that are None count as not given.

        Returns:
            The settings.

        Raises:
            InputError: As `merged` does.
        """
        return cls(**_taken_away(_laid_over(_read(Path(file)), given)))

    def with_given(self, **given: Any) -> "TrainingSettings":
        """These settings, with those that are given over them.

        Args:
            **given: Settings; those that are None count as not given.

        Returns:
            The settings.

        Raises:
            InputError: If a setting is not possible.
        """
        return type(self)(**_taken_away(_laid_over(dataclasses.asdict(self), given)))

    def to_json(self) -> str:
        """The settings as the text of a file that `of_run` and `merged` read."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"


_OPTIONAL = (
    "num_validation_images",
    "blocks",
    "activation",
    "resampled_per_image",
    "gradient_clipping",
    "weight_decay",
    "average_weights",
    "epochs",
    "patience",
)
_OF_NETWORKS = {"filters": ("conv", "resnet"), "blocks": ("resnet",)}
_CHOICES = {
    "binarization": get_args(Binarization),
    "network": get_args(Network),
    "activation": get_args(Activation),
    "decoder_bias": get_args(DecoderBias),
    "precision": get_args(Precision),
    "objective": get_args(ObjectiveName),
    "gradient": get_args(Gradient),
    "learning_rate_schedule": get_args(LearningRateSchedule),
    "strategy": get_args(Strategy),
}
_INTEGERS = {
    "num_validation_images": 1,
    "latent_dim": 1,
    "blocks": 1,
    "latents_per_image": 1,
    "resampled_per_image": 1,
    "batch_size": 1,
    "epochs": 1,
    "patience": 1,
    "warmup_epochs": 0,
    "seed": 0,
}
_NUMBERS = {
    "beta": ("of at least 0", lambda value: value >= 0),
    "free_bits": ("of at least 0", lambda value: value >= 0),
    "learning_rate": ("above 0", lambda value: value > 0),
    "gradient_clipping": ("above 0", lambda value: value > 0),
    "weight_decay": ("above 0", lambda value: value > 0),
    "average_weights": ("between 0 and 1", lambda value: 0 < value < 1),
}


def _is_positive(value):
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _laid_over(settings, given):
    given = {name: value for name, value in given.items() if value is not None}
    dataset = settings.get("dataset", TrainingSettings.dataset)
    if given.get("dataset", dataset) != dataset:
        # A number of its images says nothing of another data set.
        settings = {**settings, "num_validation_images": None}
    return settings | given


def _taken_away(settings):
    return {
        name: None if value == NONE and name in CAN_BE_TAKEN_AWAY else value
        for name, value in settings.items()
    }


def _note_on_recipe(message, below, given):
    """Which settings that a message names are a recipe's, so that nobody looks for them."""
    named = [name for name in below if name not in given and re.search(rf"\b{name}\b", message)]
    if not named:
        return ""
    text = ", ".join(f"{name} = {below[name]}" for name in named)
    options = [f"--{name.replace('_', '-')} {NONE}" for name in named if name in CAN_BE_TAKEN_AWAY]
    advice = f"; {' '.join(options)} takes it away" if options else ""
    return f". The recipe {given['recipe']} has {text}{advice}"


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
    known = [field.name for field in dataclasses.fields(TrainingSettings)]
    for name in settings:
        if name not in known:
            advice = suggestion(name, known)
            raise InputError(f"{file} has an unknown setting {name!r}: {advice}")
    return settings
