"""Objects: counted against the cells that were simulated, matched against cubic."""

import math
import warnings

import numpy as np
import pytest
from scipy import ndimage

from continual_repmode import offers as offers_module
from continual_repmode.errors import UserError
from continual_repmode.metrics import segmentation
from continual_repmode.metrics.further import choose_metrics, measure_further
from continual_repmode.metrics.image_pair import ImagePair
from continual_repmode.metrics.objects import average_precision, count_error, dice
from continual_repmode.metrics.segmentation import is_countable, segment
from continual_repmode.synthetic.field import _layer, simulate_field
from continual_repmode.synthetic.kinds import COLONY

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import cubic.metrics as cubic


def balls(centers, radius_um, shape=(24, 60, 60), voxel_um=(0.5, 0.25, 0.25)):
    """A volume with bright balls, and the labels of these."""
    places = np.indices(shape) * np.reshape(voxel_um, (3, 1, 1, 1))
    labels = np.zeros(shape, int)
    for number, center in enumerate(centers, start=1):
        away = np.linalg.norm(places - np.reshape(center, (3, 1, 1, 1)), axis=0)
        labels[(away < radius_um) & (labels == 0)] = number
    return labels


def noisy(labels, seed=0):
    image = ndimage.gaussian_filter((labels > 0).astype(float), 1)
    return image + 0.05 * np.random.default_rng(seed).normal(size=labels.shape)


CENTERS = [(6, 4, 4), (6, 4, 10.2), (6, 10.5, 6), (3.5, 12, 12.3)]  # some touch


@pytest.mark.parametrize("voxel_um", [(0.5, 0.25, 0.25), (0.29, 0.29, 0.29)])
def test_touching_nuclei_are_counted_one_by_one(voxel_um):
    shape = tuple(
        int(side / um) for side, um in zip((12, 15, 15), voxel_um, strict=True)
    )
    true = balls(CENTERS, 3.2, shape, voxel_um)
    found = segment(noisy(true), "dna", voxel_um)
    assert found.max() == 4
    assert average_precision(found, true) == 1.0
    assert dice(found, true) > 0.9
    specks = true.copy()
    specks[:2, :2, :2] = 5  # far smaller than a nucleus
    assert segment(noisy(specks), "nuclei", voxel_um).max() == 4


def test_simulated_nuclei_are_found():
    """Against the nuclei that were drawn: they touch, and the border cuts some."""
    shape, um = (32, 128, 128), 0.29
    layer = _layer(3, shape, um, COLONY)
    drawn = np.where(layer.nucleus_um < 0, layer.cell_index + 1, 0)
    _, numbers = np.unique(layer.grid.crop(drawn), return_inverse=True)
    true = numbers.reshape(shape)
    _, stained = simulate_field(3, shape, "dna")
    found = segment(stained.astype(np.float32), "dna", (um, um, um))
    whole = np.bincount(true.ravel())[1:] * um**3 > segmentation.NUCLEI.smallest_um3
    assert abs(found.max() - whole.sum()) <= 1
    assert dice(found, true) > 0.8
    assert average_precision(found, true) > 0.75


def random_labels(seed, count):
    rng = np.random.default_rng(seed)
    centers = rng.uniform((1, 1, 1), (11, 14, 14), (count, 3))
    labels = balls(centers, 2.0)
    _, numbers = np.unique(labels, return_inverse=True)
    return numbers.reshape(labels.shape)


@pytest.mark.parametrize("seed", range(4))
def test_precision_is_that_of_an_optimal_matching(seed):
    true = random_labels(seed, 9)
    predicted = np.roll(true, seed, axis=2)
    predicted[predicted == 2] = 0
    _, numbers = np.unique(predicted, return_inverse=True)
    predicted = numbers.reshape(true.shape)
    peer = cubic.average_precision(true, predicted, [0.5 + 1e-9])[0][0]
    assert average_precision(predicted, true) == pytest.approx(peer, abs=1e-12)
    both = np.logical_and(predicted, true).sum()
    sizes = (predicted > 0).sum() + (true > 0).sum()
    assert dice(predicted, true) == pytest.approx(2 * both / sizes, abs=1e-12)
    assert count_error(predicted, true) == pytest.approx(1 / true.max())


def test_empty_images_have_no_score_and_inventions_the_worst():
    none, some = np.zeros((4, 8, 8), int), np.zeros((4, 8, 8), int)
    some[1:3, 2:5, 2:5] = 1
    assert math.isnan(dice(none, none))
    assert math.isnan(average_precision(none, none))
    assert math.isnan(count_error(some, none))
    assert (dice(some, none), average_precision(some, none)) == (0, 0)
    assert (dice(none, some), average_precision(none, some)) == (0, 0)
    assert count_error(none, some) == 1


def test_only_countable_tasks_have_objects():
    target = noisy(balls(CENTERS, 3.2)).astype(np.float32)
    chosen = choose_metrics("objects", "metrics=")
    for task, counted in {
        "dna-round": True,
        "Nuclei": True,
        "nucleolus": True,
        "nuclear_envelope": False,
        "mitochondria": False,
    }.items():
        assert is_countable(task) is counted
        pair = ImagePair(target, target, task, (0.5, 0.25, 0.25))
        found = measure_further(chosen, pair)
        assert bool(found) is counted
        if counted:
            assert found == {"count_error": 0, "dice": 1, "average_precision": 1}


class Offered:
    """What ``offers`` has of another package."""

    name, package = "lysosome", "theirs"

    def __init__(self, segmenter):
        self._segmenter = segmenter

    def load(self, kind):
        return self._segmenter


def test_a_segmenter_of_another_package_makes_its_structure_countable(monkeypatch):
    seen = []

    def by_sign(image, voxel_size_um):
        seen.append(voxel_size_um)
        return ndimage.label(image > 0)[0] * 3  # numbers with gaps

    def offering(segmenter):
        known = {"lysosome": Offered(segmenter), "dna": Offered(segmenter)}
        monkeypatch.setattr(
            segmentation,
            "offers",
            lambda what: known if what == "segmenters" else offers_module.offers(what),
        )

    offering(by_sign)
    image = np.full((3, 9, 9), -1.0)
    image[:, 1:3, 1:3] = image[:, 5:7, 5:8] = 1
    for task in ("lysosome", "lysosome-round", "dna"):  # ours makes way
        assert is_countable(task)
        assert np.unique(segment(image, task, (0.3, 0.2, 0.1))).tolist() == [0, 1, 2]
    assert seen == [(0.3, 0.2, 0.1)] * 3
    for wrong in (lambda image, um: image[0] > 0, lambda image, um: image):
        offering(wrong)
        with pytest.raises(UserError, match="'lysosome' of theirs returned"):
            segment(image, "lysosome", (0.3, 0.2, 0.1))
