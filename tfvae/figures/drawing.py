"""What figures are made of: their width and colors, grids of images, and the file they go to.

`pyplot` is not used, so a figure belongs to its caller alone: it can be drawn in any thread and on
a machine without a screen.
"""

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import ArrayLike

from tfvae.common.checks import check_integer
from tfvae.common.errors import InputError
from tfvae.common.files import atomic_write
from tfvae.common.images import check_image_array

# In inches: 800 pixels at the 100 dpi for which the fonts are chosen.
WIDTH = 8.0
DOTS_PER_INCH = 150

# Accessible to the color-blind: Petroff, "Accessible Color Sequences for Data Visualization",
# 2021, arXiv:2107.02270.
PALETTE = matplotlib.color_sequences["petroff10"]
GRAY = "0.45"

PANEL_TITLE_SIZE = 11
_MARGIN = 0.06


def save_figure(figure: Figure, path: str | os.PathLike) -> None:
    """Writes a figure to a file, completely or not at all.

    Args:
        figure: What to write.
        path: Where to; its ending, such as `.png`, `.pdf` or `.svg`, tells the format.

    Raises:
        InputError: If matplotlib writes no files with this ending.
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
        images: `[count, height, width, channels]` in [0, 1], with 1 channel (gray) or 3 (RGB).
        columns: Images per row; if None, as many as make the grid about square, and full where
            the count allows.
        padding: White pixels between two images.

    Returns:
        uint8 `[rows * (height + padding) - padding, columns * (width + padding) - padding,
        channels]`; what `tf.summary.image` takes once it has a batch dimension.
    """
    name = "images to be drawn"
    images = check_image_array(images, None, name, floating=False, nonempty=True)
    if images.shape[-1] not in (1, 3):
        raise InputError(f"{name} must have 1 or 3 channels; got {list(images.shape)}")
    count, height, width, channels = images.shape
    columns = _square_columns(count, height, width) if columns is None else columns
    columns = check_integer("columns", columns, minimum=1)
    rows = -(-count // columns)
    cells = np.full((rows * columns, height + padding, width + padding, channels), 255, np.uint8)
    cells[:count, :height, :width] = np.rint(images.astype(np.float32) * 255.0)
    grid = cells.reshape(rows, columns, height + padding, width + padding, channels)
    shape = rows * (height + padding), columns * (width + padding), channels
    grid = grid.swapaxes(1, 2).reshape(shape)
    return grid[: len(grid) - padding, : grid.shape[1] - padding]


def _square_columns(count: int, height: int, width: int) -> int:
    square = np.sqrt(count * height / width)
    full = [columns for columns in range(count, 0, -1) if count % columns == 0]
    nearest = min(full, key=lambda columns: max(columns / square, square / columns))
    if 0.6 < nearest / square < 1.7:
        return nearest
    return int(np.clip(np.ceil(square), 1, count))


def pair_rows(images: np.ndarray, reconstructions: np.ndarray, columns: int) -> np.ndarray:
    """Puts rows of images above rows of reconstructions: `[blocks, 2, columns, *image_shape]`.

    The places that are left over in the last rows are white.
    """
    num_blocks = -(-len(images) // columns)
    pairs = np.ones((2, num_blocks * columns, *images.shape[1:]), np.float32)
    pairs[:, : len(images)] = np.stack([images, reconstructions])
    return pairs.reshape(2, num_blocks, columns, *images.shape[1:]).swapaxes(0, 1)


class _NotebookFigure(Figure):
    """A figure that a notebook shows by itself, as it shows those of pyplot."""

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.savefig(file, format="png", dpi=100)
        return file.getvalue()


def new_figure(*, height: float, width: float = WIDTH) -> Figure:
    """An empty figure of a size in inches, which leaves no gaps between axes of fixed aspect."""
    layout = ConstrainedLayoutEngine(compress=True, w_pad=_MARGIN, h_pad=_MARGIN)
    figure = _NotebookFigure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def trim_height(figure: Figure) -> Figure:
    """Makes a figure as high as what is on it, so that images neither shrink nor float."""
    figure.draw_without_rendering()
    figure.set_figheight(figure.get_tightbbox().height + 2 * _MARGIN)
    return figure


def title_panel(axes: Axes, title: str, loc: Literal["left", "center"] = "center") -> None:
    """Writes a title above a part of a figure."""
    axes.set_title(title, loc=loc, fontsize=PANEL_TITLE_SIZE)


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
    """Draws a grid of images as `image_grid` makes it, without scaling their values.

    The labels stand at the left of the rows and under the columns; empty ones are left out.
    """
    grid = image_grid(images, columns=columns, padding=padding)
    axes.imshow(np.broadcast_to(grid, (*grid.shape[:2], 3)))
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    height, width = np.shape(images)[1:3]
    for axis, names, size in (axes.yaxis, row_labels, height), (axes.xaxis, column_labels, width):
        middles = [i * (size + padding) + (size - 1) / 2 for i, name in enumerate(names) if name]
        axis.set_ticks(middles, [name for name in names if name])


def robust_limits(values: np.ndarray, *, keep: Sequence[float] = ()) -> tuple[float, float]:
    """Limits of an axis that outliers do not stretch, with a margin of a twentieth.

    Only those of the finite values `[n]` are left out that lie outside Tukey's fences (1.5
    interquartile ranges off the quartiles), and at most a tenth of them at each end. The values to
    keep are always inside.
    """
    tenth, lower, upper, last_tenth = np.quantile(values, [0.1, 0.25, 0.75, 0.9])
    reach = 1.5 * (upper - lower)
    above = values >= min(tenth, lower - reach)
    below = values <= max(last_tenth, upper + reach)
    inside = [*values[above & below], *keep]
    low, high = float(min(inside)), float(max(inside))
    # A single constant value has no range to take a margin of.
    margin = 0.05 * (high - low) or max(1.0, 0.01 * abs(high))
    return low - margin, high + margin


def check_labels(labels: ArrayLike, num_images: int) -> np.ndarray:
    """Returns labels as an array, or raises `InputError` if there is not one label per image."""
    labels = np.asarray(labels)
    if labels.shape != (num_images,):
        raise InputError(
            f"labels must be one per image, of shape [{num_images}]; got {list(labels.shape)}"
        )
    return labels
