import itertools
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sklearn_metrics

from continual_repmode.errors import UserError
from continual_repmode.metrics.regression import (
    METRICS,
    ImageMetrics,
    RegressionSums,
)


def pair(
    *shape: int, seed: int = 0, offset: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    target = rng.normal(size=shape) + offset
    return target * 0.7 + 0.3 * offset + 0.4 * rng.normal(size=shape), target


def measure(prediction: np.ndarray, target: np.ndarray) -> ImageMetrics:
    sums = RegressionSums()
    sums.update(prediction, target)
    return sums.result()


def reference(prediction: np.ndarray, target: np.ndarray) -> dict[str, float]:
    predicted, true = prediction.ravel(), target.ravel()
    return {
        "mse": sklearn_metrics.mean_squared_error(true, predicted),
        "mae": sklearn_metrics.mean_absolute_error(true, predicted),
        "r2": sklearn_metrics.r2_score(true, predicted),
        "pearson_r": stats.pearsonr(true, predicted).statistic,
    }


def test_metrics_equal_scikit_learn_and_scipy():
    for offset in (0.0, 1e3, -1e6):
        prediction, target = pair(6, 7, 8, offset=offset)
        found = measure(prediction, target)
        for name, expected in reference(prediction, target).items():
            assert getattr(found, name) == pytest.approx(expected, rel=1e-9), offset
        assert found.num_voxels == 6 * 7 * 8


@given(
    cuts=st.lists(st.integers(0, 40), max_size=6),
    offset=st.sampled_from([0.0, 1e4, 1e8]),
)
def test_slabs_of_any_thickness_add_up(cuts, offset):
    prediction, target = pair(40, 3, 2, offset=offset)
    whole = measure(prediction, target)
    updated, merged = RegressionSums(), RegressionSums()
    edges = [0, *sorted(cuts), 40]

    for start, stop in itertools.pairwise(edges):
        slab = prediction[start:stop], target[start:stop]
        updated.update(*slab)
        merged.merge(RegressionSums.of(*slab))

    for sums in (updated, merged):
        assert sums.result().num_voxels == 240
        for name in METRICS:
            expected = getattr(whole, name)
            assert getattr(sums.result(), name) == pytest.approx(expected, rel=1e-6)


def test_a_small_spread_on_a_large_offset_is_not_lost():
    deviation = np.array([0.0, 1.0, 2.0, 3.0])
    target = 1e9 + deviation
    prediction = 1e9 + deviation[[0, 1, 3, 2]]

    found = measure(prediction, target)

    assert found.mse == pytest.approx(0.5)
    assert found.r2 == pytest.approx(1 - 2 / 5)
    assert found.pearson_r == pytest.approx(0.8)


def test_camera_counts_are_not_squared_in_sixteen_bits():
    target = np.array([0, 60_000, 65_535], np.uint16)
    prediction = np.array([65_535, 0, 0], np.uint16)

    expected = np.mean([65_535.0**2, 60_000.0**2, 65_535.0**2])
    assert measure(prediction, target).mse == expected


def test_a_perfect_prediction():
    _, target = pair(3, 4, 5)

    found = measure(target, target)

    assert (found.mse, found.mae, found.r2) == (0.0, 0.0, 1.0)
    assert found.pearson_r == pytest.approx(1.0)
    assert found.pearson_r <= 1.0


def test_a_constant_target_has_no_r2_and_no_correlation():
    prediction, _ = pair(3, 4, 5)
    for value in (0.0, 0.1, 1e6 + 1 / 3):
        sums = RegressionSums()
        for plane in prediction:
            sums.update(plane, np.full((4, 5), value))
        assert math.isnan(sums.result().r2), value
        assert math.isnan(sums.result().pearson_r), value
        assert math.isfinite(sums.result().mse), value


def test_a_constant_prediction_has_r2_but_no_correlation():
    _, target = pair(3, 4, 5)

    found = measure(np.full(target.shape, target.mean()), target)

    assert found.r2 == pytest.approx(0.0, abs=1e-12)
    assert math.isnan(found.pearson_r)


def test_tensors_count_like_arrays():
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        prediction, target = (torch.tensor(a, dtype=dtype) for a in pair(3, 4, 5))
        sums = RegressionSums()
        sums.update(prediction.requires_grad_(), target)
        arrays = prediction.detach().double().numpy(), target.double().numpy()
        assert sums.result() == measure(*arrays), dtype


def test_arrays_need_no_pytorch():
    code = (
        "import sys, numpy as np\n"
        "from continual_repmode.metrics.regression import RegressionSums\n"
        "s = RegressionSums(); s.update(np.arange(3.), np.arange(3.)); s.result()\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_volumes_of_different_shape_are_refused():
    with pytest.raises(UserError, match=r"prediction \(2,\) and target \(3,\) differ"):
        measure(np.zeros(2), np.zeros(3))


def test_an_empty_image_has_no_metrics_and_a_single_voxel_an_error():
    sums = RegressionSums()
    sums.update(np.zeros((0, 4)), np.zeros((0, 4)))
    with pytest.raises(UserError, match="no voxels"):
        sums.result()
    found = measure(np.array([3.0]), np.array([1.0]))
    assert (found.mse, found.mae, found.num_voxels) == (4.0, 2.0, 1)
    assert math.isnan(found.r2)


def test_the_table_names_the_fields_and_which_way_is_up():
    assert set(METRICS) == set(ImageMetrics.__slots__) - {"num_voxels"}
    better = {name for name, metric in METRICS.items() if metric.higher_is_better}
    assert better == {"r2", "pearson_r"}


def test_voxels_without_a_target_are_left_out():
    prediction, target = np.random.default_rng(0).normal(size=(2, 3, 4, 5))
    unknown = np.zeros(target.shape, bool)
    unknown[:, 1:3] = True
    found = RegressionSums.of(prediction, np.where(unknown, np.nan, target)).result()
    assert found == RegressionSums.of(prediction[~unknown], target[~unknown]).result()
    nothing = RegressionSums.of(prediction, np.full_like(target, np.nan))
    assert nothing == RegressionSums()
