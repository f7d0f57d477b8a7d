"""The generated structures have the places and sizes a cell biologist expects."""

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial import cKDTree

from continual_repmode.synthetic import nuclei
from continual_repmode.synthetic.cells import grow_layer
from continual_repmode.synthetic.curves import (
    Threads,
    draw_points,
    draw_threads,
    grow,
    look_up,
    scatter,
)
from continual_repmode.synthetic.grid import Grid
from continual_repmode.synthetic.kinds import COLONY
from continual_repmode.synthetic.structures import STRUCTURES
from continual_repmode.tasks import TASKS

GRID = Grid((32, 64, 64), 0.29)


@pytest.fixture(scope="module")
def layer():
    return grow_layer(GRID, COLONY, np.random.default_rng(0))


@pytest.fixture(scope="module")
def drawn(layer):
    rng = np.random.default_rng(1)
    return {task: draw(layer, rng) for task, draw in STRUCTURES.items()}


def _share(density, where) -> float:
    return float((density * where).sum() / density.sum())


def _mean(density, quantity) -> float:
    return float((density * quantity).sum() / density.sum())


def test_every_structure_of_the_paper_is_drawn(drawn):
    assert set(drawn) == set(TASKS)
    for task, density in drawn.items():
        assert density.shape == GRID.shape, task
        assert density.dtype == np.float32, task
        assert density.min() >= 0, task
        assert density.sum() > 0, task


def test_cells_are_packed_and_of_plausible_size(layer):
    column = layer.cell_index[GRID.shape[0] // 2]
    inner = [i for i in np.unique(column) if not _touches_edge(column == i)]
    areas_um2 = [(column == i).sum() * 0.29**2 for i in inner]
    assert len(inner) >= 1
    assert 50 < np.mean(areas_um2) < 180
    assert np.mean(layer.border_um > 0.3) > 0.8


def _touches_edge(mask) -> bool:
    return bool(
        mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any()
    )


def test_nuclei_lie_inside_their_cells(layer):
    inside_nucleus = layer.nucleus_um < 0
    assert layer.inside_um[inside_nucleus].min() > 0.3
    volume_um3 = inside_nucleus.sum() * 0.29**3
    cytoplasm_um3 = (layer.room_um > 0).sum() * 0.29**3
    assert 0.15 < volume_um3 / (volume_um3 + cytoplasm_um3) < 0.6


def test_distance_to_the_nucleus_is_about_euclidean(layer):
    exact_um = ndimage.distance_transform_edt(layer.nucleus_um > 0) * 0.29
    near = (exact_um > 0) & (exact_um < 1.5) & (layer.inside_um > 0.6)
    error = layer.nucleus_um[near] - (exact_um[near] - 0.145)
    assert np.abs(np.median(error)) < 0.2


def test_nucleoli_are_inside_nuclei(layer, drawn):
    assert _share(drawn["nucleolus"], layer.nucleus_um < 0) == 1


def test_chromatin_fills_nuclei_and_leaves_nucleoli_dark(layer, drawn):
    dna, nucleolus = drawn["dna"], drawn["nucleolus"]
    assert _share(dna, layer.nucleus_um < 0.2) > 0.99
    deep = layer.nucleus_um < -0.8
    assert (
        dna[deep & (nucleolus > 0.9)].mean()
        < 0.5 * dna[deep & (nucleolus < 0.1)].mean()
    )


def test_envelope_is_a_thin_shell_around_the_nucleus(layer, drawn):
    envelope = drawn["nuclear_envelope"]
    assert np.abs(layer.nucleus_um[envelope > 0.5]).max() < 0.35
    assert envelope[layer.nucleus_um < -0.8].max() < 0.1
    assert envelope[layer.nucleus_um > 0.8].max() < 0.01


def test_membrane_separates_neighboring_cells(layer, drawn):
    tall = (layer.below_top_um > 0.3) & (layer.above_floor_um > 0.3)
    index = layer.cell_index
    crossing = (index[:, :, 1:] != index[:, :, :-1]) & tall[:, :, 1:] & tall[:, :, :-1]
    membrane = drawn["cell_membrane"]
    strongest = np.maximum(membrane[:, :, 1:], membrane[:, :, :-1])
    assert np.mean(strongest[crossing] > 0.4) > 0.99


def test_organelles_are_in_cells_and_outside_nuclei(layer, drawn):
    for task in (
        *("mitochondria", "golgi_apparatus", "microtubule"),
        "endoplasmic_reticulum",
    ):
        assert _share(drawn[task], layer.nucleus_um < -0.4) < 0.02, task
        assert _share(drawn[task], layer.inside_um > -0.3) > 0.95, task


def test_reticulum_fades_outward(layer, drawn):
    reticulum = drawn["endoplasmic_reticulum"]
    near = (layer.room_um > 0.5) & (layer.nucleus_um < 1.5)
    far = (layer.room_um > 0.5) & (layer.nucleus_um > 3)
    assert reticulum[near].mean() > 1.5 * reticulum[far].mean()


def test_golgi_is_compact_and_beside_the_centrosome(layer, drawn):
    voxels = np.argwhere(drawn["golgi_apparatus"] > 0.3) * 0.29
    distance_um, _ = cKDTree(layer.centrosomes_um).query(voxels)
    assert np.percentile(distance_um, 95) < 4


def test_tight_junctions_are_an_apical_belt(layer, drawn):
    belt = drawn["tight_junction"]
    assert 0.3 < _mean(belt, layer.below_top_um) < 1.0
    assert _mean(belt, layer.border_um) < 0.3


def test_desmosomes_are_puncta_on_lateral_borders(layer, drawn):
    puncta = drawn["desmosome"]
    assert _mean(puncta, layer.border_um) < 0.4
    labels, count = ndimage.label(puncta > 0.05)
    sizes_um3 = ndimage.sum_labels(puncta > 0.05, labels, range(1, count + 1)) * 0.29**3
    assert np.median(sizes_um3) < 0.5


def test_stress_fibers_run_along_the_floor(layer, drawn):
    inner = layer.border_um > 1
    basal = inner & (np.abs(layer.above_floor_um - 0.3) < 0.3)
    middle = inner & (layer.room_um > 1)
    assert (
        drawn["actin_filament"][basal].mean()
        > 2 * drawn["actin_filament"][middle].mean()
    )


def test_structures_differ_in_how_much_they_fill(drawn):
    filled = {task: float((density > 0.25).mean()) for task, density in drawn.items()}
    order = ["dna", "nucleolus", "golgi_apparatus", "desmosome"]
    assert [filled[task] for task in order] == sorted(
        (filled[task] for task in order), reverse=True
    )
    assert filled["actin_filament"] > filled["cell_membrane"] > filled["tight_junction"]
    assert filled["tight_junction"] > filled["desmosome"]
    assert filled["mitochondria"] > filled["golgi_apparatus"]


def test_cells_in_mitosis_have_plates_and_spindles_but_no_nucleus(monkeypatch):
    monkeypatch.setattr(nuclei, "MITOTIC_FRACTION", 1.0)
    rng = np.random.default_rng(3)
    layer = grow_layer(GRID, COLONY, rng)
    drawn = {task: draw(layer, rng) for task, draw in STRUCTURES.items()}
    assert drawn["nucleolus"].max() == 0
    assert drawn["nuclear_envelope"].max() < 1e-6
    assert drawn["dna"].max() > 1
    touching = ndimage.binary_dilation(drawn["dna"] > 0.5, iterations=2)
    assert (drawn["microtubule"][touching] > 0.8).any()


def test_spots_have_their_peaks_integrals_and_places():
    grid = Grid((10, 12, 14), 0.5)
    point = np.array([[5.0, 5.5, 6.0]], np.float32)  # the voxel (10, 11, 12)
    volume = draw_points(grid, point, np.array([2.0], np.float32), radius_um=0.6)
    assert np.unravel_index(volume.argmax(), volume.shape) == (10, 11, 12)
    assert volume.max() == pytest.approx(2)
    assert volume.sum() * 0.5**3 == pytest.approx(
        2 * (2 * np.pi) ** 1.5 * 0.6**3, rel=0.2
    )


def test_a_thread_peaks_at_its_weight_along_its_axis():
    grid = Grid((10, 10, 40), 0.25)
    arc = np.arange(0, 8, 0.25, dtype=np.float32)
    points = np.stack([np.full_like(arc, 3), np.full_like(arc, 3), arc + 2], axis=1)
    threads = Threads(points, arc, np.zeros(len(arc), np.intp))
    volume = draw_threads(grid, threads, 0.25, weights=0.7)
    assert volume[12, 12, 20:30] == pytest.approx(np.full(10, 0.7), rel=0.1)


def test_threads_stay_where_there_is_room():
    grid = Grid((16, 32, 32), 0.29)
    z, y, x = np.indices(grid.shape) * 0.29
    middle = np.array(grid.shape) * 0.29 / 2
    offset = np.stack([z, y, x], -1) - middle
    room = (3.0 - np.linalg.norm(offset, axis=-1)).astype(np.float32)
    rng = np.random.default_rng(0)
    starts = np.repeat(middle[None], 40, 0).astype(np.float32)
    threads = grow(
        grid,
        starts,
        rng.standard_normal((40, 3)).astype(np.float32),
        np.full(40, 20, np.float32),
        room,
        rng,
        wander=0.1,
        clearance_um=1.0,
    )
    assert look_up(room, threads.points_um, 0.29).min() > 0
    assert threads.arc_um.max() > 10  # they turned instead of stopping at the wall


def test_scattered_points_follow_the_likelihood():
    grid = Grid((16, 32, 32), 0.29)
    likelihood = np.zeros(grid.shape, np.float32)
    likelihood[:, :, : grid.shape[2] // 2] = 0.5
    points = scatter(grid, likelihood, 2.0, np.random.default_rng(0))
    volume_um3 = (likelihood > 0).sum() * 0.29**3
    assert len(points) == pytest.approx(volume_um3, rel=0.1)
    assert look_up(likelihood, points, 0.29).min() == 0.5
