"""Losses of predicted patches: one number from prediction and target.

Each takes two z-scored tensors of float32, shape (B, 1, Z, Y, X), and returns a scalar.
:func:`over_recorded` makes any of them leave out what was not recorded. Processes that
share a batch each get a part; weighted by its patches, parts add up to the loss of all.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from continual_repmode.distributed import part_of_batch

Loss = Callable[[Tensor, Tensor], Tensor]

SSIM_RANGE = 6.0
"""Data range of SSIM: z-scored images from -3 to 3 standard deviations."""

_TAPS, _SIGMA = 7, 1.5
_BINS = 256
_SHARPNESS = -0.95


def over_recorded(loss: Loss) -> Loss:
    """Return a loss that leaves out the voxels whose target is NaN.

    There, prediction and target are both set to 0, the mean, which no loss minds and no
    gradient comes from; the loss is then scaled to the share of the others, so that a
    mean over voxels becomes that over the recorded ones of the batch. A process without
    patches of the batch gets a loss whose gradients are 0.
    """

    def masked(prediction: Tensor, target: Tensor) -> Tensor:
        unknown = target.isnan()
        recorded = part_of_batch((~unknown).sum().to(target), len(target))
        if unknown.any():
            prediction = prediction.masked_fill(unknown, 0)
            target = target.masked_fill(unknown, 0)
        found = loss(prediction, target)
        if not len(target):
            return prediction.sum()
        share = recorded / target.numel()
        return found / share if share else found

    return masked


def mae_ssim(prediction: Tensor, target: Tensor) -> Tensor:
    """Return half the mean absolute error plus half of 1 - SSIM.

    After Zhao et al. (IEEE Trans. Comput. Imaging 2017), whose mixture weighs
    multi-scale SSIM by 0.84. Our adaptation: equal weights and a single scale, because
    several scales need patches of more than 16 planes.
    """
    return 0.5 * F.l1_loss(prediction, target) + 0.5 * (1 - ssim(prediction, target))


def ssim(
    one: Tensor, other: Tensor, *, data_range: float = SSIM_RANGE, taps: int = _TAPS
) -> Tensor:
    """Return the mean structural similarity of volumes, in 3D.

    Wang et al. (IEEE Trans. Image Process. 2004), with their constants 0.01 and 0.03
    and a Gaussian window whose standard deviation is 1.5 voxels. It is taken wherever
    the window lies inside the volume.

    ``one``, ``other``: (B, 1, Z, Y, X).
    ``data_range``: the range of intensities that the constants are shares of.
    ``taps``: side of the window in voxels; less along an axis with fewer.
    """
    products = torch.cat([one, other, one * one, other * other, one * other])
    means = _window_means(products, taps).chunk(5)
    mean_one, mean_other, square_one, square_other, product = means
    luminance, contrast = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    var_one = square_one - mean_one**2
    var_other = square_other - mean_other**2
    covariance = product - mean_one * mean_other
    similar = (2 * mean_one * mean_other + luminance) * (2 * covariance + contrast)
    power = (mean_one**2 + mean_other**2 + luminance) * (var_one + var_other + contrast)
    return (similar / power).mean()


def spotlight(prediction: Tensor, target: Tensor) -> Tensor:
    """Return half the error on foreground plus half a soft Dice loss of its shape.

    Kalinin et al. 2025 (arXiv:2507.05383): the mean squared error over the foreground
    of the target, as Otsu's threshold finds it, and 1 - Dice between that foreground
    and the prediction after a soft threshold, the tunable sigmoid of sharpness -0.95.
    How background below the threshold is predicted does not matter to it, so it does
    not aim at the error over whole volumes.

    Our adaptation: the threshold is that of the patch and not of the image, and at
    least the mean of the image (0), so that a dim patch has no foreground; both parts
    have equal weights; Dice is a mean over patches; the soft threshold is 0 below the
    threshold and not cut off at 1, so that bright background is always pushed down.
    """
    threshold = otsu(target).clamp_min(0)
    foreground = (target > threshold).to(target)
    squares = (prediction - target) ** 2 * foreground
    num_voxels = part_of_batch(foreground.sum(), len(target))
    error = squares.sum() / num_voxels.clamp_min(1e-6)  # 0 / 0 is 0
    above, k = (prediction - threshold).clamp_min(0), _SHARPNESS
    soft = (1 - k) * above / (k - 2 * k * above + 1)
    common = (soft * foreground).flatten(1).sum(1)
    sizes = (soft + foreground).flatten(1).sum(1)
    dice = (2 * common + 1) / (sizes + 1)
    return 0.5 * error + 0.5 * (1 - dice.mean())


@torch.no_grad()
def otsu(volumes: Tensor) -> Tensor:
    """Return the threshold that separates each volume's histogram best.

    Otsu (IEEE Trans. Syst. Man Cybern. 1979), with 256 bins from minimum to maximum.

    ``volumes``: (B, 1, Z, Y, X).
    Returns: (B, 1, 1, 1, 1); what is above it is foreground; nothing is where all
        voxels are equal.
    """
    flat = volumes.flatten(1)
    low, high = flat.aminmax(dim=1, keepdim=True)
    width = (high - low) / _BINS
    bins = ((flat - low) / width).nan_to_num(0).long().clamp_max(_BINS - 1)
    rows = torch.arange(len(flat), device=flat.device)[:, None] * _BINS
    counts = (bins + rows).flatten().bincount(minlength=len(flat) * _BINS)
    share = counts.view(len(flat), _BINS).double() / flat.shape[1]
    place = torch.arange(_BINS, device=flat.device, dtype=torch.float64)
    below, moment = share.cumsum(1), (share * place).cumsum(1)
    between = (moment[:, -1:] * below - moment) ** 2 / (below * (1 - below))
    best = between[:, :-1].nan_to_num(0, posinf=0).argmax(1, keepdim=True)
    return (low + (best + 1) * width).view(-1, 1, 1, 1, 1)


LOSSES: dict[str, Loss] = {
    "mse": F.mse_loss,
    "mae_ssim": mae_ssim,
    "spotlight": spotlight,
}
"""By the name that ``train.loss`` has."""


def _window_means(volumes: Tensor, taps: int) -> Tensor:
    """Return Gaussian means wherever the window fits, axis by axis.

    As products with band matrices: on a CPU a quarter of the time of convolutions.
    """
    z, y, x = (_band(side, taps, volumes) for side in volumes.shape[-3:])
    means = y @ (volumes @ x.T)
    *batch, _, rows, columns = means.shape
    return (z @ means.flatten(-2)).view(*batch, len(z), rows, columns)


def _band(side: int, taps: int, like: Tensor) -> Tensor:
    """Return the matrix, shape (places, side), that takes Gaussian means of a line."""
    taps = min(taps, side)
    offsets = torch.arange(taps).to(like) - (taps - 1) / 2
    weights = torch.exp(-(offsets**2) / (2 * _SIGMA**2))
    places = torch.arange(side - taps + 1, device=like.device)[:, None]
    columns = places + torch.arange(taps, device=like.device)
    rows = (weights / weights.sum()).expand(len(places), -1)
    return torch.zeros(len(places), side).to(like).scatter(1, columns, rows)
