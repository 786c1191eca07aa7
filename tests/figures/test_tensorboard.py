import keras
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins import projector

import tfvae
from tfvae.common.errors import InputError
from tfvae.figures.drawing import image_grid
from tfvae.figures.tensorboard import ImageSummaries, LatentSummaries, tensorboard_callbacks
from tfvae.fitting.callbacks import KLWarmup

IMAGE_SHAPE = (6, 5, 1)


def random_images(count, image_shape=IMAGE_SHAPE):
    return np.random.default_rng(0).random((count, *image_shape), dtype=np.float32)


def compiled_vae(image_shape=IMAGE_SHAPE, learning_rate=1e-2):
    keras.utils.set_random_seed(0)
    encoder = tfvae.networks.mlp_encoder(image_shape, 3, hidden=(8,))
    decoder = tfvae.networks.mlp_decoder(image_shape, 3, hidden=(8,))
    vae = tfvae.VAE(encoder=encoder, decoder=decoder)
    vae.compile(keras.optimizers.Adam(learning_rate), run_eagerly=True)
    return vae


def values(folder, tag):
    """What was written under a tag: the steps, and an array for each of them."""
    # Zero keeps them all.
    accumulator = EventAccumulator(str(folder), size_guidance={"tensors": 0}).Reload()
    events = accumulator.Tensors(tag)
    return [event.step for event in events], [
        tf.make_ndarray(event.tensor_proto) for event in events
    ]


def pictures(folder, tag):
    """The images that were written under a tag."""
    # A summary of images is their width, their height and then the files.
    _, summaries = values(folder, tag)
    return [tf.io.decode_png(summary[2]).numpy() for summary in summaries]


def tags(folder):
    return set(EventAccumulator(str(folder)).Reload().Tags()["tensors"])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A model, its history and what TensorBoard got."""
    log_dir = tmp_path_factory.mktemp("tensorboard")
    vae, images = compiled_vae(), random_images(40)
    history = vae.fit(
        images,
        validation_data=(images,),
        batch_size=20,
        epochs=3,
        verbose=0,
        callbacks=[KLWarmup(epochs=2), *tensorboard_callbacks(log_dir, images, np.arange(40) % 10)],
    )
    return vae, images, history.history, log_dir


class TestTensorboard:
    def test_curves_are_those_of_the_history(self, trained):
        _, _, history, log_dir = trained
        for name in ("loss", "elbo", "reconstruction", "kl", "beta"):
            steps, curve = values(log_dir / "train", f"epoch_{name}")
            assert steps == [0, 1, 2]
            np.testing.assert_allclose(curve, history[name], rtol=1e-6)
        for name in ("loss", "elbo", "reconstruction", "kl"):
            _, curve = values(log_dir / "validation", f"epoch_{name}")
            np.testing.assert_allclose(curve, history[f"val_{name}"], rtol=1e-6)

    def test_no_chart_is_there_twice(self, trained):
        log_dir = trained[-1]
        assert tags(log_dir / "validation") == {
            f"epoch_{name}" for name in ("loss", "elbo", "reconstruction", "kl")
        }
        assert all(tag.startswith("epoch_") for tag in tags(log_dir / "train"))

    def test_limits_what_it_shows_of_many_images(self, tmp_path):
        _, images, latents = tensorboard_callbacks(tmp_path, random_images(1100), np.zeros(1100))
        assert len(images.images) == 32
        assert len(latents.images) == len(latents.labels) == 1000

    def test_takes_no_labels(self, tmp_path):
        assert tensorboard_callbacks(tmp_path, random_images(2))[-1].labels is None


class TestImageSummaries:
    def test_reconstructions_stand_under_the_images(self, trained):
        vae, images, _, log_dir = trained
        last = pictures(log_dir / "images", "reconstructions")[-1]
        # 32 images in rows of 8, each with a row of reconstructions under it.
        assert last.shape == (8 * 7 - 1, 8 * 6 - 1, 1)
        cells = np.pad(last, [(0, 1), (0, 1), (0, 0)]).reshape(4, 2, 7, 8, 6)
        cells = cells[:, :, :6, :, :5].transpose(1, 0, 3, 2, 4).reshape(2, 32, *IMAGE_SHAPE)
        np.testing.assert_allclose(cells[0] / 255, images[:32], atol=1 / 255)
        np.testing.assert_allclose(cells[1] / 255, vae(images[:32]), atol=1 / 255)

    def test_an_unfinished_row_is_filled_with_white(self, tmp_path):
        vae, images = compiled_vae(), random_images(11)
        vae.fit(images, verbose=0, callbacks=[ImageSummaries(tmp_path, images)])
        (picture,) = pictures(tmp_path, "reconstructions")
        assert picture.shape == (4 * 7 - 1, 8 * 6 - 1, 1)
        assert (picture[2 * 7 :, 3 * 6 :] == 255).all()
        assert (picture[2 * 7 :, : 3 * 6] < 255).any()

    def test_samples_are_of_the_same_latents_at_every_epoch(self, tmp_path):
        vae, images = compiled_vae(learning_rate=0.0), random_images(4)
        summaries = [ImageSummaries(tmp_path / str(seed), images, seed=seed) for seed in (0, 1)]
        vae.fit(images, epochs=2, verbose=0, callbacks=summaries)
        first, second = pictures(tmp_path / "0", "samples")
        np.testing.assert_array_equal(first, second)
        expected = image_grid(vae.sample(64, seed=0, mean=True))
        np.testing.assert_array_equal(first, expected)
        assert (pictures(tmp_path / "1", "samples")[0] != first).any()

    def test_samples_change_with_training(self, trained):
        first, *_, last = pictures(trained[-1] / "images", "samples")
        assert (first != last).any()

    def test_every_so_many_epochs(self, tmp_path):
        vae, images = compiled_vae(), random_images(4)
        summaries = ImageSummaries(tmp_path, images, every=2)
        vae.fit(images, epochs=4, verbose=0, callbacks=[summaries])
        steps, _ = values(tmp_path, "samples")
        assert steps == [0, 2]

    def test_resumed_training_goes_on_with_its_epochs(self, tmp_path):
        vae, images = compiled_vae(), random_images(4)
        summaries = ImageSummaries(tmp_path, images)
        vae.fit(images, epochs=6, initial_epoch=5, verbose=0, callbacks=[summaries])
        steps, _ = values(tmp_path, "samples")
        assert steps == [5]

    def test_does_not_change_training(self, tmp_path):
        histories = []
        for callbacks in ([], tensorboard_callbacks(tmp_path, random_images(4))):
            vae, images = compiled_vae(), random_images(8)
            fit = vae.fit(images, batch_size=4, epochs=2, verbose=0, callbacks=callbacks)
            histories.append(fit.history)
        assert histories[0] == histories[1]

    def test_a_diverged_model_is_not_drawn(self, tmp_path):
        vae, images = compiled_vae(learning_rate=np.inf), random_images(8)
        history = vae.fit(
            images, batch_size=4, verbose=0, callbacks=tensorboard_callbacks(tmp_path, images)
        ).history
        assert not np.isfinite(history["loss"][0])
        assert tags(tmp_path / "images") == set()

    @pytest.mark.parametrize("every", [0, -1, 1.5, True])
    def test_refuses_every(self, tmp_path, every):
        with pytest.raises(InputError, match=r"every must be an integer of at least 1"):
            ImageSummaries(tmp_path, random_images(1), every=every)

    def test_refuses_images_that_do_not_fit_the_model(self, tmp_path):
        summaries = ImageSummaries(tmp_path, random_images(2, (7, 7, 1)))
        with pytest.raises(InputError, match=r"of shape \[batch, 6, 5, 1\]; got"):
            compiled_vae().fit(random_images(8), verbose=0, callbacks=[summaries])

    def test_refuses_images_that_cannot_be_drawn(self, tmp_path):
        images = random_images(2, (4, 4, 2))
        with pytest.raises(InputError, match=r"1 or 3 channels; got \[1, 4, 4, 2\]"):
            compiled_vae((4, 4, 2)).fit(
                images, verbose=0, callbacks=tensorboard_callbacks(tmp_path, images)
            )


class TestLatentSummaries:
    def test_histogram_holds_the_kl_of_each_dimension(self, trained):
        vae, images, _, log_dir = trained
        steps, histograms = values(log_dir / "latents", "kl_per_dimension")
        assert steps == [0, 1, 2]
        posterior = vae.encode(images)
        mean, stddev = posterior.mean().numpy(), posterior.stddev().numpy()
        kl = np.mean((mean**2 + stddev**2 - 1) / 2 - np.log(stddev), axis=0)
        # Buckets are rows of left edge, right edge and count.
        left, right, count = histograms[-1].T
        assert count.sum() == 3
        np.testing.assert_allclose([left[0], right[-1]], [kl.min(), kl.max()], rtol=1e-4)

    def test_counts_active_units(self, tmp_path):
        vae, images = compiled_vae(learning_rate=0.0), random_images(600)
        # The first dimension follows a pixel, the others do not look at the image.
        inputs = keras.Input(IMAGE_SHAPE)
        pixel = keras.layers.Flatten()(inputs)[:, :1]
        outputs = keras.layers.ZeroPadding1D((0, 5))(pixel[..., None])[..., 0]
        vae = tfvae.VAE(encoder=keras.Model(inputs, outputs), decoder=vae.decoder)
        vae.compile(run_eagerly=True)
        vae.fit(images[:8], verbose=0, callbacks=[LatentSummaries(tmp_path, images)])
        _, active_units = values(tmp_path, "active_units")
        assert active_units == [1]

    def test_projector_finds_means_labels_and_images(self, trained):
        vae, images, _, log_dir = trained
        folder = log_dir / "latents"
        config = text_format.Parse(
            (folder / "projector_config.pbtxt").read_text(), projector.ProjectorConfig()
        )
        (embedding,) = config.embeddings
        means = np.loadtxt(folder / embedding.tensor_path, delimiter="\t")
        np.testing.assert_allclose(means, vae.encode(images).mean(), rtol=1e-4, atol=1e-4)
        labels = (folder / embedding.metadata_path).read_text().splitlines()
        assert labels == [str(i % 10) for i in range(40)]
        width, height = embedding.sprite.single_image_dim
        assert (height, width) == IMAGE_SHAPE[:2]
        # The projector reads the sprite row by row.
        sprite = np.asarray(Image.open(folder / embedding.sprite.image_path))
        rows, columns = sprite.shape[0] // height, sprite.shape[1] // width
        cells = sprite.reshape(rows, height, columns, width).swapaxes(1, 2)
        cells = cells.reshape(-1, *IMAGE_SHAPE)[:40]
        np.testing.assert_allclose(cells / 255, images, atol=1 / 255)

    def test_large_images_become_thumbnails(self, tmp_path):
        images = random_images(2, (130, 65, 3))
        vae = compiled_vae((130, 65, 3))
        vae.fit(images, verbose=0, callbacks=[LatentSummaries(tmp_path, images)])
        assert (
            "single_image_dim: 22\n    single_image_dim: 44"
            in (tmp_path / "projector_config.pbtxt").read_text()
        )
        assert Image.open(tmp_path / "images.png").mode == "RGB"

    def test_labels_stay_on_their_lines(self, tmp_path):
        images = random_images(3)
        labels = ["a\tb", "c\nd", "Ünder"]
        compiled_vae().fit(images, verbose=0, callbacks=[LatentSummaries(tmp_path, images, labels)])
        lines = (tmp_path / "labels.tsv").read_text(encoding="utf-8").splitlines()
        assert lines == ["a b", "c d", "Ünder"]

    @pytest.mark.parametrize("labels", [np.zeros(3), np.zeros((4, 1)), 0])
    def test_refuses_labels(self, tmp_path, labels):
        with pytest.raises(InputError, match=r"one per image, of shape \[4\]; got \["):
            LatentSummaries(tmp_path, random_images(4), labels)
