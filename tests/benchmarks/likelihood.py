"""Decodes a second of the importance-weighted log p(x), beside pythae's `get_nll`.

    pip install "tfvae[bench]"
    python tests/benchmarks/likelihood.py --json likelihood.json

Both estimate log p(x) of the same kind of images with the same architecture, 784-200-200-50, and
5000 samples an image, in turns, so that other work on the machine hits both. A decode is one latent
decoded and compared with its image. pythae is given its fastest batch size of those tried.
"""

import argparse
import json
import os
import statistics
import time
import warnings

import numpy as np

NUM_SAMPLES = 5000
LATENT_DIM = 50
HIDDEN = 200
PYTHAE_BATCH_SIZES = (100, 500, 1000, 5000)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=32, help="images a run of tfvae estimates")
    parser.add_argument("--peer-images", type=int, default=4, help="images a run of pythae does")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", help="where to write the figures")
    settings = parser.parse_args()
    # On a busy machine, threads that wait by spinning would slow pythae down tenfold.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # Untrained networks give uneven weights, which does not matter here.
    warnings.filterwarnings("ignore", message=".*effective sample size")

    tfvae_run = make_tfvae(settings.images)
    peer_run = make_pythae(settings.peer_images)
    batch_size = max(PYTHAE_BATCH_SIZES, key=lambda size: decodes_per_second(peer_run, size))
    contenders = {"tfvae": tfvae_run, f"pythae, batch {batch_size}": peer_run}
    arguments = {"tfvae": ()}
    rates = {name: [] for name in contenders}
    for _ in range(settings.repeats):
        for name, run in contenders.items():
            rates[name].append(decodes_per_second(run, *arguments.get(name, (batch_size,))))

    medians = {name: statistics.median(values) for name, values in rates.items()}
    ratios = [ours / theirs for ours, theirs in zip(*rates.values(), strict=True)]
    print(f"{'784-200-200-50, 5000 samples':32}{'decodes/s':>12}{'lowest':>12}{'highest':>12}")
    for name, values in rates.items():
        print(f"{name:32}{medians[name]:12,.0f}{min(values):12,.0f}{max(values):12,.0f}")
    best_ratio = max(rates["tfvae"]) / max(values)
    print(
        f"ratio: {statistics.median(ratios):.2f} (median of pairs), {best_ratio:.2f} (of the best)"
    )
    if settings.json:
        from tfvae.files import written_whole

        figures = {
            "decodes_per_second": rates,
            "median_ratio": statistics.median(ratios),
            "ratio_of_best": best_ratio,
        }
        with written_whole(settings.json) as path:
            path.write_text(json.dumps(figures, indent=1) + "\n")


def decodes_per_second(run, *arguments):
    start = time.perf_counter()
    num_images = run(*arguments)
    return num_images * NUM_SAMPLES / (time.perf_counter() - start)


def random_images(count):
    return (np.random.default_rng(0).uniform(size=(count, 28, 28, 1)) < 0.2).astype("float32")


def make_tfvae(num_images):
    import tfvae

    vae = tfvae.VAE(
        encoder=tfvae.networks.mlp_encoder((28, 28, 1), LATENT_DIM, hidden=(HIDDEN, HIDDEN)),
        decoder=tfvae.networks.mlp_decoder((28, 28, 1), LATENT_DIM, hidden=(HIDDEN, HIDDEN)),
    )
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
