import functools

import keras
import matplotlib
import numpy as np
import pytest
from figure_checks import assert_nothing_overlaps_or_is_cut, history
from matplotlib import pyplot
from matplotlib.text import Text

from tfvae import figures, networks
from tfvae.common.errors import InputError
from tfvae.figures.drawing import WIDTH
from tfvae.vae import VAE

SHAPES = [
    (28, 28, 1),
    (17, 23, 3),
    pytest.param((28, 20, 1), marks=pytest.mark.slow),
]


@functools.cache
def shared_vae(image_shape=(28, 28, 1), latent_dim=4):
    """A model that no test changes."""
    return small_vae(image_shape, latent_dim)


def small_vae(image_shape=(28, 28, 1), latent_dim=4):
    keras.utils.set_random_seed(0)
    return VAE(
        encoder=networks.mlp_encoder(image_shape, latent_dim, hidden=(16,)),
        decoder=networks.mlp_decoder(image_shape, latent_dim, hidden=(16,)),
    )


def random_images(count, image_shape=(28, 28, 1)):
    return np.random.default_rng(1).random((count, *image_shape), dtype=np.float32)


def drawn_images(axes, image_shape, padding=1):
    """The images of a grid, `[rows, columns, height, width, 3]`, as they are on the figure."""
    (picture,) = axes.images
    grid = np.asarray(picture.get_array())
    height, width = image_shape[:2]
    rows = (grid.shape[0] + padding) // (height + padding)
    columns = (grid.shape[1] + padding) // (width + padding)
    grid = np.pad(grid, ((0, padding), (0, padding), (0, 0)))
    cells = grid.reshape(rows, height + padding, columns, width + padding, 3).swapaxes(1, 2)
    return cells[:, :, :height, :width]


def as_pixels(images):
    images = np.rint(np.asarray(images) * 255)
    return np.broadcast_to(images, (*images.shape[:-1], 3))


def assert_pictures_are_undistorted(figure):
    for axes in figure.axes:
        for picture in axes.images:
            box = axes.get_window_extent()
            height, width = picture.get_array().shape[:2]
            assert box.width / box.height == pytest.approx(width / height, rel=0.01)


@pytest.mark.parametrize("image_shape", SHAPES)
def test_samples_are_those_of_the_model(image_shape):
    vae = shared_vae(image_shape)
    figure = figures.samples(vae, count=6, seed=3)
    probabilities, binary = (drawn_images(axes, image_shape) for axes in figure.axes)
    np.testing.assert_array_equal(
        probabilities.reshape(-1, *image_shape[:2], 3),
        as_pixels(vae.sample(6, seed=3, mean=True)),
    )
    np.testing.assert_array_equal(
        binary.reshape(-1, *image_shape[:2], 3), as_pixels(vae.sample(6, seed=3))
    )
    assert figure.get_suptitle() == "Samples from the model"
    assert all(axes.get_title() for axes in figure.axes)
    assert_nothing_overlaps_or_is_cut(figure)
    assert_pictures_are_undistorted(figure)


def test_binary_samples_are_of_the_latents_of_the_probabilities():
    vae = small_vae()
    for layer in vae.decoder.layers:
        layer.set_weights([30.0 * weight for weight in layer.get_weights()])
    probabilities, binary = (
        drawn_images(axes, (28, 28, 1)) / 255.0 for axes in figures.samples(vae, count=8).axes
    )
    certain = (probabilities < 0.001) | (probabilities > 0.999)
    assert certain.mean() > 0.5
    assert np.abs(probabilities - binary)[certain].mean() < 0.01
    assert np.abs(probabilities[::-1] - binary)[certain].mean() > 0.1


def test_samples_refuse_a_count_of_zero():
    with pytest.raises(InputError, match="0"):
        figures.samples(shared_vae(), count=0)


@pytest.mark.parametrize("image_shape", SHAPES)
@pytest.mark.parametrize(("count", "blocks"), [(1, 1), (13, 2)])
def test_reconstructions_stand_under_their_images(image_shape, count, blocks):
    vae = shared_vae(image_shape)
    images = random_images(count, image_shape)
    figure = figures.reconstructions(vae, images)
    assert len(figure.axes) == blocks
    drawn = np.concatenate([drawn_images(axes, image_shape) for axes in figure.axes], axis=1)
    np.testing.assert_array_equal(drawn[0, :count], as_pixels(images))
    np.testing.assert_array_equal(drawn[1, :count], as_pixels(vae(images)))
    assert (drawn[:, count:] == 255).all()
    for axes in figure.axes:
        labels = [label.get_text() for label in axes.get_yticklabels()]
        assert labels[0] == "image $x$"
        assert labels[1].startswith("reconstruction")
    assert_nothing_overlaps_or_is_cut(figure)
    assert_pictures_are_undistorted(figure)


def test_reconstructions_refuse_what_cannot_be_drawn():
    with pytest.raises(InputError, match="255"):
        figures.reconstructions(shared_vae(), np.full((2, 28, 28, 1), 255.0))
    with pytest.raises(InputError, match="columns must be an integer of at least 1; got 0"):
        figures.reconstructions(shared_vae(), random_images(2), columns=0)


@pytest.mark.parametrize("image_shape", SHAPES)
def test_latent_plane_decodes_the_quantiles_of_the_prior(image_shape):
    vae = shared_vae(image_shape, latent_dim=2)
    figure = figures.latent_plane(vae, steps=5)
    (axes,) = figure.axes
    drawn = drawn_images(axes, image_shape, padding=0)
    # Quantiles of N(0, 1) at 0.1, 0.3, 0.5, 0.7, 0.9: from a table.
    quantiles = np.array([-1.2815516, -0.5244005, 0.0, 0.5244005, 1.2815516], np.float32)
    for row, second in enumerate(quantiles[::-1]):
        latents = np.stack([quantiles, np.full(5, second)], axis=-1)
        expected = as_pixels(vae.decode(latents).mean())
        assert np.abs(drawn[row].astype(int) - expected).max() <= 1
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert labels == ["$-1.3$", "$-0.5$", "$0.0$", "$0.5$", "$1.3$"]
    assert [label.get_text() for label in axes.get_yticklabels()] == labels[::-1]
    assert_nothing_overlaps_or_is_cut(figure)
    assert_pictures_are_undistorted(figure)


@pytest.mark.parametrize("classes", [3, 26])
def test_latent_plane_shows_posterior_means_by_class(classes):
    vae = shared_vae(latent_dim=2)
    images = random_images(600)
    labels = np.array([f"class {i % classes:02}" for i in range(600)])
    figure = figures.latent_plane(vae, images, labels)
    means = np.asarray(vae.encode(images).mean())
    scatters = figure.axes[1].collections
    assert [scatter.get_label() for scatter in scatters] == sorted(set(labels))
    for scatter in scatters:
        np.testing.assert_allclose(
            scatter.get_offsets(), means[labels == scatter.get_label()], atol=1e-5
        )
    colors = {tuple(scatter.get_facecolor()[0]) for scatter in scatters}
    assert len(colors) == classes
    names = {text.get_text() for text in figure.axes[1].texts}
    assert names == set(labels)
    assert figure.axes[1].get_aspect() == 1.0
    assert_nothing_overlaps_or_is_cut(figure)


def test_latent_plane_without_labels_shows_every_posterior_mean_inside_the_axes():
    vae = small_vae(latent_dim=2)
    encoder_output = vae.encoder.layers[-1]
    kernel, bias = encoder_output.get_weights()
    encoder_output.set_weights([20.0 * kernel, bias])
    figure = figures.latent_plane(vae, random_images(20))
    (scatter,) = figure.axes[1].collections
    offsets = np.asarray(scatter.get_offsets())
    assert offsets.shape == (20, 2)
    assert np.abs(offsets).max() > 3.0
    assert np.abs(offsets).max() < figure.axes[1].get_xlim()[1]


def test_latent_plane_refuses_other_dimensions_and_other_labels():
    with pytest.raises(InputError, match="2 latent dimensions; this one has 4"):
        figures.latent_plane(shared_vae(latent_dim=4))
    with pytest.raises(InputError, match=r"shape \[3\]; got \[2\]"):
        figures.latent_plane(shared_vae(latent_dim=2), random_images(3), [0, 1])


def closed_form_kl(vae, images):
    posterior = vae.encode(images)
    mean, stddev = np.asarray(posterior.mean()), np.asarray(posterior.stddev())
    return 0.5 * (stddev**2 + mean**2 - 1.0) - np.log(stddev)


@pytest.mark.parametrize(
    ("image_shape", "latent_dim"), [((28, 28, 1), 6), ((17, 23, 3), 6), ((28, 28, 1), 1)]
)
def test_traversals_move_one_dimension_at_a_time_the_most_active_first(image_shape, latent_dim):
    vae = shared_vae(image_shape, latent_dim)
    images = random_images(50, image_shape)
    figure = figures.latent_traversals(vae, images, dimensions=3, steps=5)
    (axes,) = figure.axes
    drawn = drawn_images(axes, image_shape).astype(int)
    kl = closed_form_kl(vae, images).mean(axis=0)
    most_active = np.argsort(-kl)[:3]
    assert drawn.shape[:2] == (min(latent_dim, 3), 3 + 5)
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        f"$z_{{{i + 1}}}$:  {kl[i]:.2f} nats" for i in most_active
    ]
    for row, dimension in zip(drawn, most_active, strict=True):
        latents = np.tile(vae.encode(images[:1]).mean(), (5, 1))
        latents[:, dimension] = [-3.0, -1.5, 0.0, 1.5, 3.0]
        assert np.abs(row[3:] - as_pixels(vae.decode(latents).mean())).max() <= 1
        np.testing.assert_array_equal(row[0], as_pixels(images[0]))
        assert np.abs(row[1] - as_pixels(vae(images[:1])[0])).max() <= 1
        assert (row[2] == 255).all()
    assert_nothing_overlaps_or_is_cut(figure)
    assert_pictures_are_undistorted(figure)


@pytest.mark.parametrize("latent_dim", [1, 5, 60])
def test_bars_are_the_mean_kl_of_each_dimension_the_largest_first(latent_dim):
    vae = shared_vae(latent_dim=latent_dim)
    images = random_images(512 + 8)
    figure = figures.kl_per_dimension(vae, images)
    kl = closed_form_kl(vae, images)
    heights = [bar.get_height() for bar in figure.axes[0].patches]
    np.testing.assert_allclose(heights, np.sort(kl.mean(axis=0))[::-1], rtol=1e-4)
    (errors,) = figure.axes[0].collections
    first = errors.get_segments()[0]
    largest = kl[:, kl.mean(axis=0).argmax()]
    assert np.ptp(first[:, 1]) == pytest.approx(
        4 * largest.std(ddof=1) / np.sqrt(len(images)), rel=1e-3
    )
    assert f"{kl.mean(axis=0).sum():.1f} nats" in figure.get_suptitle()
    assert_nothing_overlaps_or_is_cut(figure)


def test_kl_needs_an_image():
    with pytest.raises(InputError, match="at least one"):
        figures.kl_per_dimension(shared_vae(), random_images(0))


def test_every_figure_is_readable_and_touches_no_global_state():
    settings = dict(matplotlib.rcParams)
    vae = shared_vae(latent_dim=2)
    images = random_images(12)
    for figure in (
        figures.samples(vae, count=4),
        figures.reconstructions(vae, images),
        figures.latent_plane(vae, images, np.arange(12) % 3),
        figures.latent_traversals(vae, images),
        figures.kl_per_dimension(vae, images),
        figures.training_curves(history(30)),
    ):
        sizes = [text.get_fontsize() for text in figure.findobj(Text) if text.get_text()]
        assert min(sizes) >= 8
        assert figure.get_figwidth() == WIDTH
    assert pyplot.get_fignums() == []
    assert dict(matplotlib.rcParams) == settings
