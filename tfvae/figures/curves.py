"""Curves: of training over the epochs, and of the estimates of log p(x) over their samples."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tfvae.common.checks import check_choice
from tfvae.common.errors import InputError
from tfvae.figures import drawing
from tfvae.inference import Bounds


def training_curves(history: Mapping[str, Sequence[float]], *, monitor: str = "val_elbo") -> Figure:
    """Draws the ELBO and its two terms over the epochs, for training and validation.

    Args:
        history: Columns of equal length, as in `history.csv` or Keras's `History.history`: `elbo`,
            and where there are any `loss`, `reconstruction`, `kl`, and the same with `val_`, in
            nats per image, and `epoch` (1, 2, ... where missing). What is not finite is left out.
        monitor: What the best epoch was chosen by: `"val_elbo"`, or `"val_loss"` for an objective
            other than the ELBO, which is then drawn, too.

    Returns:
        A figure with a panel per quantity and the best epoch marked, by the training's own values
        where there are none of a validation. Epochs far off the rest lie beyond the axes.
    """
    check_choice("monitor", monitor, ("val_elbo", "val_loss"))
    titles = {"elbo": "ELBO", "reconstruction": "reconstruction", "kl": "KL"}
    if monitor == "val_loss":
        titles = {"loss": "objective", **titles}
    first = next(iter(titles))
    columns = {
        # What is maximized is the loss with the other sign.
        name: (-1 if name.endswith("loss") else 1) * np.asarray(values, np.float64)
        for name, values in history.items()
        if name.removeprefix("val_") in ("epoch", *titles)
    }
    lengths = {name: len(values) for name, values in columns.items()}
    if lengths.get(first, 0) == 0 or len(set(lengths.values())) > 1:
        raise InputError(
            f"a training history must have a column {first!r}, at least one epoch, and columns of "
            f"equal length; got columns {list(history)} with lengths {lengths}"
        )
    columns = {name: np.where(np.isfinite(x), x, np.nan) for name, x in columns.items()}
    epochs = columns.get("epoch", np.arange(1, lengths[first] + 1))
    deciding = columns.get(monitor, columns[first])
    if np.isnan(deciding).all():
        deciding = columns[first]
    best = None if np.isnan(deciding).all() else int(np.nanargmax(deciding))
    panels = [name for name in titles if name in columns]
    num_rows = max(len(panels) - 1, 1)
    figure = drawing.new_figure(height=4.4 if num_rows < 3 else 5.4)
    grid = figure.add_gridspec(num_rows, 5)
    for row, name in enumerate(panels):
        axes = figure.add_subplot(grid[:, :3] if row == 0 else grid[row - 1, 3:])
        names = {"training": name, "validation": f"val_{name}"}
        curves = {label: columns[key] for label, key in names.items() if key in columns}
        _draw_over_epochs(axes, epochs, curves, best)
        drawing.title_panel(axes, titles[name], loc="left")
        axes.set_ylabel("nats per image")
        if row in (0, len(panels) - 1):
            axes.set_xlabel("epoch")
    if best is not None:
        label = f"best: epoch {epochs[best]:g} (${deciding[best]:.2f}$)"
        figure.axes[0].plot([], [], color=drawing.GRAY, linestyle=":", label=label)
        figure.axes[0].legend(loc="best", edgecolor="none")
    figure.suptitle("Training")
    return figure


def _draw_over_epochs(
    axes: Axes, epochs: np.ndarray, curves: Mapping[str, np.ndarray], best: int | None
) -> None:
    """Draws curves by label, says how many epochs lie off the axis, and marks the best one."""
    drawing.hide_frame(axes)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    for (label, values), color in zip(curves.items(), drawing.PALETTE, strict=False):
        drawn = np.isfinite(values)
        # A line alone hides single points, and where values are missing.
        marker = "o" if drawn.sum() < 15 or not drawn.all() else ""
        (line,) = axes.plot(epochs[drawn], values[drawn], color=color, label=label)
        line.set(marker=marker, markersize=3.5)
    values = np.stack(list(curves.values()))
    finite = np.isfinite(values)
    note = "no finite value"
    if finite.any():
        at_best = [] if best is None else values[finite[:, best], best]
        low, high = drawing.robust_limits(values[finite], keep=at_best)
        axes.set_ylim(low, high)
        count = int(((values < low) | (values > high)).any(axis=0).sum())
        note = f"{count} epoch{'s' if count > 1 else ''} off the axis" if count else ""
    axes.set_title(note, loc="right", fontsize=8, color=drawing.GRAY)
    if best is not None:
        axes.axvline(epochs[best], color=drawing.GRAY, linestyle=":")


def likelihood_bounds(bounds: Mapping[str, Bounds], *, num_steps: int = 500) -> Figure:
    """Draws estimates of log p(x) against their number of samples, with two standard errors.

    Args:
        bounds: By method, as `tfvae.inference.bounds_by_num_samples` gives them.
        num_steps: The temperatures of `annealed`, for its name.

    Returns:
        A figure of all estimates, and beside them the best ones enlarged.
    """
    styles = {
        "prior": (r"prior: $z \sim p(Z)$", drawing.PALETTE[1], "s"),
        "importance": (r"importance: $z \sim q(Z \mid x)$", drawing.PALETTE[0], "o"),
        "annealed": (f"annealed: chains of {num_steps} temperatures", drawing.PALETTE[2], "^"),
    }
    figure = drawing.new_figure(height=4.2, width=9.0)
    panels = figure.subplots(1, 2)
    for axes in panels:
        for method, bound in bounds.items():
            style = dict(zip(("label", "color", "marker"), styles[method], strict=True))
            errors = 2 * np.nan_to_num(bound.standard_error, posinf=0.0)
            axes.errorbar(*bound[:2], yerr=errors, capsize=3, **style)
        axes.set_xscale("log")
        axes.set_xlabel("samples (annealed: chains) per image")
        drawing.hide_frame(axes)
        axes.grid(alpha=0.3)
    # Beside the naive estimate, the others look like one flat line.
    close = [mean for method, bound in bounds.items() if method != "prior" for mean in bound.mean]
    if close:
        low, high = min(close), max(close)
        margin = 0.1 * (high - low) or 1.0
        panels[1].set_ylim(low - margin, high + margin)
    panels[0].set_ylabel(r"mean estimate of $\log p(x)$ in nats")
    panels[0].set_title("all estimates")
    panels[1].set_title("the best, enlarged")
    panels[0].legend(frameon=False)
    figure.suptitle("Lower bounds on the log-likelihood")
    return figure
