"""The data check: a manifest, its files and their voxels, before anything runs."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from continual_repmode.data.collection import Split
from continual_repmode.data.signals import Look, look_of
from continual_repmode.errors import Faults, UserError
from continual_repmode.manifests.checks.checked_pair import CheckedPair, Finding
from continual_repmode.manifests.checks.facts import PairFacts
from continual_repmode.manifests.checks.findings import (
    doubtful,
    finding_from_error,
    judge,
)
from continual_repmode.manifests.manifest import ManifestCollection
from continual_repmode.manifests.pairs import ManifestPair
from continual_repmode.manifests.preparing import measure_pairs
from continual_repmode.paths import user_path
from continual_repmode.volumes.padding import hidden_voxels
from continual_repmode.volumes.plausibility import LEAST_NOISE
from continual_repmode.volumes.source_channels import SourceChannel
from continual_repmode.volumes.volume import VolumeReader, missing_chunks
from continual_repmode.workers import HERE, WHOLE, Part, Workers

Unlike = Callable[[str, Look | None], str | None]

_FORMATS = {
    "TiffVolume": "TIFF",
    "CziVolume": "CZI",
    "ZarrVolume": "OME-Zarr",
    "NpyVolume": "NumPy",
}


def _format_of(volume: VolumeReader) -> str:
    """Return how people call a format; that of another package by its suffix."""
    return _FORMATS.get(type(volume).__name__, volume.path.suffix)


@dataclass(frozen=True, slots=True)
class Check:
    """What a manifest holds and what is wrong with it."""

    #: The rows whose headers are sound.
    collection: ManifestCollection
    #: These rows, as the report shows them.
    pairs: list[CheckedPair]
    #: Everything that is wrong or remarkable.
    findings: list[Finding]

    @property
    def errors(self) -> list[Finding]:
        """The findings with which a run would not start."""
        return [finding for finding in self.findings if finding.severity == "error"]


def check_manifest(
    path: str | Path,
    *,
    tasks: Sequence[str] | None = None,
    patch_size: tuple[int, int, int],
    pad_small: bool = False,
    yes: bool = False,
    voxels: Literal["none", "measure", "prepare"] = "measure",
    progress: bool = True,
    workers: Workers = HERE,
    part: Part = WHOLE,
    unlike: Unlike | None = None,
    **settings: Any,
) -> Check:
    """Check a manifest, the headers of its files and, unless told not to, all voxels.

    Parameters
    ----------
    path : str or Path
        The manifest.
    tasks : sequence of str, optional
        Tasks that are needed; volumes of others are not looked at. All by default.
    patch_size : tuple of int
        Training patch (z, y, x) in voxels of the model grid.
    pad_small : bool
        Volumes smaller than the patch will be padded.
    yes : bool
        What may be a mistake, but may be right, is right.
    voxels : {"none", "measure", "prepare"}
        Read no voxels; measure them; or measure them and prepare the volumes, but only
        if nothing else is wrong already.
    progress : bool
        Show a progress bar, if stderr is a terminal.
    workers : Workers
        Who shares the work.
    part : Part
        Of the pairs: the voxels of the others are left to other calls.
    unlike : callable, optional
        Says of a task and the look of a signal what is unusual, if anything is.
    **settings
        As for :class:`continual_repmode.manifests.manifest.ManifestCollection`.

    Raises
    ------
    UserError
        If the manifest itself cannot be read.
    """
    path, faults = user_path(path), Faults()
    collection = ManifestCollection(path, tasks=tasks, faults=faults, **settings)
    listed = collection.all_pairs()

    def judged(facts: Sequence[PairFacts | None]) -> Check:
        pairs = [
            _checked(pair, split, measured, flat=patch_size[0] == 1)
            for (pair, split), measured in zip(listed, facts, strict=True)
        ]
        findings = [finding_from_error(str(path), error) for error in faults.found]
        findings += [
            Finding("note", "not-as-said", str(path), "", note, "")
            for note in collection.notes()
        ]
        findings += judge(
            pairs,
            patch_size=patch_size,
            pad_small=pad_small,
            yes=yes,
            tasks=tasks,
            listed=collection.listed_tasks,
        )
        return Check(collection, pairs, findings + unusual)

    unusual: list[Finding] = []
    headers = judged([None] * len(listed))
    prepare = voxels == "prepare"
    if voxels == "none" or (prepare and headers.errors):
        return headers
    facts: list[PairFacts | None] = [None] * len(listed)
    chosen = part.take(range(len(listed)))
    measured = measure_pairs(
        [listed[index][0] for index in chosen],
        prepare=prepare,
        progress=progress,
        workers=workers,
        faults=faults,
    )
    for index, found in zip(chosen, measured, strict=True):
        facts[index] = found
        if unlike is not None and found is not None and found.usable:
            unusual += _unusual(listed[index][0], unlike, prepared=prepare)
    return judged(facts)


def sound_collection(path: str | Path, **settings: Any) -> Check:
    """Check a manifest and prepare its volumes.

    ``**settings``: as for :func:`check_manifest`.
    Raises UserError if there is anything with which a run could not go on, with the
        first such finding and how to see the others.
    """
    check = check_manifest(path, voxels="prepare", **settings)
    if check.errors:
        first, *others = (finding.line() for finding in check.errors)
        more = (
            f" (and {len(others)} more: continual-repmode check {path})"
            if others
            else ""
        )
        raise UserError(first + more)
    return check


def refuse_doubtful(collection: ManifestCollection, yes: bool) -> None:
    """Raise for the first pair that may be a mistake, unless it is right.

    Looks at headers, and at a plane of what is not prepared yet.

    Raises UserError: as a run would tell it.
    """
    for pair, split in collection.all_pairs():
        checked = _checked(pair, split, None)
        if not yes and pair.missing_bytes():
            checked = replace(checked, doubts=tuple(pair.doubts(read=True)))
        for finding in doubtful(checked, yes):
            if finding.severity == "error":
                raise UserError(finding.line())


def _unusual(
    pair: ManifestPair, unlike: Unlike, *, prepared: bool
) -> Iterator[Finding]:
    """Yield a warning if the signal looks unusual."""
    if prepared:
        signal = pair.load().signal
    else:
        raw = pair.signal.read()
        hidden = hidden_voxels(raw)
        signal, _ = pair.preparation.apply(
            raw, pair.source_voxel_size_um, hidden and hidden[1]
        )
    look = look_of(signal, pair.preparation.voxel_size_um)
    said = unlike(pair.task, look)
    if said is not None:
        remedy = "see that channel and voxel size are right, or train on such images"
        channel = _channel(pair.signal)
        yield Finding("warning", "unlike-model", pair.row.where, channel, said, remedy)


def _checked(
    pair: ManifestPair, split: Split, facts: PairFacts | None, flat: bool = False
) -> CheckedPair:
    light = facts and facts.signal
    may_be_noise = light and not light.is_mask and light.sharpness >= LEAST_NOISE
    return CheckedPair(
        name=pair.name,
        task=pair.task,
        split=split,
        where=pair.row.where,
        signal_path=str(pair.signal.volume.path),
        target_path=str(pair.target.volume.path),
        signal_channel=_channel(pair.signal),
        target_channel=_channel(pair.target),
        format=_format_of(pair.signal.volume),
        shape=pair.signal.shape,
        grid_shape=pair.grid_shape,
        voxel_size_um=pair.source_voxel_size_um,
        box=_box(pair),
        facts=facts,
        doubts=tuple(pair.doubts(flat, read=bool(may_be_noise))),
        missing=_missing(pair),
    )


def _missing(pair: ManifestPair) -> tuple[str, ...]:
    volumes = {
        channel.volume.path: channel.volume for channel in (pair.signal, pair.target)
    }
    return tuple(
        f"{path.name}: {missing}"
        for path, volume in volumes.items()
        if (missing := missing_chunks(volume))
    )


def _channel(channel: SourceChannel) -> str:
    name = channel.volume.channel_names[channel.channel]
    return f"{channel.channel} {name!r}" if name else str(channel.channel)


def _box(pair: ManifestPair) -> tuple[tuple[int, int], ...]:
    return tuple((side.start, side.stop) for side in pair.signal.box)
