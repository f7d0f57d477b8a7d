import numpy as np
import pytest
from scipy import ndimage

from continual_repmode.errors import UserError
from continual_repmode.volumes.preparation import Preparation

RAW_UM = (0.29, 0.108, 0.108)


@pytest.fixture
def raw() -> np.ndarray:
    rng = np.random.default_rng(0)
    field = ndimage.gaussian_filter(rng.standard_normal((8, 60, 60)), (1, 4, 4))
    return (1000 + 4000 * field).astype(np.uint16)


def test_the_papers_order_is_the_zscore_of_the_raw_image(raw: np.ndarray) -> None:
    prepared, intensity = Preparation(storage="float32").apply(raw, RAW_UM)

    normalized = (raw - raw.mean()) / raw.std()
    expected = ndimage.zoom(normalized, (1, 22 / 60, 22 / 60), order=3, mode="nearest")
    np.testing.assert_allclose(prepared, expected, atol=1e-4)
    assert (intensity.mean, intensity.std) == (raw.mean(), raw.std())


def test_the_other_order_gives_unit_variance_on_the_model_grid(raw: np.ndarray) -> None:
    settings = Preparation(order="resize_first", storage="float32")

    prepared, intensity = settings.apply(raw, RAW_UM)

    assert prepared.std() == pytest.approx(1, abs=1e-5)
    assert prepared.mean() == pytest.approx(0, abs=1e-5)
    resized = ndimage.zoom(
        raw.astype(float), (1, 22 / 60, 22 / 60), order=3, mode="nearest"
    )
    back = prepared * intensity.std + intensity.mean
    np.testing.assert_allclose(back, resized, rtol=1e-4)


def test_half_precision_rounds_by_less_than_the_cameras_noise(raw: np.ndarray) -> None:
    full, _ = Preparation(storage="float32").apply(raw, RAW_UM)
    half, _ = Preparation(storage="float16").apply(raw, RAW_UM)

    assert half.dtype == np.float16
    np.testing.assert_allclose(half, full, rtol=2**-11, atol=2**-24)


def test_the_disk_space_is_known_beforehand(raw: np.ndarray) -> None:
    settings = Preparation()

    prepared, _ = settings.apply(raw, RAW_UM)

    assert settings.grid_shape(raw.shape, RAW_UM) == prepared.shape
    assert settings.num_bytes(raw.shape, RAW_UM) == prepared.nbytes


@pytest.mark.parametrize("order", ["zscore_first", "resize_first"])
def test_channels_without_contrast_or_with_nan_are_refused(order: str) -> None:
    settings = Preparation(order=order)  # type: ignore[arg-type]
    flat = np.full((4, 8, 8), 7, np.uint8)
    broken = np.linspace(0, 1, 256, dtype=np.float32).reshape(4, 8, 8)
    broken[1, 2, 3] = np.nan

    with pytest.raises(UserError, match="constant volume"):
        settings.apply(flat, RAW_UM)
    with pytest.raises(UserError, match="NaN or infinite"):
        settings.apply(broken, RAW_UM)
