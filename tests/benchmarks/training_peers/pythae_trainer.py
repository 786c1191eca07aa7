"""pythae with its own trainer, as its users call it."""

import logging
import tempfile

import torch
from pythae.data.datasets import BaseDataset
from pythae.models import IWAE, VAE, IWAEConfig, VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from pythae.trainers.training_callbacks import TrainingCallback
from torch.nn import functional

from training_peers.problems import (
    EPSILON,
    LEARNING_RATE,
    SMALLEST_STDDEV,
    UNIT_SCALE,
)
from training_peers.torch_networks import Decoder, Encoder, keras_weights


class PythaeEncoder(BaseEncoder):
    def __init__(self, weights):
        super().__init__()
        self.network = Encoder(weights)

    def forward(self, images):
        mean, scale = self.network(images).chunk(2, dim=-1)
        # As the others have it, which takes no time, or it would not train alike.
        stddev = SMALLEST_STDDEV + functional.softplus(scale + UNIT_SCALE)
        return ModelOutput(embedding=mean, log_covariance=2 * torch.log(stddev))


class PythaeDecoder(BaseDecoder):
    def __init__(self, weights):
        super().__init__()
        self.network = Decoder(weights)

    def forward(self, latents):
        return ModelOutput(reconstruction=torch.sigmoid(self.network(latents)))


class TakeTurns(TrainingCallback):
    """Lets the trainer wait for its turn before each epoch."""

    def __init__(self, turns):
        self.turns = turns

    def on_epoch_begin(self, training_config, **kwargs):
        self.turns.begin()

    def on_epoch_end(self, training_config, **kwargs):
        self.turns.end()


def train(problem, data, turns):
    logging.disable(logging.INFO)
    sizes = {"input_dim": (1, 28, 28), "latent_dim": problem.latent_dim}
    if problem.num_samples == 1:
        model_class, config = VAE, VAEConfig(**sizes, reconstruction_loss="bce")
    else:
        model_class = IWAE
        config = IWAEConfig(**sizes, reconstruction_loss="bce", number_samples=problem.num_samples)
    model = model_class(
        config,
        encoder=PythaeEncoder(data.weights.encoder),
        decoder=PythaeDecoder(data.weights.decoder),
    )
    images = torch.from_numpy(data.images.transpose(0, 3, 1, 2)).float()
    with tempfile.TemporaryDirectory() as folder:
        trainer = BaseTrainer(
            model,
            train_dataset=BaseDataset(images, torch.zeros(len(images))),
            training_config=BaseTrainerConfig(
                output_dir=folder,
                num_epochs=turns.num_epochs,
                per_device_train_batch_size=problem.batch_size,
                learning_rate=LEARNING_RATE,
                optimizer_params={"eps": EPSILON},
            ),
            callbacks=[TakeTurns(turns)],
        )
        trainer.train()
    return keras_weights(model.encoder.network, model.decoder.network)
