"""From the folder of a finished run to a model that others load, serve and judge by its card."""

import contextlib
import shlex
import shutil
from pathlib import Path

from tfvae.common.errors import InputError
from tfvae.common.files import (
    LOCK,
    atomic_write,
    check_output_file,
    locked,
    read_json,
    remove_half_written,
    write_text,
)
from tfvae.common.validation import NONE
from tfvae.datasets import describe_dataset
from tfvae.serving import export_saved_model
from tfvae.training import job, model_card, pretrained, runs
from tfvae.training.settings import MACHINE, TrainingSettings, option_of

PICTURES = ("reconstructions", "samples", "training_curves")


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
    """
    if not (run / runs.RESULTS).is_file():
        raise InputError(
            f"there is no finished run in {run}: its {runs.RESULTS} is missing. `tfvae train "
            f"--resume {run}` goes on with a run that was killed"
        )
    if folder.exists() and folder.samefile(run):
        raise InputError(f"{folder} is the run itself: publish it into another folder")
    for name in (runs.MODEL, "card/README.md"):
        check_output_file(folder / name, overwrite=overwrite)
    card = folder / "card"
    with locked(run, "another process trains"), locked(card, "another process publishes"):
        try:
            # Versions have numbers, and another export may be writing one.
            remove_half_written(folder, names="[!0-9]*")
            return _publish(run, folder, {} if data_dir is None else {"data_dir": data_dir})
        finally:
            (card / LOCK).unlink()
            with contextlib.suppress(OSError):  # Where something is published.
                card.rmdir()
                folder.rmdir()


def _publish(run, folder, given):
    settings = TrainingSettings.of_run(run / runs.SETTINGS, **given)
    # The state of the optimizer is twice the size of the weights.
    vae = runs.load_vae(run, compiled=False)
    results = read_json(run / runs.RESULTS)
    try:
        settings = settings.replace(num_importance_samples=results["num_importance_samples"])
        if results["settings"]["split"] != "test":
            settings = settings.replace(split="test")
            results |= job.evaluate(vae, settings) | {"seconds": results["seconds"]}
        portable = TrainingSettings(**settings.model_dump(exclude=settings.under(MACHINE)))
        if portable.initial_model not in (None, *pretrained.names()):
            portable = portable.replace(initial_model="INITIAL_MODEL")  # In place of a path.
        pictures = [name for name in PICTURES if (run / f"{name}.png").is_file()]
        text = model_card.fill_card(
            vae,
            portable,
            describe_dataset(settings.dataset, settings.data_dir),
            results,
            name=folder.name,
            command=command_of(portable),
            pictures=pictures,
        )
    except (KeyError, TypeError) as error:
        raise InputError(f"{run / runs.RESULTS} is damaged: {error!r} is missing") from error
    # Everything is known now. A card goes before the model that it is of, and comes after it: one
    # that is there always tells of the model beside it.
    card = folder / "card" / "README.md"
    card.unlink(missing_ok=True)
    with atomic_write(folder / runs.MODEL) as path:
        vae.save(path)
    write_text(folder / runs.SETTINGS, portable.to_json())
    export_saved_model(vae, folder)
    for name in pictures:
        with atomic_write(card.parent / f"{name}.png") as path:
            shutil.copyfile(run / f"{name}.png", path)
    write_text(card, text)
    return card


def command_of(settings: TrainingSettings) -> str:
    """The command that trains again with the same settings."""
    usual = TrainingSettings.merged(recipe=settings.recipe).replace(recipe=None)
    words = ["tfvae", "train"]
    for name, value in settings:
        if value == getattr(usual, name) or name in settings.under(MACHINE):
            continue
        option = option_of(name)
        words.append(option.replace("--", "--no-", 1) if value is False else option)
        if not isinstance(value, bool):
            values = value if isinstance(value, tuple) else (NONE if value is None else value,)
            words += map(str, values)
    return shlex.join(words)
