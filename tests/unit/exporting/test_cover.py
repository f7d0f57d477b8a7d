import numpy as np
import pytest
from matplotlib.image import imread

from continual_repmode.exporting.cover import draw_cover


def test_a_cover_shows_the_plane_that_varies_most_twice_as_wide_as_high(tmp_path):
    signal = np.random.default_rng(0).normal(size=(4, 12, 12))
    prediction = np.zeros((4, 12, 12))
    prediction[2, 6:, :] = 1.0
    draw_cover(signal, prediction, "nuclear_envelope", tmp_path / "cover.png")
    image = imread(tmp_path / "cover.png")
    height, width = image.shape[:2]
    assert width == 2 * height
    lower_right = image[int(0.6 * height) :, int(0.55 * width) :, :3]
    assert lower_right.min() == pytest.approx(1.0)


def test_a_constant_prediction_can_be_drawn(tmp_path):
    volume = np.zeros((2, 4, 4))
    draw_cover(volume, volume, "dna", tmp_path / "cover.png")
    assert (tmp_path / "cover.png").stat().st_size > 0
