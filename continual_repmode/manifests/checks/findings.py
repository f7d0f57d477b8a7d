"""What the facts of a manifest mean: errors, warnings and notes."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import PurePath
from typing import Literal, get_args

from continual_repmode.data.collection import Split
from continual_repmode.errors import UserError
from continual_repmode.manifests.checks.checked_pair import (
    CheckedChannel,
    CheckedPair,
    Finding,
    Severity,
)
from continual_repmode.manifests.checks.outliers import compare
from continual_repmode.manifests.checks.registration import block_size

MOST_SATURATED = 0.01
"""Share of clipped voxels that a bright spot or hot pixels do not reach."""
FEW_LEVELS = 64
"""Six bits: a channel of fewer gray levels has lost its intensities, to a wrong
contrast setting or a bad conversion, and a z-score only stretches the steps."""
YES_REMEDY = "mend it or, if it is right, continue with --yes (run: data.yes=true)"
LEAST_IMAGES: dict[Split, int] = {"train": 3, "valid": 1, "test": 3}
"""Fewer give no result worth reporting: one odd image decides it."""
LEAST_SHIFT_PX = 3.0
"""Shorter shifts cannot be told from the displaced look of structures in light, nor
matter much at this resolution; in blocks of ``registration.block_size``."""


def judge(
    pairs: Sequence[CheckedPair],
    *,
    patch_size: Sequence[int],
    pad_small: bool,
    yes: bool = False,
    tasks: Sequence[str] | None = None,
    listed: Sequence[str] = (),
) -> list[Finding]:
    """Judge a manifest.

    ``pairs``: its rows with sound headers, in order.
    ``patch_size``: training patch (z, y, x) in voxels of the model grid.
    ``yes``: what may be a mistake, but may be right, is right.
    ``tasks``: the tasks that are needed; those of the pairs by default.
    ``listed``: the tasks that the manifest has rows of, needed or not, sound or not.
    Returns: errors first, then warnings, then notes.
    """
    found = [*_too_few(pairs, tasks, listed), *_repeated(pairs), *compare(pairs)]
    for pair in pairs:
        if pair.split == "train" and not pad_small:
            found += _too_small(pair, patch_size)
        for channel in pair.channels():
            found += _bad_voxels(channel)
        found += _shifted(pair)
        found += doubtful(pair, yes)
        for missing in pair.missing:
            found.append(
                Finding(
                    "warning",
                    "missing-chunks",
                    pair.where,
                    "",
                    missing,
                    "see that the copy is complete (--refuse-missing-chunks refuses)",
                )
            )
    order = get_args(Severity)
    return sorted(found, key=lambda finding: order.index(finding.severity))


def finding_from_error(where: str, error: UserError) -> Finding:
    """Return an error of the manifest or of a file as a finding.

    ``where``: manifest, named in front of the message unless it begins with it.
    """
    return Finding("error", "unusable", where, "", str(error), "")


def worst(findings: Sequence[Finding]) -> Literal[0, 2, 3]:
    """Return the exit status: 2 with errors, 3 with warnings, else 0."""
    severities = {finding.severity for finding in findings}
    if "error" in severities:
        return 2
    return 3 if "warning" in severities else 0


def _bad_voxels(channel: CheckedChannel) -> Iterator[Finding]:
    """Yield what is wrong with the intensities of one channel."""
    facts, pair = channel.facts, channel.pair.facts
    of_light = pair.signal.padding if pair and channel.role == "target" else 0.0
    if facts.padding > of_light:
        yield channel.finding(
            "warning",
            "padding",
            f"{facts.padding:.1%} of the voxels are padding of {facts.padding_of} at "
            "the borders: left out of z-scores, losses and metrics",
            "if what was recorded is a box, crop to it (columns z0 to x1)",
        )
    if facts.num_nonfinite:
        yield channel.finding(
            "error",
            "non-finite",
            f"{facts.num_nonfinite} voxels are NaN or infinite",
            "correct the file, crop them away (columns z0 to x1) or leave it out",
        )
    if facts.is_constant:
        if facts.num_nonfinite < math.prod(facts.shape):
            yield channel.finding(
                "error",
                "constant",
                f"every voxel is {facts.minimum:g}",
                "choose another channel or leave it out",
            )
    elif facts.is_mask:
        return
    elif facts.num_levels < FEW_LEVELS:
        yield channel.finding(
            "warning",
            "nearly-constant",
            f"only {facts.num_levels} gray levels ({facts.dtype}, {facts.minimum:g} to "
            f"{facts.maximum:g})",
            "export it with its full range, or leave it out",
        )
    if facts.num_levels >= FEW_LEVELS and facts.saturated > MOST_SATURATED:
        yield channel.finding(
            "warning",
            "saturated",
            f"{facts.saturated:.1%} of the voxels are clipped at {facts.maximum:g}",
            "record it with less exposure or gain, or leave it out",
        )


def _shifted(pair: CheckedPair) -> Iterator[Finding]:
    """Yield that the target is misaligned with the transmitted light."""
    if pair.facts is None or pair.facts.shift_yx_px is None:
        return
    y, x = pair.facts.shift_yx_px
    if math.hypot(y, x) < LEAST_SHIFT_PX * block_size(pair.shape):
        return
    _, y_um, x_um = pair.voxel_size_um
    yield Finding(
        "warning",
        "unregistered",
        f"{pair.where}, {PurePath(pair.target_path).name}",
        f"{pair.target_channel} (target)",
        f"looks misaligned with the transmitted light by {abs(y):.0f} px "
        f"({abs(y) * y_um:.2g} µm) "
        f"{'down' if y > 0 else 'up'} and {abs(x):.0f} px ({abs(x) * x_um:.2g} µm) "
        f"{'right' if x > 0 else 'left'}",
        "register the two, or leave it out",
    )


def doubtful(pair: CheckedPair, yes: bool) -> Iterator[Finding]:
    """Yield what has to be confirmed before a run starts."""
    if pair.doubts:
        yield Finding(
            "note" if yes else "error",
            "implausible",
            pair.place,
            "",
            ", and ".join(pair.doubts),
            "" if yes else YES_REMEDY,
        )


def _too_small(pair: CheckedPair, patch_size: Sequence[int]) -> Iterator[Finding]:
    """Yield that no training patch fits into a volume."""
    if any(have < need for have, need in zip(pair.grid_shape, patch_size, strict=True)):
        yield Finding(
            "error",
            "too-small",
            pair.place,
            "",
            f"{_times(pair.grid_shape)} voxels (z, y, x) on the model grid, smaller "
            f"than the training patch of {_times(patch_size)}",
            "choose a smaller data.patch_size (--patch-size Z Y X), or pad it with "
            "data.pad_small=true (--pad-small)",
        )


def _too_few(
    pairs: Sequence[CheckedPair], tasks: Sequence[str] | None, listed: Sequence[str]
) -> Iterator[Finding]:
    """Yield the tasks without images, or with too few in a split."""
    counts = Counter((pair.task, pair.split) for pair in pairs)
    present = list(dict.fromkeys(pair.task for pair in pairs))
    for task in present if tasks is None else tasks:
        where = f"task {task}"
        if task not in present:
            yield Finding(
                "error",
                "no-images",
                where,
                "",
                f"no usable row; the manifest has {', '.join(listed) or 'no task'}",
                "add rows with this task, or choose another",
            )
            continue
        have = {split: counts[task, split] for split in get_args(Split)}
        few = {split: num for split, num in have.items() if num < LEAST_IMAGES[split]}
        if few:
            there = ", ".join(f"{num or 'no'} {split}" for split, num in few.items())
            wanted = ", ".join(f"{LEAST_IMAGES[split]} {split}" for split in few)
            yield Finding(
                "error" if 0 in few.values() else "warning",
                "few-images",
                where,
                "",
                f"images: {there}",
                f"have at least {wanted}: add images, or change the column split",
            )


def _repeated(pairs: Sequence[CheckedPair]) -> Iterator[Finding]:
    """Yield the rows whose voxels came up before: in another split, or for nothing.

    One light volume may serve several tasks of a split, but only one target each. That
    one file is in two splits is found without its voxels, by the manifest.
    """
    earlier: dict[str, list[CheckedChannel]] = defaultdict(list)
    for pair in pairs:
        channels = [one for one in pair.channels() if not one.facts.is_constant]
        known = [(one, earlier[one.facts.digest]) for one in channels]
        leaks = [
            (one, other)
            for one, others in known
            for other in others
            if other.pair.split != pair.split and other.path != one.path
        ]
        repeats = [
            (one, other)
            for one, others in known
            for other in others
            if other.pair.split == pair.split
            and (
                one.role != other.role
                or one.role == "target"
                or other.pair.task == pair.task
            )
        ]
        if leaks:
            yield _repeat("error", *leaks[0])
        elif repeats:
            yield _repeat("warning", *repeats[-1])
        for one in channels:
            earlier[one.facts.digest].append(one)
        yield from _own_target(channels)


def _repeat(
    severity: Severity, channel: CheckedChannel, other: CheckedChannel
) -> Finding:
    """Return that two rows hold the same voxels."""
    row = other.pair.where.rpartition(": ")[2]
    if severity == "error":
        return channel.finding(
            "error",
            "in-two-splits",
            f"in split {channel.pair.split} here, and voxel for voxel in split "
            f"{other.pair.split} in {row}, {other.file}",
            "put both rows in one split",
        )
    return channel.finding(
        "warning",
        "duplicate",
        f"the same voxels as channel {other.channel} of {row}, {other.file}",
        "see that the paths and channels are right, and keep one of the rows",
    )


def _own_target(channels: Sequence[CheckedChannel]) -> Iterator[Finding]:
    """Yield that a target is a copy of its light."""
    if len({channel.facts.digest for channel in channels}) < len(channels):
        yield channels[1].finding(
            "error",
            "target-is-light",
            "the same voxels as its light",
            "point the row at the fluorescence",
        )


def _times(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
