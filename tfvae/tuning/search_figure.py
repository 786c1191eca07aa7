"""The figure of a search: what the latent size does to the validation images."""

import itertools

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from tfvae.figures.drawing import GRAY, PALETTE, PANEL_TITLE_SIZE, hide_frame, new_figure
from tfvae.tuning.results import SearchResult

# Without the palette's gray, which looks like no result.
PANELS = {
    "val_elbo": ("ELBO", PALETTE[0]),
    "val_log_likelihood": (r"$\log\,p(x)$, importance-weighted", PALETTE[1]),
    "val_kl": (r"KL$(q(Z \mid x) \,\|\, p(Z))$", PALETTE[2]),
    "val_active_units": ("active units", PALETTE[4]),
}


def draw(result: SearchResult) -> Figure:
    """Draws ELBO, log p(x), KL and active units of the best trial of each latent size."""
    figure = new_figure(height=6.4)
    figure.suptitle("Validation images, by the size of z")
    sizes = np.array([trial.latent_dim for trial in result.sizes])
    panels = figure.subplots(2, 2, sharex=True).flat
    for axes, (name, (title, color)) in zip(panels, PANELS.items(), strict=True):
        hide_frame(axes)
        axes.set_title(title, loc="left", fontsize=PANEL_TITLE_SIZE)
        axes.set_ylabel("nats per image")
        values = np.array([trial.numbers[name] for trial in result.sizes])
        errors = np.array([trial.numbers[f"{name}_stderr"] for trial in result.sizes])
        axes.errorbar(sizes, values, errors, color=color, marker="o", markersize=4, capsize=2.5)
        axes.axvline(result.latent_dim, color=GRAY, linestyle=":", zorder=0)
        label, chosen = f"chosen: {result.latent_dim}", result.chosen.numbers[name]
        axes.plot(result.latent_dim, chosen, "ko", markersize=11, fillstyle="none", label=label)
        if name == result.objective:
            best, label = np.argmax(values), "one standard error"
            bounds = values[best] - errors[best], values[best]
            axes.axhspan(*bounds, color=color, alpha=0.2, linewidth=0, label=label)
            axes.legend(loc="lower right", edgecolor="none")
        if name == "val_active_units":
            axes.set_ylabel("latent dimensions")
            axes.plot(sizes, sizes, "--", color=GRAY, label="as many as there are")
            # The dashed line leaves at the top.
            axes.set_ylim(0, 1.15 * max(2, *values))
            axes.yaxis.set_major_locator(MaxNLocator(integer=True))
            axes.legend(loc="upper left", edgecolor="none")
        axes.set_xscale("log")
        # Numbers that are close would run into each other.
        ticks = [sizes[0], *(b for a, b in itertools.pairwise(sizes) if b > 1.25 * a)]
        axes.set_xticks(ticks, list(map(str, ticks)))
        axes.xaxis.set_minor_locator(NullLocator())
    for axes in figure.axes[2:]:
        axes.set_xlabel("latent dimensions")
    return figure
