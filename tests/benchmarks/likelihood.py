"""Decodes per second of the importance-weighted log p(x), beside pythae's `get_nll`.

    pip install "tfvae[bench]"
    python tests/benchmarks/likelihood.py --data-dir TFDS_FOLDER --json likelihood.json

All estimate log p(x) of the same kind of images with the same architecture, 784-200-200-50, and
5000 samples an image, in turns, so that other work on the machine hits all. A decode is one latent
decoded and compared with its image. pythae is given its fastest batch size of those tried.

What the decoder in bfloat16 costs in accuracy is told by log p(x) of MNIST test images under a
model that was trained for a few epochs, from the same latents with both decoders.
"""

import argparse
import json
import os
import statistics
import sys
import time
import warnings

import numpy as np

NUM_SAMPLES = 5000
LATENT_DIM = 50
HIDDEN = 200
PYTHAE_BATCH_SIZES = (100, 500, 1000, 5000)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=64, help="images a run of tfvae estimates")
    parser.add_argument("--peer-images", type=int, default=4, help="images a run of pythae does")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--epochs", type=int, default=10, help="that the trained model has")
    parser.add_argument("--test-images", type=int, default=1000, help="for the accuracy")
    parser.add_argument("--data-dir", help="of TFDS, with mnist; by default TFDS's own")
    parser.add_argument("--json", help="where to write the figures")
    settings = parser.parse_args()
    # On a busy machine, threads that wait by spinning would slow pythae down tenfold.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # Untrained networks give uneven weights, which does not matter here.
    warnings.filterwarnings("ignore", message=".*effective sample size")
    from tfvae.common.errors import InputError

    figures = measure_speed(settings)
    try:
        figures["log_likelihood"] = measure_accuracy(settings)
    except InputError as error:
        print(f"log p(x) of MNIST left out: {error}", file=sys.stderr)
    if settings.json:
        from tfvae.common.files import atomic_write

        with atomic_write(settings.json) as path:
            path.write_text(json.dumps(figures, indent=1) + "\n")


def measure_speed(settings):
    peer_run = make_pythae(settings.peer_images)
    batch_size = max(
        PYTHAE_BATCH_SIZES, key=lambda size: decodes_per_second(lambda: peer_run(size))
    )
    peer = f"pythae, batch {batch_size}"
    contenders = {
        "tfvae": make_tfvae(settings.images, "float32"),
        "tfvae, decoder in bfloat16": make_tfvae(settings.images, "mixed_bfloat16"),
        peer: lambda: peer_run(batch_size),
    }
    rates = {name: [] for name in contenders}
    for _ in range(settings.repeats):
        for name, run in contenders.items():
            rates[name].append(decodes_per_second(run))

    print(
        f"{'784-200-200-50, 5000 samples':32}{'decodes/s':>12}{'lowest':>12}{'highest':>12}"
        f"{'by pythae':>12}{'(of the best)':>15}"
    )
    ratios, ratios_of_best = {}, {}
    for name, values in rates.items():
        pairs = [ours / theirs for ours, theirs in zip(values, rates[peer], strict=True)]
        ratios[name] = statistics.median(pairs)
        ratios_of_best[name] = max(values) / max(rates[peer])
        print(
            f"{name:32}{statistics.median(values):12,.0f}{min(values):12,.0f}{max(values):12,.0f}"
            f"{ratios[name]:12.2f}{ratios_of_best[name]:15.2f}"
        )
    return {
        "decodes_per_second": rates,
        "median_ratio_to_pythae": ratios,
        "ratio_of_best_to_pythae": ratios_of_best,
    }


def measure_accuracy(settings):
    import tfvae

    options = {"data_dir": settings.data_dir, "batch_size": settings.test_images}
    test_batches = tfvae.load_dataset("mnist", "test", binarization="fixed", **options)
    images = next(iter(test_batches))
    training_batches = tfvae.load_dataset("mnist", seed=0, data_dir=settings.data_dir)

    vae = build_vae("float32")
    vae.compile()
    vae.fit(training_batches, epochs=settings.epochs, verbose=0)
    in_bfloat16 = build_vae("mixed_bfloat16")
    in_bfloat16.encoder.set_weights(vae.encoder.get_weights())
    in_bfloat16.decoder.set_weights(vae.decoder.get_weights())
    estimates = {
        "float32": tfvae.log_likelihood(vae, images, num_samples=NUM_SAMPLES, seed=0).numpy(),
        "bfloat16": tfvae.log_likelihood(
            in_bfloat16, images, num_samples=NUM_SAMPLES, seed=0
        ).numpy(),
    }
    # Of the same images, by the same latents.
    estimates["difference"] = estimates["bfloat16"] - estimates["float32"]
    print(f"\nlog p(x) of {len(images)} test images of MNIST, after {settings.epochs} epochs")
    figures = {}
    for name, values in estimates.items():
        mean, standard_error = values.mean(), values.std(ddof=1) / len(values) ** 0.5
        figures[name] = {"mean": float(mean), "standard_error": float(standard_error)}
        print(f"{name:12}{mean:10.4f} +- {standard_error:.4f} nats")
    return figures


def decodes_per_second(run):
    start = time.perf_counter()
    num_images = run()
    return num_images * NUM_SAMPLES / (time.perf_counter() - start)


def random_images(count):
    return (np.random.default_rng(0).uniform(size=(count, 28, 28, 1)) < 0.2).astype("float32")


def build_vae(decoder_dtype):
    import tfvae

    sizes = {"latent_dim": LATENT_DIM, "hidden": (HIDDEN, HIDDEN)}
    return tfvae.VAE(
        encoder=tfvae.networks.mlp_encoder((28, 28, 1), **sizes),
        decoder=tfvae.networks.mlp_decoder((28, 28, 1), **sizes, dtype=decoder_dtype),
    )


def make_tfvae(num_images, decoder_dtype):
    import tfvae

    vae = build_vae(decoder_dtype)
    images = random_images(num_images)

    def run():
        tfvae.log_likelihood(vae, images, num_samples=NUM_SAMPLES, seed=0).numpy()
        return num_images

    run()
    return run


def make_pythae(num_images):
    import torch
    from pythae.models import VAE, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder

    class Encoder(BaseEncoder):
        def __init__(self):
            super().__init__()
            self.hidden = perceptron(784)
            self.location = torch.nn.Linear(HIDDEN, LATENT_DIM)
            self.log_variance = torch.nn.Linear(HIDDEN, LATENT_DIM)

        def forward(self, images):
            features = self.hidden(images.reshape(-1, 784))
            return ModelOutput(
                embedding=self.location(features), log_covariance=self.log_variance(features)
            )

    class Decoder(BaseDecoder):
        def __init__(self):
            super().__init__()
            self.layers = torch.nn.Sequential(
                perceptron(LATENT_DIM), torch.nn.Linear(HIDDEN, 784), torch.nn.Sigmoid()
            )

        def forward(self, latents):
            return ModelOutput(reconstruction=self.layers(latents).reshape(-1, 1, 28, 28))

    def perceptron(inputs):
        return torch.nn.Sequential(
            torch.nn.Linear(inputs, HIDDEN),
            torch.nn.ReLU(),
            torch.nn.Linear(HIDDEN, HIDDEN),
            torch.nn.ReLU(),
        )

    config = VAEConfig(input_dim=(1, 28, 28), latent_dim=LATENT_DIM, reconstruction_loss="bce")
    vae = VAE(config, encoder=Encoder(), decoder=Decoder()).eval()
    images = torch.from_numpy(random_images(num_images).transpose(0, 3, 1, 2))

    def run(batch_size):
        with torch.no_grad():
            vae.get_nll(images, n_samples=NUM_SAMPLES, batch_size=batch_size)
        return num_images

    run(1000)
    return run


if __name__ == "__main__":
    main()
