"""One simulated field: same seed, same bytes; one light image for every stain."""

import numpy as np
import pytest
from scipy import ndimage

from continual_repmode.synthetic import simulate_field, simulate_structures
from continual_repmode.synthetic.field import SIMULATOR_VERSION
from continual_repmode.synthetic.kinds import COLONY, ROUND
from continual_repmode.tasks import TASKS

SHAPE = (16, 32, 32)


def test_same_seed_same_bytes():
    first = simulate_field([3, 4], SHAPE, "dna")
    simulate_field(5, SHAPE, "microtubule")
    second = simulate_field([3, 4], SHAPE, "dna")
    for one, other in zip(first, second, strict=True):
        assert one.tobytes() == other.tobytes()


def test_global_random_state_is_neither_used_nor_changed():
    np.random.seed(0)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    simulate_field(0, SHAPE, "dna")
    assert np.array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_light_does_not_depend_on_the_stained_structure():
    light, dna = simulate_field(7, SHAPE, "dna")
    for task in ("desmosome", "mitochondria"):
        same_light, fluorescence = simulate_field(7, SHAPE, task)
        assert np.array_equal(light, same_light)
        assert not np.array_equal(dna, fluorescence)


def test_different_seeds_show_different_cells():
    light, _ = simulate_field(0, SHAPE, "dna")
    other, _ = simulate_field(1, SHAPE, "dna")
    assert abs(np.corrcoef(light.ravel(), other.ravel())[0, 1]) < 0.3


def test_fluorescence_shows_the_structure_of_the_same_field():
    shape = (32, 48, 48)
    densities = simulate_structures(11, shape)
    for task in TASKS:
        _, fluorescence = simulate_field(11, shape, task)
        correlation = np.corrcoef(fluorescence.ravel(), densities[task].ravel())[0, 1]
        assert correlation > (0.3 if task == "desmosome" else 0.4), task


def test_volumes_of_any_size_are_camera_counts():
    for shape, voxel_size_um in (((8, 16, 16), 0.29), ((9, 17, 31), 0.5)):
        for volume in simulate_field(2, shape, "nuclear_envelope", voxel_size_um):
            assert volume.shape == shape
            assert volume.dtype == np.uint16
            assert volume.std() > 0
            assert volume.min() > 0
            assert volume.max() < 65535


def test_light_has_the_contrast_of_real_brightfield():
    # 0.067 and 0.091 in two real stacks of hiPS cells.
    light, _ = simulate_field(0, (32, 64, 64), "dna")
    planes = light.astype(float)
    contrast = planes.std((1, 2)) / planes.mean((1, 2))
    assert 0.04 < contrast.mean() < 0.12


def test_shallow_volumes_still_show_the_whole_layer():
    structures = simulate_structures(1, (16, 64, 64))
    apical = structures["tight_junction"].sum((1, 2)).argmax()
    middle = structures["nuclear_envelope"].sum((1, 2)).argmax()
    assert 0 < middle < apical < 15


def test_unknown_task_and_impossible_sizes_are_refused():
    with pytest.raises(ValueError, match="task must be one of"):
        simulate_field(0, SHAPE, "centrosome")
    with pytest.raises(ValueError, match="shape must be three positive sizes"):
        simulate_field(0, (0, 8, 8), "dna")
    with pytest.raises(ValueError, match="voxel_size_um must be positive"):
        simulate_structures(0, SHAPE, -1.0)


def test_what_a_seed_generates_changes_only_with_the_version():
    # If this fails because the simulator was changed on purpose, raise
    # SIMULATOR_VERSION and note the new spreads, or stale caches will be used.
    light, _ = simulate_field(0, (16, 32, 32), "dna")
    spreads = [light.std()]
    spreads += [simulate_field(0, (16, 32, 32), task)[1].std() for task in TASKS]
    noted = {
        1: [
            1047.07, 66.5117, 18.6998, 32.4987, 17.448, 50.6477, 43.7099,
            21.3093, 86.6792, 18.161, 53.199, 51.9546, 15.2161,
        ]
    }  # fmt: skip
    assert spreads == pytest.approx(noted[SIMULATOR_VERSION], rel=1e-3)
    in_round_cells = simulate_field(0, (16, 32, 32), "dna", kind=ROUND)
    noted = {1: [1171.06, 55.9959]}
    spreads = [volume.std() for volume in in_round_cells]
    assert spreads == pytest.approx(noted[SIMULATOR_VERSION], rel=1e-3)


def test_round_cells_have_fewer_nuclei_and_coarser_texture():
    def nuclei_of(kind):
        return [
            simulate_structures(seed, (16, 96, 96), kind=kind)["dna"][8]
            for seed in range(4)
        ]

    def number(planes):
        return sum(ndimage.label(plane > 0.2)[1] for plane in planes)

    def grain(planes):
        """Correlation of neighboring voxels inside nuclei, higher for coarse grains."""
        pairs = [
            (p[:, 1:][m], p[:, :-1][m]) for p in planes if (m := p[:, 1:] > 0.2).any()
        ]
        return np.corrcoef(*map(np.concatenate, zip(*pairs, strict=True)))[0, 1]

    colony, round_ = nuclei_of(COLONY), nuclei_of(ROUND)
    assert number(round_) < 0.7 * number(colony)
    assert grain(round_) > grain(colony)
