"""How the estimates of log p(x) close in on it as samples are added: numbers and their figure."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from tfvae.figures.layout import PALETTE, hide_frame, new_figure
from tfvae.inference.marginal_likelihood import LowEffectiveSampleSizeWarning, log_likelihood
from tfvae.vae import VAE

NUM_SAMPLES: Mapping[str, Sequence[int]] = {
    "prior": (1, 5, 50, 500, 5000),
    "importance": (1, 5, 50, 500, 5000),
    "annealed": (1, 4, 16),
}
"""Samples per image of each method; a sample of `annealed` is a chain."""

_COLOURS = {"importance": PALETTE[0], "prior": PALETTE[1], "annealed": PALETTE[2]}
_MARKERS = {"prior": "s", "importance": "o", "annealed": "^"}


class Bounds(NamedTuple):
    """The mean over images of estimates of log p(x), by one method; each `[k]`, in nats per image.

    Attributes:
        num_samples: The samples per image.
        mean: In expectation a lower bound of the mean of log p(x).
        standard_error: Of `mean`, as an estimate of its expectation for the images given.
    """

    num_samples: np.ndarray
    mean: np.ndarray
    standard_error: np.ndarray


def bounds_by_num_samples(
    vae: VAE,
    images: Any,
    num_samples: Mapping[str, Sequence[int]] = NUM_SAMPLES,
    seed: int = 0,
    *,
    num_steps: int = 500,
) -> dict[str, Bounds]:
    """Estimates log p(x) by several methods and numbers of samples.

    Args:
        vae: The model.
        images: `[n, height, width, channels]`, floating, 0 or 1; a hundred show the picture.
        num_samples: The numbers of samples per image, by method of `tfvae.log_likelihood`.
        seed: The same seed gives the same numbers.
        num_steps: The temperatures of `annealed`.

    Returns:
        The `Bounds` by method.

    Raises:
        InputError: As `tfvae.log_likelihood` does.
    """
    return {
        method: Bounds(
            np.array(counts),
            *np.transpose([_mean(vae, images, method, count, seed, num_steps) for count in counts]),
        )
        for method, counts in num_samples.items()
    }


def bound_against_num_samples(bounds: Mapping[str, Bounds], *, num_steps: int = 500) -> Figure:
    """Draws the bounds against the number of samples: why an encoder is wanted.

    Args:
        bounds: By method, as `bounds_by_num_samples` gives them.
        num_steps: The temperatures of `annealed`, for its name.

    Returns:
        A figure of a line a method, with bars of two standard errors; on the right without the
        naive estimate's range.
    """
    names = {
        "prior": r"prior: $z \sim p(Z)$",
        "importance": r"importance: $z \sim q(Z \mid x)$",
        "annealed": f"annealed: chains of {num_steps} temperatures",
    }
    figure = new_figure(height=4.2, width=9.0)
    panels = figure.subplots(1, 2)
    for axes in panels:
        for method, bound in bounds.items():
            axes.errorbar(
                bound.num_samples,
                bound.mean,
                yerr=2 * np.nan_to_num(bound.standard_error, posinf=0.0),
                label=names.get(method, method),
                color=_COLOURS.get(method),
                marker=_MARKERS.get(method),
                capsize=3,
            )
        axes.set_xscale("log")
        axes.set_xlabel("samples (annealed: chains) per image")
        hide_frame(axes)
        axes.grid(alpha=0.3)
    # Beside the naive estimate, the others look like one flat line.
    close = [bound.mean for method, bound in bounds.items() if method != "prior"]
    if close:
        low, high = np.min(np.concatenate(close)), np.max(np.concatenate(close))
        margin = 0.1 * (high - low) or 1.0
        panels[1].set_ylim(low - margin, high + margin)
    panels[0].set_ylabel(r"mean estimate of $\log p(x)$ in nats")
    panels[0].set_title("all estimates")
    panels[1].set_title("the best, enlarged")
    panels[0].legend(frameon=False)
    figure.suptitle("Lower bounds on the log-likelihood")
    return figure


def _mean(vae, images, method, num_samples, seed, num_steps):
    with warnings.catch_warnings():
        # Bounds that are far off are what is to be seen.
        warnings.simplefilter("ignore", LowEffectiveSampleSizeWarning)
        estimate = log_likelihood(
            vae,
            images,
            method=method,
            num_samples=num_samples,
            seed=seed,
            num_steps=num_steps,
            diagnostics=True,
        )
    errors = np.asarray(estimate.standard_error, np.float64)
    mean = np.mean(np.asarray(estimate.log_likelihood, np.float64))
    return mean, np.sqrt(np.sum(errors**2)) / len(errors)
