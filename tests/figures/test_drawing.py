import io
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from PIL import Image

from tfvae.common.errors import InputError
from tfvae.figures.drawing import (
    DOTS_PER_INCH,
    WIDTH,
    draw_images,
    image_grid,
    new_figure,
    robust_limits,
    save_figure,
    trim_height,
)


@given(
    count=st.integers(1, 12),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    channels=st.sampled_from([1, 3]),
    columns=st.integers(1, 6),
    padding=st.integers(0, 3),
)
def test_grid_holds_every_image_at_its_place_and_white_elsewhere(
    count, height, width, channels, columns, padding
):
    levels = np.random.default_rng(0).integers(0, 255, (count, height, width, channels))
    grid = image_grid(levels / 255.0, columns=columns, padding=padding)
    rows = -(-count // columns)
    assert grid.dtype == np.uint8
    assert grid.shape == (
        rows * (height + padding) - padding,
        columns * (width + padding) - padding,
        channels,
    )
    remaining = grid.copy()
    for i, image in enumerate(levels):
        top, left = i // columns * (height + padding), i % columns * (width + padding)
        np.testing.assert_array_equal(grid[top : top + height, left : left + width], image)
        remaining[top : top + height, left : left + width] = 255
    assert (remaining == 255).all()


@pytest.mark.parametrize(
    ("count", "shape", "expected"),
    [
        (64, (28, 28, 1), (8, 8)),
        (64, (28, 20, 1), (8, 8)),
        (10, (28, 28, 1), (2, 5)),
        (7, (28, 28, 1), (3, 3)),
        (1, (28, 28, 1), (1, 1)),
        (16, (8, 32, 3), (8, 2)),
    ],
)
def test_grid_is_about_square_and_full_where_it_can_be(count, shape, expected):
    grid = image_grid(np.zeros((count, *shape)), padding=0)
    assert (grid.shape[0] // shape[0], grid.shape[1] // shape[1]) == expected


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 4, 4)), r"\[2, 4, 4\]"),
        (np.zeros((2, 4, 4, 2)), r"1 or 3 channels; got \[2, 4, 4, 2\]"),
        (np.zeros((0, 4, 4, 1)), r"are empty: shape \[0, 4, 4, 1\]; give at least one image"),
        (np.full((1, 4, 4, 1), 255), "maximum 255: divide by 255"),
        (np.full((1, 4, 4, 1), -0.1), "minimum -0.1 and maximum"),
        (np.full((1, 4, 4, 1), np.nan), "16 values not finite"),
    ],
)
def test_grid_refuses_what_is_no_image(images, message):
    with pytest.raises(InputError, match=message):
        image_grid(images)


def test_grid_refuses_no_columns():
    with pytest.raises(InputError, match="columns must be an integer of at least 1; got 0"):
        image_grid(np.zeros((1, 4, 4, 1)), columns=0)


def test_labels_stand_at_the_middle_of_their_rows_and_columns():
    axes = new_figure(height=4).subplots()
    draw_images(
        axes,
        np.zeros((6, 4, 5, 1)),
        columns=3,
        padding=2,
        row_labels=("above", "below"),
        column_labels=("left", "", "right"),
    )
    assert [label.get_text() for label in axes.get_yticklabels()] == ["above", "below"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["left", "right"]
    np.testing.assert_allclose(axes.get_yticks(), [1.5, 7.5])
    np.testing.assert_allclose(axes.get_xticks(), [2.0, 16.0])


@pytest.mark.parametrize("shape", [(4, 4, 1), (12, 4, 1), (4, 12, 3)])
def test_trimmed_figure_fits_its_images(shape):
    figure = new_figure(height=30)
    axes = figure.subplots()
    draw_images(axes, np.zeros((1, *shape)))
    trim_height(figure)
    figure.draw_without_rendering()
    box = axes.get_window_extent()
    assert box.width / box.height == pytest.approx(shape[1] / shape[0], rel=0.01)
    assert box.width == pytest.approx(figure.bbox.width, rel=0.05)
    assert box.height == pytest.approx(figure.bbox.height, rel=0.1)


def test_limits_leave_out_a_few_outliers_and_nothing_else():
    converging = np.concatenate([[-540.0, -300.0], np.linspace(-110.0, -90.0, 48)])
    low, high = robust_limits(converging)
    assert -115.0 < low < -110.0
    assert -90.0 < high < -85.0


def test_limits_leave_out_no_more_than_a_tenth_at_each_end():
    settled_at_once = np.concatenate([np.linspace(0.0, 24.0, 20), np.full(80, 25.0)])
    low, _ = robust_limits(settled_at_once)
    assert (settled_at_once < low).sum() <= 10


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50), st.floats(-1e6, 1e6))
def test_limits_are_a_range_that_holds_what_must_be_kept(values, kept):
    low, high = robust_limits(np.array(values), keep=[kept])
    assert low < high
    assert low <= kept <= high
    assert low <= np.median(values) <= high


def test_saved_figure_is_a_png_of_its_size_in_a_new_folder(tmp_path):
    figure = new_figure(height=2)
    draw_images(figure.subplots(), np.zeros((1, 4, 4, 1)))
    save_figure(figure, tmp_path / "figures" / "black.png")
    with Image.open(tmp_path / "figures" / "black.png") as image:
        image.load()
        assert image.format == "PNG"
        assert image.size == (WIDTH * DOTS_PER_INCH, 2 * DOTS_PER_INCH)
        assert image.getpixel((image.width // 2, image.height // 2))[:3] == (0, 0, 0)
        assert image.getpixel((2, 2))[:3] == (255, 255, 255)
    assert [file.name for file in (tmp_path / "figures").iterdir()] == ["black.png"]


def test_failure_while_saving_keeps_the_old_figure_and_leaves_nothing(tmp_path, monkeypatch):
    path = tmp_path / "samples.png"
    path.write_bytes(b"old")

    def fail_midway(self, target, **_):
        target.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", fail_midway)
    with pytest.raises(OSError, match="No space left"):
        save_figure(new_figure(height=1), path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["samples", "samples.keras"])
def test_unknown_ending_is_refused_before_anything_is_written(tmp_path, name):
    with pytest.raises(InputError, match=r"samples.*\.png"):
        save_figure(new_figure(height=1), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_figures_drawn_in_threads_are_those_drawn_alone():
    def draw(number, files):
        figure = new_figure(height=2)
        axes = figure.subplots()
        draw_images(axes, np.full((number + 1, 4, 4, 1), number / 4), row_labels=["image $x$"])
        figure.suptitle(f"figure {number}")
        trim_height(figure)
        figure.savefig(files[number], format="png")

    alone, together = ([io.BytesIO() for _ in range(4)] for _ in range(2))
    for number in range(4):
        draw(number, alone)
    threads = [threading.Thread(target=draw, args=(number, together)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [file.getvalue() for file in together] == [file.getvalue() for file in alone]
    assert len({file.getvalue() for file in alone}) == 4


def test_a_notebook_shows_a_figure():
    shown = new_figure(height=1, width=2)._repr_png_()
    assert Image.open(io.BytesIO(shown)).size == (200, 100)
