import numpy as np
import pytest
from figure_checks import assert_nothing_overlaps_or_is_cut, history

from tfvae import figures
from tfvae.common.errors import InputError
from tfvae.inference import Bounds


def curve(axes, label):
    (line,) = [line for line in axes.lines if line.get_label() == label]
    return np.asarray(line.get_xdata()), np.asarray(line.get_ydata())


@pytest.mark.parametrize("epochs", [1, 50])
def test_curves_are_the_columns_of_the_history(epochs):
    columns = history(epochs)
    figure = figures.training_curves(columns)
    names = ["elbo", "reconstruction", "kl"]
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["ELBO", "reconstruction", "KL"]
    for axes, name in zip(figure.axes, names, strict=True):
        for label, prefix in (("training", ""), ("validation", "val_")):
            x, y = curve(axes, label)
            np.testing.assert_array_equal(x, columns["epoch"])
            np.testing.assert_array_equal(y, columns[prefix + name])
        assert axes.get_ylabel() == "nats per image"
    assert_nothing_overlaps_or_is_cut(figure)


def test_best_validation_epoch_is_marked_on_every_panel():
    columns = history(50)
    best = int(np.argmax(columns["val_elbo"]))
    assert best != np.argmax(columns["elbo"])
    figure = figures.training_curves(columns)
    for axes in figure.axes:
        (mark,) = [
            line for line in axes.lines if line.get_linestyle() == ":" and len(line.get_xdata())
        ]
        assert list(mark.get_xdata()) == [best + 1, best + 1]
    legend = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert legend == [
        "training",
        "validation",
        f"best: epoch {best + 1} (${columns['val_elbo'][best]:.2f}$)",
    ]


def test_an_objective_other_than_the_elbo_is_drawn_and_chooses_the_epoch():
    columns = history(50)
    columns["loss"] = 4.0 - columns["elbo"] / 2
    columns["val_loss"] = 5.0 + 0.1 * np.abs(columns["epoch"] - 20.0)
    assert np.argmax(columns["val_elbo"]) != 19
    figure = figures.training_curves(columns, monitor="val_loss")
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["objective", "ELBO", "reconstruction", "KL"]
    np.testing.assert_array_equal(curve(figure.axes[0], "training")[1], -columns["loss"])
    np.testing.assert_array_equal(curve(figure.axes[0], "validation")[1], -columns["val_loss"])
    np.testing.assert_array_equal(curve(figure.axes[1], "validation")[1], columns["val_elbo"])
    legend = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert legend[-1] == "best: epoch 20 ($-5.00$)"
    assert_nothing_overlaps_or_is_cut(figure)


def test_first_epochs_do_not_flatten_the_rest_and_are_counted():
    columns = history(50)
    axes = figures.training_curves(columns).axes[0]
    low, high = axes.get_ylim()
    assert low > -150.0
    assert low < columns["val_elbo"].max() < high
    off = int((np.minimum(columns["elbo"], columns["val_elbo"]) < low).sum())
    assert off > 0
    assert axes.get_title(loc="right") == f"{off} epochs off the axis"
    assert figures.training_curves(history(2)).axes[0].get_title(loc="right") == ""


def test_keras_history_without_validation_and_epochs_is_drawn():
    columns = {name: list(history(4)[name]) for name in ("elbo", "kl", "loss")}
    figure = figures.training_curves(columns)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["ELBO", "KL"]
    np.testing.assert_array_equal(curve(figure.axes[0], "training")[0], [1, 2, 3, 4])
    legend = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert legend[0] == "training"
    assert legend[1].startswith("best: epoch 4")
    assert_nothing_overlaps_or_is_cut(figure)


def test_epochs_without_a_finite_value_are_left_out_and_the_others_marked():
    columns = history(20)
    columns["val_elbo"][np.arange(20) % 5 != 4] = np.nan
    columns["elbo"][0] = -np.inf
    axes = figures.training_curves(columns).axes[0]
    x, y = curve(axes, "validation")
    np.testing.assert_array_equal(x, [5, 10, 15, 20])
    np.testing.assert_array_equal(y, columns["val_elbo"][4::5])
    assert [line.get_marker() for line in axes.lines if line.get_label() == "validation"] == ["o"]
    assert curve(axes, "training")[0][0] == 2
    assert np.isfinite(axes.get_ylim()).all()


def test_a_diverged_run_is_still_drawn_and_says_so():
    columns = history(3)
    columns["val_elbo"] = columns["elbo"] = np.full(3, np.nan)
    figure = figures.training_curves(columns)
    assert figure.axes[0].get_title(loc="right") == "no finite value"
    assert len(curve(figure.axes[2], "training")[0]) == 3
    assert_nothing_overlaps_or_is_cut(figure)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({}, r"columns \[\]"),
        ({"elbo": []}, "'elbo': 0"),
        ({"loss": [1.0]}, "column 'elbo'.*'loss'"),
        ({"elbo": [1.0, 2.0], "kl": [1.0]}, "'elbo': 2, 'kl': 1"),
    ],
)
def test_a_history_without_epochs_is_refused(columns, message):
    with pytest.raises(InputError, match=message):
        figures.training_curves(columns)


def test_what_was_monitored_must_be_there_and_known():
    with pytest.raises(InputError, match="must have a column 'loss'"):
        figures.training_curves({"elbo": [1.0]}, monitor="val_loss")
    with pytest.raises(InputError, match="monitor must be one of val_elbo, val_loss; got 'kl'"):
        figures.training_curves(history(2), monitor="kl")


def test_every_bound_is_drawn():
    bounds = {
        "prior": Bounds(np.array([1, 1000]), np.array([-20.0, -6.0]), np.array([np.inf, 0.1])),
        "importance": Bounds(np.array([1, 1000]), np.array([-5.5, -5.1]), np.array([np.inf, 0.01])),
        "annealed": Bounds(np.array([1, 8]), np.array([-5.3, -5.0]), np.array([np.inf, 0.02])),
    }
    figure = figures.likelihood_bounds(bounds, num_steps=30)
    assert "nats" in figure.axes[0].get_ylabel()
    for axes in figure.axes:
        assert axes.get_xscale() == "log"
        lines = [container.lines[0] for container in axes.containers]
        for line, bound in zip(lines, bounds.values(), strict=True):
            np.testing.assert_allclose(line.get_xydata().T, bound[:2])
    low, high = figure.axes[1].get_ylim()
    assert -6.0 < low < -5.5
    assert -5.0 < high < -4.5
    assert_nothing_overlaps_or_is_cut(figure)
