"""Figures of a model and of its training.

Every function returns a `matplotlib.figure.Figure` of its own; `save_figure` writes it to a file.

Example:
    >>> save_figure(samples(vae, count=64, seed=0), "samples.png")
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from numpy.typing import ArrayLike

from tfvae.common.checks import check_choice
from tfvae.common.errors import InputError
from tfvae.figures.layout import (
    GREY,
    PALETTE,
    PANEL_TITLE_SIZE,
    WIDTH,
    draw_curves,
    draw_images,
    hide_frame,
    image_grid,
    new_figure,
    save_figure,
    trim_height,
)

if TYPE_CHECKING:
    from tensorflow_probability import distributions as tfd

    from tfvae.vae import VAE

__all__ = [
    "image_grid",
    "kl_per_dimension",
    "latent_plane",
    "latent_traversals",
    "reconstructions",
    "samples",
    "save_figure",
    "training_curves",
]

# Convolutions of a whole test set at once would fill the memory.
IMAGES_PER_ENCODING = 512


def samples(vae: "VAE", *, count: int = 64, seed: int = 0) -> Figure:
    """Draws what the model generates: probabilities, and binary images of the same latents.

    Args:
        vae: The model.
        count: Number of latents drawn from the prior.
        seed: That of `vae.sample`, for both grids.

    Returns:
        A figure of two grids: on the left E[X|z] for z ~ p(Z), on the right x ~ p(X|z).

    Raises:
        InputError: If `count` is not positive or the images have neither 1 nor 3 channels.
    """
    figure = new_figure(height=2 * WIDTH)
    left, right = figure.subplots(1, 2)
    draw_images(left, vae.sample(count, seed=seed, mean=True))
    left.set_title(r"probabilities $E[X \mid z]$,  $z \sim p(Z)$", fontsize=PANEL_TITLE_SIZE)
    draw_images(right, vae.sample(count, seed=seed))
    right.set_title(r"images $x \sim p(X \mid z)$ of the same latents", fontsize=PANEL_TITLE_SIZE)
    figure.suptitle("Samples from the model")
    return trim_height(figure)


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
    # Checks what was given, before the model sees it.
    image_grid(images, columns=columns)
    # A few images need not fill the width.
    columns = min(columns, max(len(images), 5))
    reconstructed = np.asarray(vae.decode(vae.encode(images).mean()).mean())
    starts = range(0, len(images), columns)
    figure = new_figure(height=WIDTH * (2 * len(starts) + 1))
    blocks = figure.subplots(len(starts), 1, squeeze=False)[:, 0]
    for axes, start in zip(blocks, starts, strict=True):
        pair = np.ones((2, columns, *images.shape[1:]), np.float32)
        for row, source in zip(pair, (images, reconstructed), strict=True):
            shown = source[start : start + columns]
            row[: len(shown)] = shown
        draw_images(
            axes,
            pair.reshape(-1, *images.shape[1:]),
            columns=columns,
            row_labels=("image $x$", "reconstruction\n" r"$E[X \mid z]$"),
        )
    figure.suptitle("Images and their reconstructions")
    return trim_height(figure)


def latent_plane(
    vae: "VAE",
    images: ArrayLike | None = None,
    labels: ArrayLike | None = None,
    *,
    steps: int = 15,
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
    figure = new_figure(height=2 * WIDTH, width=WIDTH * panels / 2)
    axes = figure.subplots(1, panels, squeeze=False)[0]
    marked = np.linspace(0, steps - 1, 5).round()
    names = [
        [f"${value:.1f}$" if step in marked else "" for step, value in enumerate(values)]
        for values in (quantiles[:, 0], quantiles[::-1, 1])
    ]
    draw_images(
        axes[0], decoded, columns=steps, padding=0, column_labels=names[0], row_labels=names[1]
    )
    axes[0].set(xlabel="$z_1$, at quantiles of the prior", ylabel="$z_2$")
    axes[0].set_title(r"decoded: $E[X \mid z]$", fontsize=PANEL_TITLE_SIZE)
    if images is not None:
        means = np.concatenate([np.asarray(q.mean()) for q in _posteriors(vae, images)])
        _draw_posterior_means(axes[1], means, labels)
    figure.suptitle("The latent plane")
    return trim_height(figure)


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
    decoded = decoded.reshape(len(most_active), steps, *image.shape[1:])
    reconstructed = np.asarray(vae.decode(centre).mean())
    gap = np.ones_like(reconstructed)
    start = np.concatenate([np.asarray(image, np.float32), reconstructed, gap])
    start = np.broadcast_to(start, (len(most_active), *start.shape))
    figure = new_figure(height=2 * WIDTH)
    axes = figure.subplots()
    draw_images(
        axes,
        np.concatenate([start, decoded], axis=1).reshape(-1, *image.shape[1:]),
        columns=3 + steps,
        row_labels=[f"$z_{{{i + 1}}}$:  {divergence[i]:.2f} nats" for i in most_active],
        column_labels=["$x$", r"$E[X|z]$", "", *(f"${value:.1f}$" for value in values)],
    )
    axes.set_title(
        r"each row sets one dimension $z_i$ to the values below; at its left, its mean KL",
        fontsize=PANEL_TITLE_SIZE,
    )
    figure.suptitle(
        f"Latent traversals: {len(most_active)} of {vae.latent_dim} dimensions, most active first"
    )
    return trim_height(figure)


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
    figure = new_figure(height=3.2)
    axes = figure.subplots()
    axes.bar(ranks, mean[order], color=PALETTE[0], width=0.8)
    axes.errorbar(ranks, mean[order], 2.0 * error[order], fmt="none", ecolor="black", lw=0.8)
    axes.set(xlabel="latent dimension", ylabel="KL, nats per image", ylim=(0.0, None))
    axes.set_xlim(0.25, latent_dim + 0.75)
    if latent_dim <= 40:
        axes.set_xticks(ranks, [str(i + 1) for i in order], fontsize=8)
    else:
        axes.set_xlabel("latent dimensions, by rank")
    note = f"mean of {count} images, with 2 standard errors"
    axes.set_title(note, loc="right", fontsize=8, color=GREY)
    hide_frame(axes)
    figure.suptitle(rf"KL$(q(Z_i \mid x) \,\|\, p(Z_i))$: {mean.sum():.1f} nats in all")
    return figure


def training_curves(history: Mapping[str, Sequence[float]], *, monitor: str = "val_elbo") -> Figure:
    """Draws the ELBO and its two terms over the epochs, for training and validation.

    Early epochs far off the rest lie beyond the axes, which say how many they are. Values that are
    not finite, as in epochs without validation, are left out.

    Args:
        history: Columns of equal length, as in `history.csv` or Keras's `History.history`: `elbo`,
            and where there are any `loss`, `reconstruction`, `kl`, and the same with `val_`, in
            nats per image, and `epoch` (1, 2, ... where missing). Others are ignored.
        monitor: What the best epoch was chosen by: `"val_elbo"`, or `"val_loss"` for an objective
            other than the ELBO, which is then drawn, too.

    Returns:
        A figure with one panel for each of them, and the best epoch marked, by the training's own
        values where there are none of a validation.

    Raises:
        InputError: If there is no epoch, no column `elbo` (or `loss`, where that is monitored), the
            columns differ in length, or `monitor` is another.
    """
    check_choice("monitor", monitor, ("val_elbo", "val_loss"))
    titles = {"elbo": "ELBO", "reconstruction": "reconstruction", "kl": "KL"}
    if monitor == "val_loss":
        titles = {"loss": "objective", **titles}
    first = next(iter(titles))
    drawn = {"epoch", *titles, *(f"val_{name}" for name in titles)}
    columns = {
        # What is maximised is the loss with the other sign.
        name: (-1 if name.endswith("loss") else 1) * np.asarray(values, np.float64)
        for name, values in history.items()
        if name in drawn
    }
    lengths = {name: len(values) for name, values in columns.items()}
    if lengths.get(first, 0) == 0 or len(set(lengths.values())) > 1:
        raise InputError(
            f"a training history must have a column {first!r}, at least one epoch, and columns of "
            f"equal length; got columns {list(history)} with lengths {lengths}"
        )
    epochs = columns.get("epoch", np.arange(1, lengths[first] + 1))
    deciding = columns.get(monitor, columns[first])
    if not np.isfinite(deciding).any():
        deciding = columns[first]
    finite = np.isfinite(deciding)
    best = int(np.argmax(np.where(finite, deciding, -np.inf))) if finite.any() else None
    panels = [name for name in titles if name in columns]
    num_rows = max(len(panels) - 1, 1)
    figure = new_figure(height=4.4 if num_rows < 3 else 5.4)
    grid = figure.add_gridspec(num_rows, 5)
    for row, name in enumerate(panels):
        place = grid[:, :3] if row == 0 else grid[row - 1, 3:]
        axes = figure.add_subplot(place if len(panels) > 1 else grid[:, :])
        curves = {"training": columns[name], "validation": columns.get(f"val_{name}")}
        draw_curves(axes, epochs, curves=curves, mark=best)
        axes.set_title(titles[name], loc="left", fontsize=PANEL_TITLE_SIZE)
        axes.set_ylabel("nats per image")
        if row in (0, len(panels) - 1):
            axes.set_xlabel("epoch")
    if best is not None:
        label = f"best: epoch {epochs[best]:g} (${deciding[best]:.2f}$)"
        figure.axes[0].plot([], [], color=GREY, linestyle=":", label=label)
    if figure.axes[0].get_legend_handles_labels()[0]:
        figure.axes[0].legend(loc="best", edgecolor="none")
    figure.suptitle("Training")
    return figure


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
        axes.scatter(*means.T, s=size, color=PALETTE[0], alpha=0.6, linewidths=0)
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
            centre = np.median(members, axis=0)
            text = axes.text(*centre, str(name), color=colour, ha="center", va="center")
            outline = patheffects.withStroke(linewidth=3, foreground="white")
            text.set(weight="bold", size=12, path_effects=[outline])
    reach = 1.05 * max(3.0, float(np.abs(means).max()))
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    axes.set(xlabel="$z_1$", ylabel="$z_2$")
    axes.set_title(r"posterior means $E[Z \mid x]$", fontsize=PANEL_TITLE_SIZE)
    hide_frame(axes)


def _posteriors(vae: "VAE", images: ArrayLike) -> Iterator["tfd.Independent"]:
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
