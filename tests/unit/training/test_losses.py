"""Each loss against a slow definition in float64, and SSIM against MONAI's."""

import warnings
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from continual_repmode.training.losses import (
    LOSSES,
    mae_ssim,
    otsu,
    over_recorded,
    spotlight,
    ssim,
)


@pytest.fixture
def pair():
    torch.manual_seed(0)
    target = torch.randn(3, 1, 12, 16, 20)
    return 0.7 * target + 0.4 * torch.randn_like(target), target


def slow_ssim(one: Tensor, other: Tensor, taps: tuple[int, ...]) -> float:
    """Window by window, with weighted means, variances and covariance."""
    lines = [torch.exp(-((torch.arange(n) - (n - 1) / 2) ** 2) / 4.5) for n in taps]
    weights = torch.einsum("i,j,k->ijk", *lines).double()
    weights /= weights.sum()
    values = []
    for a, b in zip(one.double()[:, 0], other.double()[:, 0], strict=True):
        places = [range(n - side + 1) for n, side in zip(a.shape, taps, strict=True)]
        for z in places[0]:
            for y in places[1]:
                for x in places[2]:
                    box = (slice(z, z + taps[0]), slice(y, y + taps[1]))
                    box = (*box, slice(x, x + taps[2]))
                    u, v = a[box], b[box]
                    m, n = (weights * u).sum(), (weights * v).sum()
                    covariance = (weights * (u - m) * (v - n)).sum()
                    spread = (weights * ((u - m) ** 2 + (v - n) ** 2)).sum()
                    light = (2 * m * n + 0.06**2) / (m**2 + n**2 + 0.06**2)
                    contrast = (2 * covariance + 0.18**2) / (spread + 0.18**2)
                    values.append(light * contrast)
    return torch.stack(values).mean().item()


def test_ssim_is_the_mean_over_windows(pair):
    one, other = (volume[:, :, :8, :9, :10] for volume in pair)
    assert ssim(one, other).item() == pytest.approx(
        slow_ssim(one, other, (7, 7, 7)), rel=1e-4
    )


def test_the_window_is_cut_to_thin_volumes(pair):
    one, other = (volume[:, :, :1, :5, :10] for volume in pair)
    assert ssim(one, other).item() == pytest.approx(
        slow_ssim(one, other, (1, 5, 7)), rel=1e-4
    )


def test_ssim_is_that_of_monai(pair):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        monai = pytest.importorskip("monai.losses.ssim_loss")
    for taps, data_range in ((7, 6.0), (11, 1.0)):
        theirs = monai.SSIMLoss(3, data_range=data_range, win_size=taps)
        found = ssim(*pair, data_range=data_range, taps=taps)
        assert 1 - found.item() == pytest.approx(theirs(*pair).item(), rel=1e-4)


def test_mae_ssim_is_half_of_each(pair):
    mae = (pair[0] - pair[1]).abs().mean()
    assert mae_ssim(*pair).item() == pytest.approx(
        (0.5 * mae + 0.5 * (1 - ssim(*pair))).item()
    )
    assert mae_ssim(pair[1], pair[1]).item() == pytest.approx(0, abs=1e-6)


def slow_otsu(volume: Tensor) -> float:
    """Try the upper edge of every bin; voxels count with the middle of their bin."""
    values = volume.double().flatten()
    low, high = values.min(), values.max()
    bins = ((values - low) / (high - low) * 256).long().clamp(max=255)
    best, threshold = -1.0, low
    for edge in range(255):
        below, above = bins[bins <= edge].double(), bins[bins > edge].double()
        share = len(below) / len(bins)
        between = share * (1 - share) * (below.mean() - above.mean()) ** 2
        if between > best * (1 + 1e-9):
            best, threshold = between, low + (edge + 1) * (high - low) / 256
    return float(threshold)


def test_otsu_separates_best_each_volume_by_itself():
    torch.manual_seed(0)
    volumes = torch.randn(3, 1, 4, 8, 8)
    volumes[0, :, :, :3] += 6
    volumes[1] = volumes[1].exp() * 10
    for volume, threshold in zip(volumes, otsu(volumes), strict=True):
        assert threshold.item() == pytest.approx(slow_otsu(volume), rel=1e-4)


def test_otsu_of_a_constant_volume_leaves_no_foreground():
    volumes = torch.full((2, 1, 2, 2, 2), 3.0)
    assert not (volumes > otsu(volumes)).any()


def slow_spotlight(prediction: Tensor, target: Tensor) -> float:
    squares, dices = [], []
    for p, t in zip(prediction.double(), target.double(), strict=True):
        threshold = max(slow_otsu(t.float()), 0)
        common = soft_sum = size = 0.0
        for here, wanted in zip(
            p.flatten().tolist(), t.flatten().tolist(), strict=True
        ):
            above = max(here - threshold, 0)
            soft = (above + 0.95 * above) / (-0.95 + 1.9 * above + 1)
            soft_sum += soft
            if wanted > threshold:
                squares.append((here - wanted) ** 2)
                common += soft
                size += 1
        dices.append((2 * common + 1) / (soft_sum + size + 1))
    error = sum(squares) / max(len(squares), 1)
    return 0.5 * error + 0.5 * (1 - sum(dices) / len(dices))


def test_spotlight_is_foreground_error_plus_dice(pair):
    assert spotlight(*pair).item() == pytest.approx(slow_spotlight(*pair), rel=1e-4)
    dim = -1 - pair[1].abs()  # no foreground at all
    assert spotlight(pair[0], dim).item() == pytest.approx(
        slow_spotlight(pair[0], dim), rel=1e-4
    )


def test_spotlight_does_not_mind_dark_background(pair):
    prediction, target = pair
    threshold = otsu(target).clamp_min(0)
    darker = torch.where(
        (target < threshold) & (prediction < threshold), -9, prediction
    )
    assert spotlight(darker, target) == spotlight(prediction, target)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_has_finite_gradients_where_volumes_are_flat(name):
    torch.manual_seed(0)
    target = torch.randn(2, 1, 4, 8, 8)
    target[0] = 0
    prediction = torch.zeros_like(target, requires_grad=True)
    LOSSES[name](prediction, target).backward()
    assert torch.isfinite(prediction.grad).all()
    assert prediction.grad.abs().sum() > 0


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_falls_on_the_way_to_the_target(name, pair):
    _, target = pair
    values = [LOSSES[name](share * target, target) for share in (0.2, 0.4, 0.6, 0.8, 1)]
    assert all(later < earlier for earlier, later in pairwise(values))


def test_what_was_not_recorded_counts_for_nothing(pair):
    prediction, target = pair
    unknown = torch.zeros(target.shape, dtype=torch.bool)
    unknown[..., :7] = True
    hidden = target.masked_fill(unknown, torch.nan)
    for name, loss in LOSSES.items():
        masked = over_recorded(loss)
        assert masked(prediction, target) == loss(prediction, target), name
        results = []
        for elsewhere in (prediction, prediction + 5 * unknown):
            given = elsewhere.clone().requires_grad_()
            found = masked(given, hidden)
            found.backward()
            assert (given.grad[unknown] == 0).all(), name
            assert given.grad[~unknown].isfinite().all(), name
            results.append(float(found.detach()))
        assert results[0] == results[1], name
    errors = (prediction - target)[~unknown]
    found = over_recorded(LOSSES["mse"])(prediction, hidden)
    assert float(found) == pytest.approx(float(errors.square().mean()), rel=1e-6)
    nothing = torch.full_like(target, torch.nan)
    assert over_recorded(LOSSES["mse"])(prediction, nothing) == 0
