from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch

from continual_repmode.data.collection import LoadedPair
from continual_repmode.data.dataset import PatchDataset, VolumeDataset
from continual_repmode.data.patches import cut, random_flips, random_start
from continual_repmode.data.variation import Variation
from continual_repmode.errors import UserError
from continual_repmode.volumes.normalization import Intensity


@dataclass
class NumberedPair:
    """A pair whose target is the negative of its signal, to see that both match."""

    shape: tuple[int, int, int]
    name: str = "dna_field"
    task: str = "dna"
    num_loads: list[int] = field(default_factory=lambda: [0])

    def load(self) -> LoadedPair:
        self.num_loads[0] += 1
        signal = np.arange(1, np.prod(self.shape) + 1, dtype=np.float32)
        signal = signal.reshape(self.shape)
        return LoadedPair(signal, -signal, Intensity(0, 1), Intensity(0, 1))


def test_nothing_is_loaded_before_it_is_asked_for():
    pair = NumberedPair((4, 8, 8))
    patches, volumes = PatchDataset([pair] * 3, (2, 4, 4)), VolumeDataset([pair] * 3)

    assert len(patches) == len(volumes) == 3
    assert pair.num_loads == [0]


def test_signal_and_target_come_from_the_same_place_flipped_alike():
    torch.manual_seed(0)
    dataset = PatchDataset([NumberedPair((4, 8, 8))], (2, 4, 4))

    seen = set()
    for _ in range(50):
        signal, target = dataset[0]
        assert signal.shape == target.shape == (1, 2, 4, 4)
        assert signal.dtype == target.dtype == torch.float32
        torch.testing.assert_close(target, -signal, rtol=0, atol=0)
        seen.add(tuple(signal.flatten().tolist()))
    assert len(seen) > 40


def test_without_flips_every_patch_is_a_plain_box():
    torch.manual_seed(0)
    dataset = PatchDataset([NumberedPair((4, 8, 8))], (2, 4, 4), flip_axes="")

    for _ in range(30):
        signal, _ = dataset[0]
        assert bool((signal.diff(dim=3) == 1).all())
        assert bool((signal.diff(dim=2) == 8).all())


def test_flips_keep_to_the_axes_asked_for():
    torch.manual_seed(0)
    dataset = PatchDataset([NumberedPair((4, 8, 8))], (2, 4, 4), flip_axes="YX")

    steps_z = {float(dataset[0][0].diff(dim=1).unique()) for _ in range(30)}
    steps_x = {float(dataset[0][0].diff(dim=3).unique()) for _ in range(30)}
    assert steps_z == {64.0}
    assert steps_x == {1.0, -1.0}


def test_without_further_settings_only_places_and_flips_are_drawn():
    """Runs of earlier versions repeat only if nothing else is drawn, in this order."""
    pair = NumberedPair((8, 16, 16))
    dataset = PatchDataset([pair], (2, 4, 4))
    torch.manual_seed(1)
    patches = [dataset[0] for _ in range(5)]
    state = torch.get_rng_state()

    torch.manual_seed(1)
    for signal, target in patches:
        start, flips = random_start((8, 16, 16), (2, 4, 4)), random_flips()
        assert torch.equal(signal, cut(pair.load().signal, start, (2, 4, 4), flips))
        assert torch.equal(target, -signal)
    assert torch.equal(torch.get_rng_state(), state)


VARIED = Variation(rotation="any", scaling=0.2, intensity=0.1, noise=0.1)


@pytest.mark.parametrize("rotation", ["none", "quarter", "any"])
def test_signal_and_target_are_turned_and_scaled_alike(rotation):
    torch.manual_seed(0)
    variation = Variation(rotation=rotation, scaling=0.2)
    dataset = PatchDataset([NumberedPair((4, 9, 9))], (2, 8, 8), variation=variation)

    for _ in range(20):
        signal, target = dataset[0]
        assert signal.shape == (1, 2, 8, 8)
        torch.testing.assert_close(target, -signal, rtol=0, atol=0)


def test_quarter_turns_of_a_patch_are_boxes_of_the_volume():
    torch.manual_seed(0)
    dataset = PatchDataset(
        [NumberedPair((2, 8, 8))],
        (2, 4, 4),
        "",
        variation=Variation(rotation="quarter"),
    )

    steps = set()
    for _ in range(40):
        signal, _ = dataset[0]
        step_y, step_x = (signal.diff(dim=axis).unique() for axis in (2, 3))
        steps.add((float(step_y), float(step_x)))
    assert steps == {(8, 1), (1, -8), (-8, -1), (-1, 8)}


def test_changes_of_the_light_leave_the_target_alone():
    torch.manual_seed(0)
    pair = NumberedPair((2, 4, 4))
    light_only = Variation(intensity=0.1, noise=0.1)
    dataset = PatchDataset([pair], (2, 4, 4), "", variation=light_only)

    signal, target = dataset[0]

    np.testing.assert_array_equal(target[0], pair.load().target)
    assert not np.allclose(signal[0], pair.load().signal)


def test_varied_patches_of_the_foreground_repeat_with_the_global_generator():
    dataset = PatchDataset(
        [NumberedPair((4, 16, 16))], (2, 6, 6), sampling="foreground", variation=VARIED
    )
    torch.manual_seed(1)
    expected = [dataset[0] for _ in range(5)]

    torch.manual_seed(1)

    for signal, target in expected:
        again = dataset[0]
        assert torch.equal(again[0], signal)
        assert torch.equal(again[1], target)


def test_an_image_smaller_than_the_patch_is_named_with_the_remedies():
    dataset = PatchDataset([NumberedPair((4, 8, 8))], (2, 16, 4))
    message = r"'dna_field' measures \(4, 8, 8\) .*16.*patch_s.*pad_small=true"
    with pytest.raises(UserError, match=message):
        dataset[0]


def test_padding_lets_small_images_in_both_channels_alike():
    dataset = PatchDataset([NumberedPair((4, 8, 8))], (6, 16, 4), pad_small=True)

    signal, target = dataset[0]

    assert signal.shape == (1, 6, 16, 4)
    assert torch.equal(target, -signal)


def test_impossible_settings_are_refused():
    pairs = [NumberedPair((4, 8, 8))]
    for settings, message in (
        ({"patch_size": (2, 4)}, r"data\.patch_size="),
        ({"patch_size": (0, 4, 4)}, r"data\.patch_size="),
        ({"flip_axes": "XY"}, "flip_axes='XY'"),
        ({"sampling": "bright"}, "sampling='bright': use uniform or foreground"),
    ):
        with pytest.raises(UserError, match=message):
            PatchDataset(pairs, **{"patch_size": (2, 4, 4)} | settings)


def test_whole_volumes_are_copies():
    pair = NumberedPair((4, 8, 8))
    loaded = pair.load()
    loaded.signal.flags.writeable = False
    pair.load = lambda: loaded  # a cache of its own

    signal, target = VolumeDataset([pair])[0]
    target.zero_()

    assert signal.shape == (1, 4, 8, 8)
    np.testing.assert_array_equal(signal[0], loaded.signal)
    assert loaded.target.all()


def test_names_that_a_benchmark_would_take_for_labels_are_absent():
    for name in ("targets", "task_labels"):
        assert not hasattr(PatchDataset([], (2, 4, 4)), name)
        assert not hasattr(VolumeDataset([]), name)


class PaddedPair(NumberedPair):
    """Nothing was recorded in the first half of its columns, and more of its target."""

    def load(self) -> LoadedPair:
        loaded = super().load()
        loaded.signal[..., : self.shape[2] // 2] = np.nan
        loaded.target[..., : self.shape[2] // 2] = np.nan
        loaded.target[0] = np.nan
        return replace(loaded, hidden=0.6)


@pytest.mark.parametrize("sampling", ["uniform", "foreground"])
def test_what_was_not_recorded_is_the_mean_of_the_light_and_no_target(sampling):
    torch.manual_seed(0)
    varied = Variation(rotation="any", scaling=0.2, intensity=0.5, noise=0.1)
    pair = PaddedPair((6, 24, 64))
    for variation in (Variation(), varied):
        patches = PatchDataset(
            [pair], (3, 8, 8), sampling=sampling, variation=variation
        )
        shares = []
        for _ in range(40):
            light, target = patches[0]
            assert light.isfinite().all()
            assert (light[target.isfinite()] != 0).all()
            shares.append(float(target.isnan().float().mean()))
        assert 0 < np.mean(shares) < 0.35  # of places drawn once it would be above 0.5
    ((light, target),) = VolumeDataset([pair])
    assert (light[..., :32] == 0).all()
    assert (light[..., 32:] > 0).all()
    assert target.isnan().sum() == 24 * (32 * 6 + 32)
