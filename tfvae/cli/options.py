"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer
import typer.core

from tfvae.training.settings import Binarization, Strategy


class SeveralValues(typer.core.TyperCommand):
    """Lets options that may be repeated take several values at once: `--latent-dims 2 4 8`."""

    def parse_args(self, context, arguments):
        """Repeats the option before each of its further values."""
        repeatable = {
            name
            for option in self.params
            if getattr(option, "multiple", False)
            for name in option.opts
        }
        spread, current, values = [], None, 0
        for argument in arguments:
            if argument.startswith("--") or argument == "-h":
                current, values = argument, 0
            elif current in repeatable:
                values += 1
                spread += [current] if values > 1 else []
            spread.append(argument)
        return super().parse_args(context, spread)


ModelArgument = Annotated[
    Path,
    typer.Argument(help="A .keras file, the folder of a training run, or a pretrained model."),
]
DatasetOption = Annotated[
    str | None,
    typer.Option(help="digits, mnist, ...: any TFDS data set with one image a record."),
]
DataDirOption = Annotated[str | None, typer.Option(help="The TFDS data directory.")]
SplitOption = Annotated[str, typer.Option(help="train, validation, test, or a TFDS slice of one.")]
BinarizationOption = Annotated[
    Binarization | None, typer.Option(help="How grey images become binary.")
]
BatchSizeOption = Annotated[int | None, typer.Option(help="Images a batch.")]
StrategyOption = Annotated[
    Strategy | None,
    typer.Option(help="The devices: one, all of this machine, or those of TF_CONFIG."),
]
SeedOption = Annotated[int | None, typer.Option(help="Of everything random.")]
NumImportanceSamplesOption = Annotated[
    int | None,
    typer.Option(
        "--num-importance-samples",
        help="Importance samples an image, for log p(x).",
        show_default="500, or the recipe's",
    ),
]
JsonOption = Annotated[Path | None, typer.Option("--json", help="Also write the numbers here.")]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Replace the output where it exists.")
]
