"""`tfvae recipes`."""

import typer
from rich.console import Console
from rich.table import Table

from tfvae import recipes
from tfvae.cli.app import app


@app.command(name="recipes")
def list_recipes() -> None:
    """List the recipes of `tfvae train --recipe`, with the published numbers and ours."""
    table = Table(box=None, pad_edge=False, show_edge=False)
    for heading, justify in (
        ("recipe", "left"),
        ("what", "left"),
        ("published", "right"),
        ("ours", "right"),
        ("paper", "left"),
    ):
        table.add_column(heading, justify=justify, no_wrap=heading in ("recipe", "published"))
    for name in recipes.names():
        recipe = recipes.load(name)
        paper = recipe.paper
        ours = [
            f"{run.negative_log_likelihood:.2f} ± {run.standard_error:.2f}" for run in recipe.ours
        ]
        arxiv = f", arXiv:{paper.arxiv}" if paper.arxiv else ""
        table.add_row(
            name,
            recipe.summary,
            f"{paper.negative_log_likelihood:.2f}",
            "\n".join(ours) or "-",
            f"{paper.authors} {paper.year}{arxiv}",
        )
    console = Console()
    console.print(table)
    console.print("-log p(x) of the test images, in nats per image; ± is one standard error.")
    typer.echo("Run one with `tfvae train --recipe NAME`.")
