"""From the folder of a finished run to a model that others load, serve and judge by its card."""

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

from tfvae import serving
from tfvae.common.errors import InputError
from tfvae.common.files import atomic_write
from tfvae.common.validation import NONE
from tfvae.datasets import describe_dataset
from tfvae.training import initialization, pretrained, recipes, runs, splits
from tfvae.training import job as training
from tfvae.training.model_card import write_model_card
from tfvae.training.settings import TrainingSettings
from tfvae.vae import VAE

NUMBERS = (
    "elbo",
    "reconstruction",
    "kl",
    "log_likelihood",
    "posterior_gap",
    "bits_per_dim",
    "active_units",
    "num_images",
    "num_importance_samples",
    "log_likelihood_monte_carlo_stderr",
    "effective_sample_size_median",
)
PICTURES = ("samples", "reconstructions", "training_curves")

# Of the machine that trained it, not of the model.
_OF_MACHINE = ("data_dir", "strategy")
# In which two runs of a recipe may differ.
_OF_RUN = (*_OF_MACHINE, "seed")
_OPTIONS_WITH_NONE = (
    "initial_model",
    "num_resampled",
    "gradient_clipping",
    "weight_decay",
    "average_weights",
)
# In place of the path of a model that training started from.
_INITIAL_MODEL = "INITIAL_MODEL"


def publish(
    run: Path, folder: Path, *, data_dir: str | None = None, overwrite: bool = False
) -> Path:
    """Publishes a finished run: the model without its optimizer, a served version, and a card.

    The numbers of the card are of the test images. Where the run was evaluated on others, they
    are measured now, from as many importance samples.

    Args:
        run: The folder of the run.
        folder: `saved_models/<model>`; a served version is added to those that are there.
        data_dir: The TFDS data directory, where it is not that of the run any more.
        overwrite: Whether a model that is there already is replaced.

    Returns:
        The path of the card.

    Raises:
        InputError: If the run has not ended, or a model is there already.
        OSError: If something cannot be written.
    """
    if not (run / runs.RESULTS).is_file():
        raise InputError(
            f"there is no finished run in {run}: its {runs.RESULTS} is missing. `tfvae train "
            f"--resume {run}` goes on with a run that was killed"
        )
    if (folder / runs.MODEL).exists() and not overwrite:
        raise InputError(f"{folder / runs.MODEL} is there already: give --overwrite to replace it")
    given = {} if data_dir is None else {"data_dir": data_dir}
    settings = TrainingSettings.of_run(run / runs.SETTINGS, **given)
    vae = _without_optimizer(runs.load_vae(run))
    results = _results_on_test(vae, settings, run)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(folder / runs.MODEL) as path:
        vae.save(path)
    settings_of_all = _portable(settings)
    runs.write_text(folder / runs.SETTINGS, settings_of_all.to_json())
    serving.export_saved_model(vae, folder)
    (folder / "card").mkdir(exist_ok=True)
    for picture in PICTURES:
        if (run / f"{picture}.png").is_file():
            with atomic_write(folder / "card" / f"{picture}.png") as path:
                shutil.copyfile(run / f"{picture}.png", path)
    names = [name for key in NUMBERS for name in (key, f"{key}_stderr") if name in results]
    return write_model_card(
        vae,
        folder,
        data=_data(settings),
        numbers={name: results[name] for name in names},
        command=command_of(settings_of_all, results["num_importance_samples"]),
        sections={
            "Training": _training(settings_of_all, results),
            "Intended use and limits": _limits(settings, vae),
        },
        overwrite=overwrite,
    )


def command_of(settings: TrainingSettings, num_importance_samples: int) -> str:
    """The command that trains again with the same settings.

    It names the recipe of the settings, unless they leave something out that the recipe has by now
    and no option can take away.

    Args:
        settings: The settings.
        num_importance_samples: Latents per image for log p(x) of the held-out images.
    """
    usual = TrainingSettings.merged(recipe=settings.recipe).replace(recipe=None)
    words = ["tfvae", "train"]
    for name, value in settings:
        if value == getattr(usual, name) or name in _OF_MACHINE:
            continue
        if value is None and name in _OPTIONS_WITH_NONE:
            value = NONE
        if value is None or value is False:
            return command_of(settings.replace(recipe=None), num_importance_samples)
        words.append(f"--{name.replace('_', '-')}")
        if not isinstance(value, bool):
            words += map(str, value) if isinstance(value, tuple) else [str(value)]
    if num_importance_samples != settings.num_importance_samples:
        words += ["--num-importance-samples", str(num_importance_samples)]
    return shlex.join(words)


def _portable(settings: TrainingSettings) -> TrainingSettings:
    """The settings without what is of the machine."""
    initial = settings.initial_model
    is_path = initial is not None and initial not in pretrained.names()
    return settings.replace(
        data_dir=None,
        strategy="auto",
        initial_model=_INITIAL_MODEL if is_path else initial,
    )


def _without_optimizer(vae: VAE) -> VAE:
    """An equal model that is not compiled: the state of Adam is twice the size of the weights."""
    copy = VAE.from_config(vae.get_config())
    initialization.copy_weights(vae, copy)
    return copy


def _results_on_test(vae, settings, run):
    results = json.loads((run / runs.RESULTS).read_text(encoding="utf-8"))
    if results["settings"]["split"] == "test":
        return results
    measured = training.evaluate(
        vae, settings, split="test", num_importance_samples=results["num_importance_samples"]
    )
    return measured | {name: results[name] for name in ("epochs", "best_epoch", "seconds")}


def _data(settings):
    description = describe_dataset(settings.dataset, settings.data_dir)
    counts, (height, width, _) = splits.sizes(settings, description), description.image_shape
    sampled = {
        "dynamic": "dynamic binarisation; the held-out images were sampled once, from seed "
        f"{splits.EVALUATION_SEED}",
        "fixed": "binarised once by sampling",
        "threshold": "binarised at a half",
        "none": "as they are stored",
    }
    return (
        f"`{description.name}`: {counts['train']:,} images to train on, {counts['validation']:,} "
        f"to choose the epoch, {counts['test']:,} held out, {height} x {width} pixels, "
        f"{sampled[settings.binarization]}."
    )


def _training(settings: TrainingSettings, results: dict[str, Any]) -> str:
    objective = {
        "elbo": "the ELBO",
        "iwae": f"the importance-weighted bound of {settings.num_samples} samples",
    }[settings.objective]
    if settings.gradient_estimator == "doubly_reparameterized":
        objective += " with the doubly reparameterized gradient (arXiv:1810.04152)"
    if settings.num_resampled is not None:
        objective += f", its gradient through {settings.num_resampled} resampled ones alone"
    start = "" if settings.initial_model is None else f" from `{settings.initial_model}` on,"
    text = (
        f"Seed {settings.seed};{start} {results['epochs']} epochs of {settings.batch_size} images "
        f"a step on {objective}, in {results['seconds']:,.0f} seconds; the weights are those of "
        f"epoch {results['best_epoch']}, the best on the validation images."
    )
    if settings.recipe is None:
        return text
    recipe = recipes.load(settings.recipe)
    changed = _changes(settings)
    if changed:
        return (
            f"{text}\n\nRecipe `{recipe.name}` ({recipe.summary}), but with other settings "
            f"({', '.join(changed)}): its published number is not one of this model."
        )
    paper = recipe.paper
    doubt = "" if paper.is_checked else ", quoted from memory and not read in the paper"
    place = f", arXiv:{paper.arxiv}" if paper.arxiv else ""
    return (
        f"{text}\n\nRecipe `{recipe.name}`: {recipe.summary}. Published: -log p(x) of "
        f"{paper.negative_log_likelihood:.2f} nats{doubt} ({paper.authors}. {paper.title}. "
        f"{paper.year}{place}; {paper.table}; {paper.estimator})."
    )


def _changes(settings: TrainingSettings) -> list[str]:
    """The names of the settings that are not those of their recipe."""
    usual = TrainingSettings.merged(recipe=settings.recipe)
    return [
        name for name, value in settings if name not in _OF_RUN and value != getattr(usual, name)
    ]


def _limits(settings, vae):
    height, width, _ = vae.image_shape
    of_bound = ""
    if settings.objective == "iwae":
        of_bound = (
            f" Its encoder was trained for {settings.num_samples} samples an image, weighted "
            "by their importance: a single one is worse than one of a model that was trained on "
            "the ELBO, and so is its ELBO."
        )
    return (
        "For experiments with likelihoods, posteriors and samples, as weights to start training "
        f"from (`--initial-model`), and to compare numbers with. It models {height} x {width} "
        f"images like those of `{settings.dataset}`, and its samples resemble them. Its likelihood "
        "of other images says little, high values included; q(Z|x) is an approximation of the "
        f"posterior, as far off as the posterior gap says.{of_bound} Of log p(x), the estimate is "
        "on average too low, the more so the smaller the effective sample size. "
        "`log_likelihood_monte_carlo_stderr` is the noise of its importance samples, which another "
        "seed would draw anew. It was made to decide nothing about anyone."
    )
