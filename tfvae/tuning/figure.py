"""The figure of a search: what the latent size does to the validation images."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from tfvae.figures.drawing import (
    GRAY,
    PALETTE,
    PANEL_TITLE_SIZE,
    hide_frame,
    new_figure,
    robust_limits,
)

if TYPE_CHECKING:
    from tfvae.tuning.results import TrialResult

# Without the palette's grey, which is for what is no result.
COLOURS = (*PALETTE[:3], PALETTE[4])

TITLES = {
    "val_elbo": "ELBO",
    "val_log_likelihood": r"$\log\,p(x)$, importance-weighted",
    "val_kl": r"KL$(q(Z \mid x) \,\|\, p(Z))$",
    "active_units": "active units",
}


def draw(
    trials: Sequence["TrialResult"],
    sizes: Sequence["TrialResult"],
    objective: str,
    chosen: "TrialResult",
) -> Figure:
    """Draws ELBO, log-likelihood, KL and active units against the latent size.

    Lines join the best trial of each size, with bars of one standard error; other trials are dots.

    Args:
        trials: Completed trials.
        sizes: The best of them of each latent size, from the smallest size on.
        objective: What was maximised; its panel shows what is within one standard error of the
            best.
        chosen: The trial to mark.

    Returns:
        The figure.
    """
    figure = new_figure(height=6.4)
    latent_dims = [trial.values["latent_dim"] for trial in sizes]
    best = max(sizes, key=lambda trial: trial.mean(objective))
    panels = figure.subplots(2, 2, sharex=True).flat
    for axes, (name, title), colour in zip(panels, TITLES.items(), COLOURS, strict=True):
        hide_frame(axes)
        axes.set_title(title, loc="left", fontsize=PANEL_TITLE_SIZE)
        counts = name == "active_units"
        axes.set_ylabel("latent dimensions" if counts else "nats per image")
        values = [trial.mean(name) for trial in sizes]
        errors = [_spread_of_units(t) if counts else t.standard_error(name) for t in sizes]
        if name == objective:
            top = best.mean(name)
            axes.axhspan(
                top - best.standard_error(name),
                top,
                color=colour,
                alpha=0.2,
                linewidth=0,
                label="one standard error",
            )
        if counts:
            axes.plot(
                latent_dims, latent_dims, color=GRAY, linestyle="--", label="as many as there are"
            )
            axes.set_ylim(0, 1.15 * max(2, *values))
            axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        others = [trial for trial in trials if trial not in sizes]
        axes.scatter(
            [trial.values["latent_dim"] for trial in others],
            [trial.mean(name) for trial in others],
            color=colour,
            alpha=0.4,
            s=12,
        )
        axes.errorbar(
            latent_dims, values, yerr=errors, color=colour, marker="o", markersize=4, capsize=2.5
        )
        axes.axvline(chosen.values["latent_dim"], color=GRAY, linestyle=":", zorder=0)
        axes.plot(
            [chosen.values["latent_dim"]],
            [chosen.mean(name)],
            marker="o",
            markersize=11,
            markerfacecolor="none",
            markeredgecolor="black",
            linestyle="none",
            label=f"chosen: {chosen.values['latent_dim']}" if name == objective else None,
        )
        if others and not counts:
            # Trials that went astray would flatten the rest.
            axes.set_ylim(
                robust_limits(
                    _array([trial.mean(name) for trial in trials]),
                    keep=[*_array(values) - _array(errors), *_array(values) + _array(errors)],
                )
            )
        if name == objective or counts:
            # The curves rise to the right, and the dashed line leaves at the top.
            axes.legend(loc="upper left" if counts else "lower right", edgecolor="none")
    for axes in figure.axes:
        axes.set_xscale("log")
        axes.set_xticks(*_ticks(latent_dims))
        axes.xaxis.set_minor_locator(NullLocator())
    for axes in figure.axes[2:]:
        axes.set_xlabel("latent dimensions")
    figure.suptitle("Validation images, by the size of z")
    return figure


def _ticks(latent_dims):
    """The sizes, as far as their numbers do not run into each other."""
    ticks: list[int] = []
    for latent_dim in latent_dims:
        if not ticks or latent_dim / ticks[-1] > 1.25:
            ticks.append(latent_dim)
    return ticks, list(map(str, ticks))


def _array(numbers):
    return np.asarray(numbers, np.float64)


def _spread_of_units(trial):
    spread = trial.spread("active_units") or 0.0
    return spread / math.sqrt(len(trial.executions))
