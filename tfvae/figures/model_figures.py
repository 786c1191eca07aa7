"""Figures of a model: what it generates, what it reconstructs, and what its latents hold."""

import matplotlib
import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from numpy.typing import ArrayLike

from tfvae import inference
from tfvae.common.errors import InputError
from tfvae.figures import drawing
from tfvae.inference.batched_estimates import encode_in_batches
from tfvae.vae import VAE


def samples(vae: VAE, *, count: int = 64, seed: int = 0) -> Figure:
    """Draws what the model generates: probabilities, and binary images of the same latents.

    Args:
        vae: The model.
        count: How many.
        seed: That of `vae.sample`, for both grids.
    """
    figure = drawing.new_figure(height=2 * drawing.WIDTH)
    left, right = figure.subplots(1, 2)
    drawing.draw_images(left, vae.sample(count, seed=seed, mean=True))
    drawing.title_panel(left, r"probabilities $E[X \mid z]$,  $z \sim p(Z)$")
    drawing.draw_images(right, vae.sample(count, seed=seed))
    drawing.title_panel(right, r"images $x \sim p(X \mid z)$ of the same latents")
    figure.suptitle("Samples from the model")
    return drawing.trim_height(figure)


def reconstructions(vae: VAE, images: ArrayLike, *, columns: int = 10) -> Figure:
    """Draws images, and under each what the model makes of it: E[X|z] at the mean of q(Z|x).

    Args:
        vae: The model.
        images: `[n, height, width, channels]`, in [0, 1]; all are drawn.
        columns: Images per row.
    """
    images = np.asarray(images)
    # Checks what was given, before the model sees it.
    drawing.image_grid(images, columns=columns)
    # A few images need not fill the width.
    columns = min(columns, max(len(images), 5))
    labels = "image $x$", "reconstruction\n" r"$E[X \mid z]$"
    pairs = drawing.pair_rows(images, np.asarray(vae(images)), columns)
    figure = drawing.new_figure(height=drawing.WIDTH * (2 * len(pairs) + 1))
    for axes, pair in zip(figure.subplots(len(pairs), squeeze=False)[:, 0], pairs, strict=True):
        rows = pair.reshape(-1, *images.shape[1:])
        drawing.draw_images(axes, rows, columns=columns, row_labels=labels)
    figure.suptitle("Images and their reconstructions")
    return drawing.trim_height(figure)


def latent_plane(
    vae: VAE, images: ArrayLike | None = None, labels: ArrayLike | None = None, *, steps: int = 15
) -> Figure:
    """Draws the plane of two latent dimensions: what it decodes to, and where the images lie.

    Args:
        vae: A model with `latent_dim` 2.
        images: `[n, height, width, channels]`, whose posterior means are drawn; None leaves the
            second half of the figure out.
        labels: `[n]`, numbers or strings: the classes, each with a color and its name.
        steps: Rows and columns of the decoded grid.

    Returns:
        A figure: E[X|z] at quantiles of the prior that have equal probability between them, and
        beside it the posterior means over circles of 1, 2 and 3 standard deviations of the prior.

    References:
        Kingma and Welling. Auto-Encoding Variational Bayes. 2013. arXiv:1312.6114 (figure 4).
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
    num_panels = 1 if images is None else 2
    figure = drawing.new_figure(height=2 * drawing.WIDTH, width=drawing.WIDTH * num_panels / 2)
    axes = figure.add_subplot(1, num_panels, 1)
    marked = np.linspace(0, steps - 1, 5).round()
    column_labels, row_labels = (
        [f"${value:.1f}$" if step in marked else "" for step, value in enumerate(values)]
        for values in (quantiles[:, 0], quantiles[::-1, 1])
    )
    names = {"column_labels": column_labels, "row_labels": row_labels}
    drawing.draw_images(axes, vae.decode(latents).mean(), columns=steps, padding=0, **names)
    axes.set(xlabel="$z_1$, at quantiles of the prior", ylabel="$z_2$")
    drawing.title_panel(axes, r"decoded: $E[X \mid z]$")
    if images is not None:
        means = np.asarray(encode_in_batches(vae, images).mean())
        _draw_posterior_means(figure.add_subplot(1, num_panels, 2), means, labels)
    figure.suptitle("The latent plane")
    return drawing.trim_height(figure)


def latent_traversals(
    vae: VAE, images: ArrayLike, *, dimensions: int = 8, steps: int = 11
) -> Figure:
    """Draws how an image changes along the latent dimensions that the model uses most.

    Args:
        vae: The model, of any number of latent dimensions.
        images: `[n, height, width, channels]`: the first is the one that changes; over all of them
            the KL of each dimension is averaged, so give a few hundred.
        dimensions: How many dimensions are drawn, at most.
        steps: Values along each dimension, from -3 to 3.

    Returns:
        A figure with a row per dimension, the largest KL(q(Z_i|x) || p(Z_i)) first; the other
        dimensions stay at the posterior mean of the first image.
    """
    posterior = encode_in_batches(vae, images)
    divergence = np.asarray(inference.kl_per_dimension(posterior, vae.prior))
    most_active = np.argsort(-divergence, kind="stable")[:dimensions]
    center = np.asarray(posterior[:1].mean())
    values = np.linspace(-3.0, 3.0, steps, dtype=np.float32)
    latents = np.tile(center, (len(most_active), steps, 1))
    for row, dimension in zip(latents, most_active, strict=True):
        row[:, dimension] = values
    reconstructed = np.asarray(vae.decode(center).mean())
    start = np.concatenate([np.asarray(images)[:1], reconstructed, np.ones_like(reconstructed)])
    rows = [np.concatenate([start, np.asarray(vae.decode(row).mean())]) for row in latents]
    figure = drawing.new_figure(height=2 * drawing.WIDTH)
    axes = figure.subplots()
    drawing.draw_images(
        axes,
        np.concatenate(rows),
        columns=3 + steps,
        row_labels=[f"$z_{{{i + 1}}}$:  {divergence[i]:.2f} nats" for i in most_active],
        column_labels=["$x$", r"$E[X|z]$", "", *(f"${value:.1f}$" for value in values)],
    )
    drawing.title_panel(axes, r"each row sets one $z_i$ to the values below; left: its mean KL")
    figure.suptitle(
        f"Latent traversals: {len(most_active)} of {vae.latent_dim} dimensions, most active first"
    )
    return drawing.trim_height(figure)


def kl_per_dimension(vae: VAE, images: ArrayLike) -> Figure:
    """Draws how many nats of an image each latent dimension carries, the largest first.

    Args:
        vae: The model.
        images: `[n, height, width, channels]`, over which the divergence is averaged.

    Returns:
        A figure of bars, KL(q(Z_i|x) || p(Z_i)) in nats, with two standard errors of the mean.
    """
    posterior = encode_in_batches(vae, images)
    divergence = inference.kl_per_dimension(posterior, vae.prior, per_image=True).numpy()
    mean = divergence.mean(axis=0)
    count, latent_dim = divergence.shape
    error = divergence.std(axis=0, ddof=1) / np.sqrt(count) if count > 1 else np.zeros(latent_dim)
    order = np.argsort(-mean, kind="stable")
    ranks = np.arange(1, latent_dim + 1)
    figure = drawing.new_figure(height=3.2)
    axes = figure.subplots()
    axes.bar(ranks, mean[order], color=drawing.PALETTE[0], width=0.8)
    axes.errorbar(ranks, mean[order], 2.0 * error[order], fmt="none", ecolor="black", lw=0.8)
    axes.set(xlabel="latent dimension", ylabel="KL, nats per image", ylim=(0.0, None))
    axes.set_xlim(0.25, latent_dim + 0.75)
    if latent_dim <= 40:
        axes.set_xticks(ranks, [str(i + 1) for i in order], fontsize=8)
    else:
        axes.set_xlabel("latent dimensions, by rank")
    note = f"mean of {count} images, with 2 standard errors"
    axes.set_title(note, loc="right", fontsize=8, color=drawing.GRAY)
    drawing.hide_frame(axes)
    figure.suptitle(rf"KL$(q(Z_i \mid x) \,\|\, p(Z_i))$: {mean.sum():.1f} nats in all")
    return figure


def _draw_posterior_means(axes: Axes, means: np.ndarray, labels: ArrayLike | None) -> None:
    for deviations in (1, 2, 3):
        axes.add_patch(Circle((0, 0), deviations, fill=False, ec="0.8", lw=0.8, zorder=0))
    size = float(np.clip(4000 / len(means), 2.0, 16.0))
    if labels is None:
        axes.scatter(
            means[:, 0], means[:, 1], s=size, color=drawing.PALETTE[0], alpha=0.6, linewidths=0
        )
    else:
        labels = drawing.check_labels(labels, len(means))
        classes = np.unique(labels)
        colors = (
            drawing.PALETTE
            if len(classes) <= len(drawing.PALETTE)
            else matplotlib.colormaps["viridis"](np.linspace(0.0, 1.0, len(classes)))
        )
        for name, color in zip(classes, colors, strict=False):
            x, y = means[labels == name].T
            axes.scatter(x, y, s=size, color=color, alpha=0.6, linewidths=0, label=str(name))
            center = float(np.median(x)), float(np.median(y))
            text = axes.text(*center, str(name), color=color, ha="center", va="center")
            outline = patheffects.withStroke(linewidth=3, foreground="white")
            text.set(weight="bold", size=12, path_effects=[outline])
    reach = 1.05 * max(3.0, float(np.abs(means).max()))
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    axes.set(xlabel="$z_1$", ylabel="$z_2$")
    drawing.title_panel(axes, r"posterior means $E[Z \mid x]$")
    drawing.hide_frame(axes)
