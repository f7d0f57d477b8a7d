"""How many images of a structure seem enough: learned from fewer, and compared."""

from collections.abc import Sequence
from dataclasses import dataclass

from continual_repmode.errors import UserError
from continual_repmode.metrics.learned import ValidationScore

MAX_SUBSETS = 3
"""Smaller sets that are tried unless the user names them: each costs a training."""
HELPS = 0.05
"""From this share of the error on, a fall says that more images would probably help:
one validation set and one seed make smaller differences by chance."""
SATURATED = 0.02
"""Below this share of the error, a fall says that they would not help much."""


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """What so many training images led to."""

    num_images: int
    #: Mean over the validation images, which are the same for all points; the lowest of
    #: the training.
    valid_mse: float
    #: The error of predicting the mean of each of these images.
    target_variance: float

    @property
    def score(self) -> ValidationScore:
        """The error against the variance."""
        return ValidationScore(self.valid_mse, self.target_variance)


def curve_sizes(asked: Sequence[int] | None, num_images: int) -> tuple[int, ...]:
    """Return the numbers of images to learn from besides all of them, rising.

    ``asked``: what the user wants; None: a half, a quarter and an eighth.
    ``num_images``: training images there are.
    Raises UserError if there are fewer images than asked for.

    Examples
    --------
    >>> curve_sizes(None, 9)
    (1, 2, 4)
    """
    if asked is None:
        halves = (num_images >> shift for shift in range(1, MAX_SUBSETS + 1))
        return tuple(sorted({size for size in halves if size}))
    if asked and max(asked) > num_images:
        raise UserError(
            f"image curve of {max(asked)} images: there are only {num_images} training "
            "images; ask for fewer"
        )
    return tuple(sorted(set(asked) - {num_images}))


def verdict(points: Sequence[CurvePoint]) -> str:
    """Say in one sentence whether more images would probably help.

    Where the structure was not learned there is no trend to judge by, so nothing is
    said about more images.

    ``points``: by rising number of images, at least two.
    """
    before, last = points[-2:]
    share = (before.valid_mse - last.valid_mse) / before.valid_mse
    step = (
        f"from {before.num_images} to {last.num_images} images the validation error "
        f"{_change(share)}"
    )
    if not last.score.is_learned:
        return (
            f"with all {last.num_images} images {last.score.judgement()}; so the curve "
            "says nothing about more images: learn for longer, and see whether the "
            "structure shows in the light at all"
        )
    if not before.score.is_learned:
        return (
            f"with {before.num_images} images {before.score.judgement()}; with all "
            f"{last.num_images} images {last.score.judgement()}; one such point says "
            "nothing about more images"
        )
    if share >= HELPS:
        meaning = "more images would probably help"
    elif share >= SATURATED:
        meaning = "more images may help a little"
    elif share > -SATURATED:
        meaning = "more images of this kind would probably not help much"
    else:
        meaning = (
            "so these few images say little; the added ones may differ from those "
            "that validate"
        )
    return f"{step}: {meaning}{_caution(points)}"


def _change(share: float) -> str:
    if abs(share) < SATURATED:
        return f"changed by less than {SATURATED:.0%}".replace("%", " %")
    direction = "fell" if share > 0 else "rose"
    return f"{direction} by {abs(share):.0%}".replace("%", " %")


def _caution(points: Sequence[CurvePoint]) -> str:
    errors = [point.valid_mse for point in points]
    if len(points) > 2 and errors != sorted(errors, reverse=True):
        return (
            " (the error does not fall steadily with the images, so take this with "
            "caution)"
        )
    return ""
