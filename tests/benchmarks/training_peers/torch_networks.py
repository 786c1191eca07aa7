"""The networks in PyTorch, made from the weights of the Keras ones, and turned back into those."""

import math

import torch
from torch import nn

from training_peers.problems import Weights, layers


class Encoder(nn.Module):
    """Images `[batch, 1, 28, 28]` to `[batch, 2 * latent_dim]`."""

    def __init__(self, weights):
        super().__init__()
        self.layers = nn.ModuleList(_layer(*layer, nn.Conv2d) for layer in layers(weights))

    def forward(self, images):
        features = images
        for index, layer in enumerate(self.layers):
            if isinstance(layer, nn.Linear) and features.ndim == 4:
                # As Keras flattens, and no copy of what lies with its channels last.
                features = features.permute(0, 2, 3, 1).flatten(1)
            features = layer(features)
            if index < len(self.layers) - 1:
                features = torch.relu(features)
        return features


class Decoder(nn.Module):
    """Latents `[batch, latent_dim]` to logits `[batch, 1, 28, 28]`."""

    def __init__(self, weights):
        super().__init__()
        self.layers = nn.ModuleList(_layer(*layer, nn.ConvTranspose2d) for layer in layers(weights))

    def forward(self, latents):
        features = latents
        for index, layer in enumerate(self.layers):
            if isinstance(layer, nn.ConvTranspose2d) and features.ndim == 2:
                size = math.isqrt(features.shape[1] // layer.in_channels)
                features = features.unflatten(1, (size, size, layer.in_channels))
                features = features.permute(0, 3, 1, 2)
            features = layer(features)
            if index < len(self.layers) - 1:
                features = torch.relu(features)
        return features.reshape(-1, 1, 28, 28)


def _layer(kernel, bias, convolution):
    if kernel.ndim == 2:
        layer = nn.Linear(*kernel.shape)
        kernel = kernel.T
    else:
        height, width, first, second = kernel.shape
        channels = (first, second) if convolution is nn.Conv2d else (second, first)
        layer = convolution(*channels, kernel_size=(height, width), stride=2, padding=1)
        layer = layer.to(memory_format=torch.channels_last)
        kernel = kernel.transpose(3, 2, 0, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(kernel.copy()))
        layer.bias.copy_(torch.from_numpy(bias))
    return layer


def keras_weights(encoder: Encoder, decoder: Decoder) -> Weights:
    """The weights as those of the Keras models."""

    def of(network):
        arrays = []
        for layer in network.layers:
            kernel = layer.weight.detach().numpy()
            arrays.append(kernel.T if kernel.ndim == 2 else kernel.transpose(2, 3, 1, 0))
            arrays.append(layer.bias.detach().numpy())
        return arrays

    return Weights(of(encoder), of(decoder))
