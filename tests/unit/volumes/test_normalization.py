import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from continual_repmode.errors import UserError
from continual_repmode.volumes.normalization import zscore


def test_zscore_has_mean_zero_and_deviation_one_and_can_be_undone() -> None:
    counts = np.random.default_rng(0).poisson(400, (5, 6, 7)).astype(np.uint16)

    normalized, intensity = zscore(counts)

    assert normalized.dtype == np.float32
    assert normalized.shape == (5, 6, 7)
    assert normalized.mean(dtype=np.float64) == pytest.approx(0, abs=1e-6)
    assert normalized.std(dtype=np.float64) == pytest.approx(1, abs=1e-6)
    assert intensity.mean == pytest.approx(counts.mean())
    restored = normalized * intensity.std + intensity.mean
    np.testing.assert_allclose(restored, counts, atol=1e-3)


def test_statistics_keep_the_precision_of_a_small_signal_on_a_large_offset() -> None:
    counts = np.random.default_rng(0).integers(60_000, 60_003, (3, 200, 200))
    counts = counts.astype(np.uint16)

    _, intensity = zscore(counts)

    exact_mean = int(counts.sum(dtype=np.int64)) / counts.size
    exact_std = float((counts - exact_mean).std())
    assert intensity.mean == pytest.approx(exact_mean, rel=1e-12)
    assert intensity.std == pytest.approx(exact_std, rel=1e-9)


@given(
    hnp.arrays(np.float64, (2, 3, 4), elements=st.integers(0, 4095), unique=True),
    st.sampled_from([0.5, 2.0, 4.0]),
    st.integers(-100, 100),
)
def test_scale_and_offset_of_the_camera_do_not_matter(
    counts: np.ndarray, gain: float, offset: int
) -> None:
    np.testing.assert_allclose(
        zscore(counts * gain + offset)[0], zscore(counts)[0], atol=1e-5
    )


@pytest.mark.parametrize(
    ("volume", "message"),
    [
        (np.full((2, 2, 2), 0.1), "constant"),
        (np.array([[[1.0, np.nan]]]), "1 NaN or infinite"),
        (np.array([[[1.0, np.inf]]]), "1 NaN or infinite"),
        (np.zeros((0, 2, 2)), "empty"),
    ],
)
def test_volumes_without_a_zscore_are_refused(volume: np.ndarray, message: str) -> None:
    with pytest.raises(UserError, match=message):
        zscore(volume)
