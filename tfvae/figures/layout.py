"""What figures are made of: their width and colours, grids of images, and the file they go to.

`pyplot` is not used, so a figure belongs to its caller alone: it can be drawn in any thread and on
a machine without a screen.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from tfvae.common.errors import InputError
from tfvae.common.files import atomic_write
from tfvae.common.images import check_image_array

WIDTH = 8.0
"""Width of a figure in inches: 800 pixels at the 100 dpi for which its fonts are chosen."""

DOTS_PER_INCH = 150

# Accessible to the colour-blind: Petroff, "Accessible Color Sequences for Data Visualization",
# 2021, arXiv:2107.02270.
PALETTE: Sequence[str] = matplotlib.color_sequences["petroff10"]
GREY = "0.45"

PANEL_TITLE_SIZE = 11
MARGIN = 0.06


def save_figure(figure: Figure, path: str | os.PathLike) -> None:
    """Writes a figure to a file that is whole or absent; the ending of its name is the format.

    Args:
        figure: What to write.
        path: Where to; `.png` for documents, `.pdf` or `.svg` for slides.

    Raises:
        InputError: If matplotlib writes no files with this ending.
        OSError: If the place cannot be written.
    """
    formats = figure.canvas.get_supported_filetypes()
    if Path(path).suffix.removeprefix(".").lower() not in formats:
        raise InputError(
            f"a figure cannot be written to {os.fspath(path)!r}: "
            f"end the name with one of {', '.join('.' + name for name in sorted(formats))}"
        )
    with atomic_write(path) as beside:
        figure.savefig(beside, dpi=DOTS_PER_INCH)


def image_grid(images: ArrayLike, *, columns: int | None = None, padding: int = 1) -> np.ndarray:
    """Puts images side by side into one, row by row, on white.

    Args:
        images: `[count, height, width, channels]` in [0, 1], with 1 channel (grey) or 3 (RGB).
        columns: Images in a row; if None, as many as make the grid about square, and full where
            the count allows.
        padding: White pixels between two images.

    Returns:
        uint8 `[rows * (height + padding) - padding, columns * (width + padding) - padding,
        channels]`; what `tf.summary.image` takes once it has a batch dimension.

    Raises:
        InputError: If the images have another shape or other values, or are none.

    Example:
        >>> grid = image_grid(vae.sample(64, seed=0))
        >>> tf.summary.image("samples", grid[np.newaxis], step=epoch)
    """
    name = "images to be drawn"
    images = check_image_array(images, None, name, floating=False, nonempty=True)
    if images.shape[-1] not in (1, 3):
        raise InputError(f"{name} must have 1 or 3 channels; got {list(images.shape)}")
    count, height, width, channels = images.shape
    columns = _square_columns(count, height, width) if columns is None else columns
    if columns < 1:
        raise InputError(f"a grid of images must have at least 1 column; got {columns}")
    rows = -(-count // columns)
    cells = np.full((rows * columns, height + padding, width + padding, channels), 255, np.uint8)
    cells[:count, :height, :width] = np.rint(images.astype(np.float32) * 255.0)
    grid = cells.reshape(rows, columns, height + padding, width + padding, channels)
    grid = grid.swapaxes(1, 2).reshape(
        rows * (height + padding), columns * (width + padding), channels
    )
    return grid[: len(grid) - padding, : grid.shape[1] - padding]


def _square_columns(count: int, height: int, width: int) -> int:
    square = np.sqrt(count * height / width)
    full = [columns for columns in range(count, 0, -1) if count % columns == 0]
    nearest = min(full, key=lambda columns: max(columns / square, square / columns))
    if 0.6 < nearest / square < 1.7:
        return nearest
    return int(np.clip(np.ceil(square), 1, count))


def new_figure(*, height: float, width: float = WIDTH) -> Figure:
    """A figure with nothing on it, that leaves no gaps between axes of fixed aspect.

    Args:
        height: In inches.
        width: In inches.

    Returns:
        The figure, with a canvas that needs no screen.
    """
    figure = Figure(figsize=(width, height), layout="compressed")
    FigureCanvasAgg(figure)
    figure.get_layout_engine().set(w_pad=MARGIN, h_pad=MARGIN)
    return figure


def trim_height(figure: Figure) -> Figure:
    """Makes a figure as high as what is on it, so that images neither shrink nor float.

    Args:
        figure: Drawn higher than it needs to be.

    Returns:
        The same figure.
    """
    figure.draw_without_rendering()
    figure.set_figheight(figure.get_tightbbox().height + 2 * MARGIN)
    return figure


def hide_frame(axes: Axes) -> None:
    """Leaves of the box around axes only the two sides with ticks."""
    axes.spines[["top", "right"]].set_visible(False)


def draw_images(
    axes: Axes,
    images: ArrayLike,
    *,
    columns: int | None = None,
    padding: int = 1,
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
) -> None:
    """Draws a grid of images, pixel by pixel with no scaling of their values.

    Args:
        axes: Where to.
        images: `[count, height, width, channels]`, as for `image_grid`.
        columns: As for `image_grid`.
        padding: As for `image_grid`.
        row_labels: At the left of each row; an empty one is left out.
        column_labels: Under each column; an empty one is left out.
    """
    grid = image_grid(images, columns=columns, padding=padding)
    axes.imshow(np.broadcast_to(grid, (*grid.shape[:2], 3)))
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    height, width = np.shape(images)[1:3]
    for axis, labels, size in (
        (axes.yaxis, row_labels, height),
        (axes.xaxis, column_labels, width),
    ):
        named = {
            i * (size + padding) + (size - 1) / 2: name for i, name in enumerate(labels) if name
        }
        axis.set_ticks(list(named), list(named.values()))


def draw_curves(
    axes: Axes,
    epochs: np.ndarray,
    *,
    curves: Mapping[str, np.ndarray | None],
    mark: int | None = None,
) -> None:
    """Draws curves over the epochs, without values that are not finite.

    Args:
        axes: Where to; a note on it says how many epochs lie beyond it, far off the rest.
        epochs: `[n]`.
        curves: By label, `[n]` each, or None for none.
        mark: The index of an epoch that is marked, and whose values stay in sight.
    """
    hide_frame(axes)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    curves = {
        label: values
        for label, values in curves.items()
        if values is not None and np.isfinite(values).any()
    }
    if not curves:
        axes.set(xticks=[], yticks=[])
        axes.text(0.5, 0.5, "no finite value", transform=axes.transAxes, ha="center", color=GREY)
        return
    for (label, values), colour in zip(curves.items(), PALETTE, strict=False):
        drawn = np.isfinite(values)
        # A line alone hides single points, and where values are missing.
        marker = "o" if drawn.sum() < 15 or not drawn.all() else None
        axes.plot(
            epochs[drawn], values[drawn], color=colour, label=label, marker=marker, markersize=3.5
        )
    all_values = np.stack(list(curves.values()))
    at_mark = all_values[:, [] if mark is None else [mark]]
    low, high = robust_limits(
        all_values[np.isfinite(all_values)], keep=at_mark[np.isfinite(at_mark)]
    )
    axes.set_ylim(low, high)
    if mark is not None:
        axes.axvline(epochs[mark], color=GREY, linestyle=":")
    outside = np.isfinite(all_values) & ((all_values < low) | (all_values > high))
    if count := int(outside.any(axis=0).sum()):
        note = f"{count} epoch{'s' if count > 1 else ''} off the axis"
        axes.set_title(note, loc="right", fontsize=8, color=GREY)


def robust_limits(values: np.ndarray, *, keep: Sequence[float] = ()) -> tuple[float, float]:
    """Limits of an axis that outliers do not stretch.

    Left out are only values outside Tukey's fences (1.5 interquartile ranges off the quartiles),
    and at most the tenth of the values at each end.

    Args:
        values: `[n]`, finite.
        keep: Values that must be inside.

    Returns:
        The lower and the upper limit, with a margin of a twentieth.
    """
    tenth, lower, upper, last_tenth = np.quantile(values, [0.1, 0.25, 0.75, 0.9])
    reach = 1.5 * (upper - lower)
    above = values >= min(tenth, lower - reach)
    below = values <= max(last_tenth, upper + reach)
    inside = [*values[above & below], *keep]
    low, high = float(min(inside)), float(max(inside))
    # One constant value has no range to take a margin of.
    margin = 0.05 * (high - low) or max(1.0, 0.01 * abs(high))
    return low - margin, high + margin
