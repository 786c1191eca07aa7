"""Figures of a model and of its training, drawn without any global state.

Every function returns a `matplotlib.figure.Figure` that belongs to nobody else: `pyplot` is not
used, so figures can be drawn in threads and on machines without a screen. `save_figure` writes one.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from tfvae.errors import InputError
from tfvae.files import written_whole

if TYPE_CHECKING:
    from tfvae.vae import VAE

WIDTH = 8.0
"""Width of every figure, in inches: 800 pixels at the 100 dpi for which the fonts are chosen."""

DOTS_PER_INCH = 150

# Accessible to the colour-blind: Petroff, "Accessible Color Sequences for Data Visualization",
# 2021, arXiv:2107.02270.
PALETTE: Sequence[str] = matplotlib.color_sequences["petroff10"]
TRAINING_COLOUR, VALIDATION_COLOUR = PALETTE[0], PALETTE[1]
GREY = "0.45"

IMAGES_PER_ENCODING = 512


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
    with written_whole(path) as beside:
        figure.savefig(beside, dpi=DOTS_PER_INCH)


def image_grid(images: ArrayLike, *, columns: int | None = None, padding: int = 1) -> np.ndarray:
    """Puts images side by side into one, row by row, on white.

    Args:
        images: `[count, height, width, channels]` in [0, 1], with 1 channel (grey) or 3 (RGB).
        columns: Images in a row; as many as make the grid about square if None.
        padding: White pixels between two images.

    Returns:
        uint8 `[rows * (height + padding) - padding, columns * (width + padding) - padding,
        channels]`; what `tf.summary.image` takes once it has a batch dimension.

    Raises:
        InputError: If the images have another shape or other values, or are none.
    """
    images = np.asarray(images, dtype=np.float32)
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or 0 in images.shape:
        raise InputError(
            "images to be drawn must have the shape [count, height, width, channels], with at "
            f"least one image and 1 or 3 channels; got {list(images.shape)}"
        )
    # Written so that NaN fails it too.
    if not (images.min() >= 0.0 and images.max() <= 1.0):
        raise InputError(
            "images to be drawn must lie in [0, 1]; got values from "
            f"{images.min():g} to {images.max():g}: divide by the data set's maximum"
        )
    count, height, width, channels = images.shape
    columns = _square_columns(images.shape) if columns is None else columns
    if columns < 1:
        raise InputError(f"columns must be at least 1; got {columns}")
    rows = -(-count // columns)
    cells = np.full((rows * columns, height + padding, width + padding, channels), 255, np.uint8)
    cells[:count, :height, :width] = np.rint(images * 255.0)
    grid = cells.reshape(rows, columns, height + padding, width + padding, channels)
    grid = grid.swapaxes(1, 2).reshape(rows * (height + padding), -1, channels)
    return grid[: rows * (height + padding) - padding, : columns * (width + padding) - padding]


def samples(vae: "VAE", *, count: int = 64, seed: int = 0) -> Figure:
    """Draws what the model generates: probabilities, and binary images of the same latents.

    Args:
        vae: The model.
        count: Number of latents drawn from the prior.
        seed: The same seed gives the same picture.

    Returns:
        A figure of two grids: on the left E[X|z] for z ~ p(Z), on the right x ~ p(X|z).

    Raises:
        InputError: If `count` is not positive or the images have neither 1 nor 3 channels.
    """
    if count < 1:
        raise InputError(f"the number of samples to draw must be at least 1; got {count}")
    # Two integers are a stateless seed to TensorFlow Probability: no state decides the picture.
    likelihood = vae.decode(vae.prior.sample(count, seed=np.array([seed, 0])))
    probabilities = np.asarray(likelihood.mean())
    binary = np.asarray(likelihood.sample(seed=np.array([seed, 1])))
    figure = _figure(WIDTH / 2 / _aspect(image_grid(binary)) + 0.55)
    left, right = figure.subplots(1, 2)
    _draw_images(left, probabilities)
    left.set_title(r"probabilities $\mathbb{E}[X \mid z]$,  $z \sim p(Z)$", fontsize=11)
    _draw_images(right, binary)
    right.set_title(r"images $x \sim p(X \mid z)$ of the same latents", fontsize=11)
    figure.suptitle("Samples from the model")
    return figure


def reconstructions(vae: "VAE", images: ArrayLike, *, columns: int = 10) -> Figure:
    """Draws images above what the model makes of them.

    Args:
        vae: The model.
        images: `[n, height, width, channels]`, in [0, 1]; all are drawn.
        columns: Images in a row.

    Returns:
        A figure of pairs of rows: the images, and under each E[X|z] at the mean of q(Z|x).

    Raises:
        InputError: If the images cannot be drawn.
    """
    images = np.asarray(images)
    # Checks the images, before the model sees them.
    image_grid(images)
    columns = min(columns, len(images))
    reconstructed = np.asarray(vae.decode(vae.encode(images).mean()).mean())
    blocks = range(0, len(images), columns)
    cell = (WIDTH - 1.3) / max(columns, 5)
    height = cell * images.shape[1] / images.shape[2] * 2 * len(blocks)
    figure = _figure(height + 0.12 * len(blocks) + 0.45)
    blank = np.ones_like(images[:1], shape=(columns, *images.shape[1:]), dtype=np.float32)
    for axes, start in zip(
        figure.subplots(len(blocks), 1, squeeze=False)[:, 0], blocks, strict=True
    ):
        pair = np.stack([blank, blank])
        for row, source in zip(pair, (images, reconstructed), strict=True):
            row[: len(source[start : start + columns])] = source[start : start + columns]
        _draw_images(
            axes,
            pair.reshape(-1, *images.shape[1:]),
            columns=columns,
            row_labels=("image $x$", "reconstruction\n" r"$\mathbb{E}[X \mid z]$"),
        )
    figure.suptitle("Images and their reconstructions")
    return figure


def latent_plane(
    vae: "VAE",
    images: ArrayLike | None = None,
    labels: ArrayLike | None = None,
    *,
    steps: int = 20,
) -> Figure:
    """Draws the plane of a model with two latent dimensions: what it decodes to, and who is where.

    Args:
        vae: A model with `latent_dim` 2.
        images: `[n, height, width, channels]`, whose posterior means are drawn; None leaves the
            second half of the figure out.
        labels: `[n]`, numbers or strings: the classes, each in its colour with its name amid it.
        steps: Rows and columns of the decoded grid.

    Returns:
        A figure: E[X|z] at quantiles of the prior that have equal probability between them, and
        beside it the posterior means over circles of 1, 2 and 3 standard deviations of the prior.

    Raises:
        InputError: If the model has not two latent dimensions, or the labels do not fit.

    References:
        Kingma, Welling, "Auto-Encoding Variational Bayes", 2013, arXiv:1312.6114, figure 4.
    """
    if vae.latent_dim != 2:
        raise InputError(
            f"the latent plane is for models with 2 latent dimensions; this one has "
            f"{vae.latent_dim}: draw its latent traversals, or train one with latent_dim=2"
        )
    probabilities = ((np.arange(steps) + 0.5) / steps).astype(np.float32)
    quantiles = np.asarray(vae.prior.distribution.quantile(probabilities[:, np.newaxis]))
    first, second = np.meshgrid(quantiles[:, 0], quantiles[::-1, 1])
    latents = np.stack([first.ravel(), second.ravel()], axis=-1)
    decoded = np.asarray(vae.decode(latents).mean())
    panels = 1 if images is None else 2
    side = WIDTH / 2 - 0.5
    figure = _figure(side * decoded.shape[1] / decoded.shape[2] + 1.0, width=WIDTH * panels / 2)
    axes = figure.subplots(1, panels, squeeze=False)[0]
    marked = np.unique(np.linspace(0, steps - 1, 5).round().astype(int))
    _draw_images(
        axes[0],
        decoded,
        columns=steps,
        padding=0,
        row_labels=[f"${z:.1f}$" if i in marked else "" for i, z in enumerate(quantiles[:, 1])][
            ::-1
        ],
        column_labels=[f"${z:.1f}$" if i in marked else "" for i, z in enumerate(quantiles[:, 0])],
    )
    axes[0].set(xlabel="$z_1$, at quantiles of the prior", ylabel="$z_2$")
    axes[0].set_title(r"decoded: $\mathbb{E}[X \mid z]$", fontsize=11)
    if images is not None:
        means = np.concatenate([np.asarray(q.mean()) for q in _posteriors(vae, images)])
        _draw_posterior_means(axes[1], means, labels)
    figure.suptitle("The latent plane")
    return figure


def latent_traversals(
    vae: "VAE", images: ArrayLike, *, dimensions: int = 8, steps: int = 11
) -> Figure:
    """Draws how an image changes along the latent dimensions that the model uses most.

    Args:
        vae: The model, of any number of latent dimensions.
        images: `[n, height, width, channels]`: the first is the one that changes; over all of them
            the KL of each dimension is averaged, so give a few hundred.
        dimensions: How many dimensions are drawn, at most.
        steps: Values along each dimension, from -3 to 3.

    Returns:
        A figure whose rows are dimensions, the largest KL(q(Z_i|x) || p(Z_i)) first, and whose
        columns are values of that dimension; the others stay at the first image's posterior mean.

    Raises:
        InputError: If the images cannot be drawn.
    """
    divergence = _kl_per_dimension(vae, images).mean(axis=0)
    most_active = np.argsort(-divergence, kind="stable")[:dimensions]
    image = np.asarray(images)[:1]
    centre = np.asarray(vae.encode(image).mean())
    values = np.linspace(-3.0, 3.0, steps, dtype=np.float32)
    latents = np.tile(centre, (len(most_active), steps, 1))
    for row, dimension in zip(latents, most_active, strict=True):
        row[:, dimension] = values
    decoded = np.asarray(vae.decode(latents.reshape(-1, vae.latent_dim)).mean())
    start = np.concatenate([image, np.asarray(vae.decode(centre).mean())])
    cell = (WIDTH - 1.4) / (steps + 2)
    figure = _figure(max(len(most_active), 2) * cell * image.shape[1] / image.shape[2] + 1.2)
    left, right = figure.subplots(1, 2, width_ratios=[2, steps])
    _draw_images(left, start, columns=1)
    left.set_title("image $x$", fontsize=11)
    left.set_xlabel("its reconstruction")
    _draw_images(
        right,
        decoded,
        columns=steps,
        row_labels=[f"$z_{{{i + 1}}}$  {divergence[i]:.2f}" for i in most_active],
        column_labels=[f"${value:.1f}$" for value in values],
    )
    right.set(xlabel="value of the dimension", ylabel="dimension, its mean KL in nats")
    figure.suptitle(
        f"The {len(most_active)} most active of {vae.latent_dim} latent dimensions"
        if len(most_active) < vae.latent_dim
        else "Along the latent dimensions"
    )
    return figure


def kl_per_dimension(vae: "VAE", images: ArrayLike) -> Figure:
    """Draws how many nats of an image each latent dimension carries, the largest first.

    Args:
        vae: The model.
        images: `[n, height, width, channels]`, over which the divergence is averaged.

    Returns:
        A figure of bars, KL(q(Z_i|x) || p(Z_i)) in nats, with two standard errors of the mean.
    """
    divergence = _kl_per_dimension(vae, images)
    mean = divergence.mean(axis=0)
    count, latent_dim = divergence.shape
    error = divergence.std(axis=0, ddof=1) / np.sqrt(count) if count > 1 else np.zeros(latent_dim)
    order = np.argsort(-mean, kind="stable")
    ranks = np.arange(1, latent_dim + 1)
    figure = _figure(3.2)
    axes = figure.subplots()
    axes.bar(ranks, mean[order], color=TRAINING_COLOUR, width=0.8)
    axes.errorbar(ranks, mean[order], 2.0 * error[order], fmt="none", ecolor="black", lw=0.8)
    axes.set(xlabel="latent dimension", ylabel="KL, nats per image", ylim=(0.0, None))
    axes.set_xlim(0.25, latent_dim + 0.75)
    if latent_dim <= 40:
        axes.set_xticks(ranks, [str(i + 1) for i in order], fontsize=8)
    else:
        axes.set_xlabel("latent dimensions, by rank")
    _plain(axes)
    figure.suptitle(rf"KL$(q(Z_i \mid x) \,\|\, p(Z_i))$: {mean.sum():.1f} nats in all")
    return figure


def training_curves(history: Mapping[str, Sequence[float]]) -> Figure:
    """Draws the ELBO and its two terms over the epochs, for training and validation.

    Early epochs far off the rest lie beyond the axes, which say how many they are. Values that are
    not finite, as in epochs without validation, are left out.

    Args:
        history: Columns of equal length, as in `history.csv` or Keras's `History.history`: `elbo`,
            and where there are any `reconstruction`, `kl`, `val_elbo`, `val_reconstruction`,
            `val_kl`, in nats per image, and `epoch` (1, 2, ... where missing). Others are ignored.

    Returns:
        A figure with one panel for each of the three, and the epoch of the best (validation) ELBO
        marked.

    Raises:
        InputError: If there is no epoch, no column `elbo`, or the columns differ in length.
    """
    columns = {name: np.asarray(column, dtype=np.float64) for name, column in history.items()}
    if "elbo" not in columns or columns["elbo"].size == 0:
        raise InputError(
            "a training history must have a column 'elbo' and at least one epoch; got "
            + (", ".join(f"{name}: {len(values)}" for name, values in columns.items()) or "nothing")
        )
    if len({values.shape for values in columns.values()}) > 1:
        raise InputError(
            "the columns of a training history must have the same length; got "
            + ", ".join(f"{name}: {len(values)}" for name, values in columns.items())
        )
    epochs = columns.get("epoch", np.arange(1, columns["elbo"].size + 1))
    deciding = columns.get("val_elbo", columns["elbo"])
    finite = np.isfinite(deciding)
    best = int(np.argmax(np.where(finite, deciding, -np.inf))) if finite.any() else None
    titles = {"elbo": "ELBO", "reconstruction": "reconstruction", "kl": "KL"}
    panels = [name for name in titles if name in columns]
    figure = _figure(4.4)
    grid = figure.add_gridspec(max(len(panels) - 1, 1), 5)
    for row, name in enumerate(panels):
        place = grid[:, :3] if row == 0 else grid[row - 1, 3:]
        axes = figure.add_subplot(place if len(panels) > 1 else grid[:, :])
        _draw_curves(axes, epochs, columns[name], columns.get(f"val_{name}"), best)
        axes.set_title(titles[name], fontsize=11)
        axes.set_ylabel("nats per image")
        if row != 1 or len(panels) == 2:
            axes.set_xlabel("epoch")
    if best is not None:
        label = f"best: epoch {epochs[best]:g} (${deciding[best]:.2f}$)"
        figure.axes[0].plot([], [], color=GREY, linestyle=":", label=label)
    if figure.axes[0].get_legend_handles_labels()[0]:
        figure.axes[0].legend(loc="lower right", frameon=False)
    figure.suptitle("Training")
    return figure


def _draw_curves(
    axes: Axes,
    epochs: np.ndarray,
    training: np.ndarray,
    validation: np.ndarray | None,
    best: int | None,
) -> None:
    curves = {"training": (training, TRAINING_COLOUR)}
    if validation is not None:
        curves["validation"] = (validation, VALIDATION_COLOUR)
    shown = np.concatenate([values for values, _ in curves.values()])
    finite = np.isfinite(shown)
    _plain(axes)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if not finite.any():
        axes.text(0.5, 0.5, "no finite value", transform=axes.transAxes, ha="center", color=GREY)
        return
    for label, (values, colour) in curves.items():
        drawn = np.isfinite(values)
        # A line alone hides single points, and where values are missing.
        marker = "o" if drawn.sum() < 15 or not drawn.all() else None
        axes.plot(
            epochs[drawn], values[drawn], color=colour, label=label, marker=marker, markersize=3.5
        )
    best_value = [] if best is None else [values[best] for values, _ in curves.values()]
    low, high = _robust_limits(shown[finite], [v for v in best_value if np.isfinite(v)])
    axes.set_ylim(low, high)
    if best is not None:
        axes.axvline(epochs[best], color=GREY, linestyle=":")
    beyond = len(
        {
            epoch
            for values, _ in curves.values()
            for epoch in epochs[np.isfinite(values) & ((values < low) | (values > high))]
        }
    )
    if beyond:
        note = f"{beyond} epoch{'s' if beyond > 1 else ''} beyond the axis"
        axes.annotate(
            note, (0.02, 0.02), xycoords="axes fraction", fontsize=8, color=GREY, va="bottom"
        )


def _robust_limits(values: np.ndarray, kept: Sequence[float]) -> tuple[float, float]:
    """Limits that hold all but outliers (Tukey's fences), and whatever must be kept."""
    lower, upper = np.quantile(values, [0.25, 0.75])
    reach = 1.5 * (upper - lower)
    inside = values[(values >= lower - reach) & (values <= upper + reach)]
    if reach == 0.0:
        inside = values
    low, high = min([inside.min(), *kept]), max([inside.max(), *kept])
    margin = 0.05 * (high - low) or max(1.0, 0.01 * abs(high))
    return low - margin, high + margin


def _draw_posterior_means(axes: Axes, means: np.ndarray, labels: ArrayLike | None) -> None:
    labels = None if labels is None else np.asarray(labels)
    if labels is not None and labels.shape != (len(means),):
        raise InputError(
            f"labels must be one for each image, of shape [{len(means)}]; got {list(labels.shape)}"
        )
    for deviations in (1, 2, 3):
        axes.add_patch(Circle((0, 0), deviations, fill=False, ec="0.8", lw=0.8, zorder=0))
    size = float(np.clip(4000 / len(means), 2.0, 16.0))
    if labels is None:
        axes.scatter(*means.T, s=size, color=TRAINING_COLOUR, alpha=0.6, linewidths=0)
    else:
        classes = np.unique(labels)
        colours = (
            PALETTE
            if len(classes) <= len(PALETTE)
            else matplotlib.colormaps["viridis"](np.linspace(0.0, 1.0, len(classes)))
        )
        for name, colour in zip(classes, colours, strict=False):
            members = means[labels == name]
            axes.scatter(*members.T, s=size, color=colour, alpha=0.6, linewidths=0, label=str(name))
            outline = patheffects.withStroke(linewidth=3, foreground="white")
            centre = np.median(members, axis=0)
            axes.text(
                *centre,
                str(name),
                color=colour,
                weight="bold",
                size=12,
                ha="center",
                va="center",
                path_effects=[outline],
            )
    reach = 1.05 * max(3.0, float(np.abs(means).max()))
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    axes.set(xlabel="$z_1$", ylabel="$z_2$")
    axes.set_title(r"posterior means $\mathbb{E}[Z \mid x]$", fontsize=11)
    _plain(axes)


def _posteriors(vae: "VAE", images: ArrayLike) -> Iterator:
    """Encodes in batches, so that convolutions of a whole test set do not fill the memory."""
    images = np.asarray(images)
    if len(images) == 0:
        raise InputError("there are no images to encode; give at least one")
    for start in range(0, len(images), IMAGES_PER_ENCODING):
        yield vae.encode(images[start : start + IMAGES_PER_ENCODING])


def _kl_per_dimension(vae: "VAE", images: ArrayLike) -> np.ndarray:
    """KL(q(Z_i|x) || p(Z_i)) in nats, `[n, latent_dim]`."""
    factors = vae.prior.distribution
    return np.concatenate(
        [np.asarray(q.distribution.kl_divergence(factors)) for q in _posteriors(vae, images)]
    )


def _draw_images(
    axes: Axes,
    images: np.ndarray,
    *,
    columns: int | None = None,
    padding: int = 1,
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
) -> None:
    grid = image_grid(images, columns=columns, padding=padding)
    axes.imshow(np.broadcast_to(grid, (*grid.shape[:2], 3)))
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    height, width = images.shape[1:3]
    for axis, labels, extent in (
        (axes.yaxis, row_labels, height),
        (axes.xaxis, column_labels, width),
    ):
        named = [
            (i * (extent + padding) + (extent - 1) / 2, label) for i, label in enumerate(labels)
        ]
        named = [(place, label) for place, label in named if label]
        axis.set_ticks([place for place, _ in named], [label for _, label in named])


def _square_columns(shape: Sequence[int]) -> int:
    count, height, width = shape[:3]
    return int(np.clip(np.ceil(np.sqrt(count * height / width)), 1, count))


def _aspect(grid: np.ndarray) -> float:
    return grid.shape[1] / grid.shape[0]


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)


def _figure(height: float, width: float = WIDTH) -> Figure:
    figure = Figure(figsize=(width, height), layout="compressed")
    FigureCanvasAgg(figure)
    return figure
