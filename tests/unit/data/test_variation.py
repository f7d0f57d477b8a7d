"""Turned and scaled patches against SciPy; what changes only the light."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, map_coordinates

from continual_repmode.data.variation import UNVARIED, Turn, Variation
from continual_repmode.errors import UserError


def smooth(*shape: int) -> torch.Tensor:
    noise = np.random.default_rng(0).standard_normal(shape)
    return torch.from_numpy(gaussian_filter(noise, 1.5)).float()[None]


def by_scipy(box: torch.Tensor, turn: Turn, patch: tuple[int, ...]) -> np.ndarray:
    """Take each voxel of the patch from where the turn moves it from, in float64."""
    z, y, x = np.indices(patch).astype(float)
    middle = [(n - 1) / 2 for n in box.shape[1:]]
    y, x = y - (patch[1] - 1) / 2, x - (patch[2] - 1) / 2
    cos, sin = math.cos(turn.angle), math.sin(turn.angle)
    from_y = middle[1] + (cos * y + sin * x) / turn.scale
    from_x = middle[2] + (cos * x - sin * y) / turn.scale
    volume = box[0].double().numpy()
    return map_coordinates(volume, [z, from_y, from_x], order=1, mode="mirror")


def test_any_turn_is_linear_interpolation_about_the_middle():
    rng = np.random.default_rng(1)
    for _ in range(30):
        turn = Turn(0, rng.uniform(0, 2 * math.pi), rng.uniform(0.6, 1.5))
        patch = (2, *(int(n) for n in rng.integers(5, 12, 2)))
        box = smooth(*turn.region(patch))

        turned = turn.apply(box, patch)

        assert turned.shape == (1, *patch)
        np.testing.assert_allclose(turned[0], by_scipy(box, turn, patch), atol=1e-5)


def test_a_box_that_the_image_cuts_off_is_mirrored():
    turn, patch = Turn(0, 0.7, 0.8), (2, 8, 10)
    box = smooth(*patch)

    turned = turn.apply(box, patch)

    np.testing.assert_allclose(turned[0], by_scipy(box, turn, patch), atol=1e-5)


def test_a_whole_box_leaves_nothing_to_invent_and_nothing_over():
    """A ramp stays a ramp, its slope turned and scaled, only if nothing is mirrored."""
    patch = (1, 7, 9)
    for angle in np.linspace(0, 2 * math.pi, 24):
        turn = Turn(0, float(angle), 1.25)
        _, rows, columns = turn.region(patch)
        y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        ramp = (3.0 * y + x)[None, None]

        turned = turn.apply(ramp, patch)[0, 0].double()

        cos, sin = math.cos(angle), math.sin(angle)
        slopes = (3 * cos - sin) / 1.25, (3 * sin + cos) / 1.25
        for axis, slope in enumerate(slopes):
            steps = turned.diff(dim=axis)
            torch.testing.assert_close(
                steps, torch.full_like(steps, slope), atol=1e-4, rtol=0
            )
        needed = abs(cos) * 6 + abs(sin) * 8, abs(sin) * 6 + abs(cos) * 8
        for side, span in zip((rows, columns), needed, strict=True):
            assert span / 1.25 + 1 <= side + 1e-5 < span / 1.25 + 2 + 1e-5


def test_quarter_turns_move_voxels_and_change_none():
    box = torch.randn(1, 3, 6, 6)
    for quarters in range(4):
        turned = Turn(quarters).apply(box, (3, 6, 6))
        expected = np.rot90(box.numpy(), quarters, axes=(-2, -1))
        np.testing.assert_array_equal(turned, expected)
        by_angle = Turn(0, quarters * math.pi / 2).apply(box, (3, 6, 6))
        np.testing.assert_allclose(by_angle, expected, atol=1e-5)


def test_every_quarter_turn_is_drawn_equally_often():
    torch.manual_seed(0)
    variation = Variation(rotation="quarter")
    drawn = [variation.draw_turn().quarters for _ in range(2000)]
    assert min(drawn.count(quarters) for quarters in range(4)) > 400


def test_angles_and_scales_fill_their_range():
    torch.manual_seed(0)
    variation = Variation(rotation="any", scaling=0.2)
    turns = [variation.draw_turn() for _ in range(2000)]
    angles, scales = [t.angle for t in turns], [t.scale for t in turns]
    for values, low, high in ((angles, 0, 2 * math.pi), (scales, 0.8, 1.2)):
        counts, _ = np.histogram(values, bins=10, range=(low, high))
        assert counts.sum() == 2000
        assert counts.min() > 140


def test_the_light_gets_gain_and_offset_and_noise():
    torch.manual_seed(0)
    light = torch.randn(1, 16, 32, 32)
    dimmed = Variation(intensity=0.3).change_light(light)
    gain, offset = np.polyfit(light.flatten(), dimmed.flatten(), 1)
    torch.testing.assert_close(dimmed, float(gain) * light + float(offset))
    assert 0.7 < gain < 1.3
    assert -0.3 < offset < 0.3
    noise = Variation(noise=0.2).change_light(light) - light
    assert noise.std() == pytest.approx(0.2, rel=0.03)
    assert noise.mean() == pytest.approx(0, abs=0.01)


def test_what_is_off_draws_nothing_and_changes_nothing():
    state, box = torch.get_rng_state(), torch.randn(1, 2, 4, 4)
    torch.set_rng_state(state)
    turn = UNVARIED.draw_turn()
    assert turn.region((2, 4, 4)) == (2, 4, 4)
    assert turn.apply(box, (2, 4, 4)) is box
    assert UNVARIED.change_light(box) is box
    assert torch.equal(torch.get_rng_state(), state)


def test_values_out_of_range_are_refused():
    for values, message in (
        ({"rotation": "half"}, "data.rotation=half: must be none or quarter or any"),
        ({"scaling": 1.0}, "data.scaling=1.0: must be 0 to below 1"),
        ({"intensity": -0.1}, "data.intensity=-0.1: must be 0 to below 1"),
        ({"noise": float("nan")}, "data.noise=nan: must be 0 or more"),
    ):
        with pytest.raises(UserError, match=message):
            Variation(**values)


def test_quarter_turns_need_a_square():
    with pytest.raises(UserError, match=r"patch_size=\[2, 4, 6\] is not square"):
        Variation(rotation="quarter").check_patch((2, 4, 6))
    Variation(rotation="any").check_patch((2, 4, 6))
