"""From the folder of a finished run to a model that others load, serve and judge by its card."""

import json
import shlex
import shutil
from pathlib import Path

from tfvae.common.errors import InputError
from tfvae.common.files import atomic_write
from tfvae.common.validation import NONE
from tfvae.datasets import describe_dataset
from tfvae.serving import export_saved_model
from tfvae.training import job, model_card, pretrained, runs
from tfvae.training.settings import TrainingSettings

PICTURES = ("reconstructions", "samples", "training_curves")

# Of the machine that trained a model, not of the model.
_SETTINGS_OF_A_MACHINE = ("data_dir", "strategy")


def publish(
    run: Path, folder: Path, *, data_dir: str | None = None, overwrite: bool = False
) -> Path:
    """Publishes a finished run: the model without its optimizer, a served version, and a card.

    The numbers of the card are of the test images. If the run was evaluated on others, they are
    measured now, from as many importance samples.

    Args:
        run: The folder of the run.
        folder: `saved_models/<model>`; a served version is added to those that are there.
        data_dir: The TFDS data directory, if it is not that of the run any more.
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
    model, card = folder / runs.MODEL, folder / "card" / "README.md"
    for file in (model, card):
        if file.exists() and not overwrite:
            raise InputError(f"{file} is there already: give --overwrite to replace it")
    given = {} if data_dir is None else {"data_dir": data_dir}
    settings = TrainingSettings.of_run(run / runs.SETTINGS, **given)
    # The state of the optimizer is twice the size of the weights.
    vae = runs.load_vae(run, compiled=False)
    results = json.loads((run / runs.RESULTS).read_text(encoding="utf-8"))
    num_importance_samples = results["num_importance_samples"]
    if results["settings"]["split"] != "test":
        results |= job.evaluate(
            vae, settings, split="test", num_importance_samples=num_importance_samples
        ) | {"seconds": results["seconds"]}
    with atomic_write(model) as path:
        vae.save(path)
    portable = _without_machine(settings)
    runs.write_text(folder / runs.SETTINGS, portable.to_json())
    export_saved_model(vae, folder)
    pictures = [name for name in PICTURES if (run / f"{name}.png").is_file()]
    for name in pictures:
        with atomic_write(card.parent / f"{name}.png") as path:
            shutil.copyfile(run / f"{name}.png", path)
    text = model_card.fill_card(
        vae,
        portable,
        describe_dataset(settings.dataset, settings.data_dir),
        results,
        name=folder.name,
        command=command_of(portable, num_importance_samples),
        pictures=pictures,
    )
    runs.write_text(card, text)
    return card


def command_of(settings: TrainingSettings, num_importance_samples: int) -> str:
    """The command that trains again with the same settings and as many importance samples."""
    usual = TrainingSettings.merged(recipe=settings.recipe).replace(recipe=None)
    words = ["tfvae", "train"]
    for name, value in settings:
        if value == getattr(usual, name) or name in _SETTINGS_OF_A_MACHINE:
            continue
        option = name.replace("_", "-")
        words.append(f"--no-{option}" if value is False else f"--{option}")
        if not isinstance(value, bool):
            values = value if isinstance(value, tuple) else (NONE if value is None else value,)
            words += map(str, values)
    if num_importance_samples != settings.num_importance_samples:
        words += ["--num-importance-samples", str(num_importance_samples)]
    return shlex.join(words)


def _without_machine(settings: TrainingSettings) -> TrainingSettings:
    initial_model = settings.initial_model
    if initial_model is not None and initial_model not in pretrained.names():
        initial_model = "INITIAL_MODEL"  # In place of a path.
    return settings.replace(data_dir=None, strategy="auto", initial_model=initial_model)
