"""`tfvae recipes`."""

import typer

from tfvae.cli.app import app
from tfvae.training import recipes


@app.command(name="recipes")
def list_recipes() -> None:
    """List the recipes of `tfvae train --recipe`, with the published numbers and ours."""
    typer.echo("-log p(x) of the test images, in nats per image, mean ± standard error:\n")
    for name in recipes.names():
        recipe = recipes.load(name)
        paper = recipe.paper
        ours = [_line_of(result, recipe.num_importance_samples) for result in recipe.ours]
        place = f"arXiv:{paper.arxiv}, " if paper.arxiv else ""
        typer.echo(f"{name}: {recipe.summary}")
        doubt = "" if paper.is_checked else "; quoted from memory, not read in the paper"
        typer.echo(f"  published  {paper.negative_log_likelihood:.2f} ({paper.estimator}{doubt})")
        typer.echo(f"  ours       {', '.join(ours) or 'not measured'}")
        typer.echo(f"  {paper.authors} {paper.year}, {place}{paper.table}\n")
    typer.echo("Run one with `tfvae train --recipe NAME`.")


def _line_of(result: recipes.Result, num_importance_samples: int) -> str:
    cores = f" on {result.num_cores} cores" if result.num_cores > 1 else ""
    how = [
        f"seed {result.seed}",
        f"{result.seconds / 60:.0f} min{cores}",
        f"{result.num_importance_samples or num_importance_samples:,} samples",
    ]
    if result.as_published is not None:
        how.append(f"{result.as_published:.2f} from as many as the published")
    number = f"{result.negative_log_likelihood:.2f} ± {result.standard_error:.2f}"
    return f"{number} ({', '.join(how)})"
