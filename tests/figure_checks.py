"""What every figure must be, and a history of training to draw."""

import numpy as np


def assert_nothing_overlaps_or_is_cut(figure):
    figure.draw_without_rendering()
    tight = figure.get_tightbbox()
    assert tight.x0 >= -0.01
    assert tight.y0 >= -0.01
    assert tight.x1 <= figure.get_figwidth() + 0.01
    assert tight.y1 <= figure.get_figheight() + 0.01
    boxes = [axes.get_tightbbox() for axes in figure.axes]
    for i, box in enumerate(boxes):
        for other in boxes[:i]:
            assert not box.shrunk(0.99, 0.99).overlaps(other.shrunk(0.99, 0.99))


def history(epochs):
    epoch = np.arange(1, epochs + 1)
    elbo = -90.0 - 500.0 * np.exp(-epoch / 1.5)
    kl = 25.0 * (1.0 - np.exp(-epoch / 3.0))
    validation = elbo - 2.0 - 0.01 * (epoch - 30.0).clip(0.0) ** 2
    return {
        "epoch": epoch,
        "loss": -elbo,
        "elbo": elbo,
        "reconstruction": elbo + kl,
        "kl": kl,
        "val_elbo": validation,
        "val_reconstruction": validation + kl,
        "val_kl": kl,
        "beta": ["constant"] * epochs,
    }
