"""A training loop by hand in PyTorch, eager or with `torch.compile`, with the fused Adam."""

import math

import torch
from torch.nn import functional

from training_peers.problems import EPSILON, LEARNING_RATE, SMALLEST_STDDEV, UNIT_SCALE
from training_peers.torch_networks import Decoder, Encoder, keras_weights


class Loss(torch.nn.Module):
    def __init__(self, encoder, decoder, num_samples):
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.num_samples = num_samples

    def forward(self, images):
        mean, scale = self.encoder(images).float().chunk(2, dim=-1)
        stddev = SMALLEST_STDDEV + functional.softplus(scale + UNIT_SCALE)
        noise = torch.randn(self.num_samples, *mean.shape)
        latents = mean + stddev * noise
        logits = self.decoder(latents.flatten(0, 1)).float().unflatten(0, latents.shape[:2])
        # Half the time of `binary_cross_entropy_with_logits`.
        log_likelihood = (images * logits - functional.softplus(logits)).sum(dim=(2, 3, 4))
        if self.num_samples == 1:
            kl = torch.sum(0.5 * (stddev**2 + mean**2 - 1) - torch.log(stddev), dim=-1)
            return (kl - log_likelihood).mean()
        log_ratio = torch.sum(0.5 * (noise**2 - latents**2) + torch.log(stddev), dim=-1)
        bound = torch.logsumexp(log_likelihood + log_ratio, dim=0) - math.log(self.num_samples)
        return -bound.mean()


def train(problem, data, turns, compiled=False, bfloat16=False):
    torch.manual_seed(1)
    encoder, decoder = Encoder(data.weights.encoder), Decoder(data.weights.decoder)
    loss_of = Loss(encoder, decoder, problem.num_samples)
    optimizer = torch.optim.Adam(loss_of.parameters(), lr=LEARNING_RATE, eps=EPSILON, fused=True)
    if compiled:
        loss_of = torch.compile(loss_of)
    images = torch.from_numpy(data.images.transpose(0, 3, 1, 2)).float()
    for _ in turns:
        for indices in torch.randperm(len(images)).split(problem.batch_size):
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16):
                loss = loss_of(images[indices])
            loss.backward()
            optimizer.step()
    return keras_weights(encoder, decoder)
