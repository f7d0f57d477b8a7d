"""Prepares and measures many pairs: side by side, with progress, ready to go on."""

from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial

from continual_repmode.errors import Faults, UserError
from continual_repmode.files import check_free
from continual_repmode.manifests.checks.facts import PairFacts
from continual_repmode.manifests.pairs import ManifestPair
from continual_repmode.volumes.progress import byte_bar
from continual_repmode.volumes.store import EntryBusyError
from continual_repmode.workers import HERE, Workers

PAIRS_PER_PROCESS = 2
"""Fewer pairs than this are not worth starting another process for."""

Work = Callable[[ManifestPair, bool], PairFacts | None]


def prepare_pairs(
    pairs: Sequence[ManifestPair], *, progress: bool = True, workers: Workers = HERE
) -> None:
    """Prepare what is not in the store yet.

    Several calls, also on other machines that share the folder, may run at once: each
    leaves out what another one is at, and waits for it in the end.

    Raises UserError if the disk lacks the space, or for the first pair that cannot be
        prepared.
    """
    _check_disk(pairs)
    missing = [pair for pair in pairs if pair.missing_bytes()]
    _work_on(missing, _prepare, "preparing", progress, workers, None)


def measure_pairs(
    pairs: Sequence[ManifestPair],
    *,
    prepare: bool,
    progress: bool = True,
    workers: Workers = HERE,
    faults: Faults | None = None,
) -> list[PairFacts | None]:
    """Measure the raw voxels of pairs, and prepare them if asked to.

    ``faults``: where to collect the errors of damaged files; None stands for their
        facts.
    Returns: in the order of ``pairs``.
    """
    if prepare:
        _check_disk(pairs)
    work = _measure_and_prepare if prepare else _measure
    doing = "checking and preparing" if prepare else "checking"
    return _work_on(pairs, work, doing, progress, workers, faults)


def missing_bytes(pairs: Sequence[ManifestPair]) -> int:
    """Return the disk space that preparing pairs may take; reads no voxels."""
    return sum(pair.missing_bytes() for pair in pairs)


def _check_disk(pairs: Sequence[ManifestPair]) -> None:
    """Raise if the prepared pairs will not fit on the disk."""
    needed = missing_bytes(pairs)
    if needed:
        what = f"preparing {len(pairs)} pairs"
        check_free(
            pairs[0].store.folder, needed, what, "data.cache_dir (--cache-dir DIR)"
        )


def _work_on(
    pairs: Sequence[ManifestPair],
    work: Work,
    doing: str,
    progress: bool,
    workers: Workers,
    faults: Faults | None,
) -> list[PairFacts | None]:
    """Do the work on every pair; those that another process is at come last."""
    faults = Faults(collect=False) if faults is None else faults
    results: list[PairFacts | None] = [None] * len(pairs)
    sizes = [_num_bytes(pair) for pair in pairs]
    doing_it = f"{doing} {len(pairs)} pairs"
    with byte_bar(doing_it, sum(sizes), shown=progress and bool(pairs)) as bar:
        busy = list(range(len(pairs)))
        for wait in (False, True):
            indices, busy = busy, []
            call = partial(_unless_busy, work, wait)
            several = workers.for_items(len(indices), PAIRS_PER_PROCESS)
            with closing(several.work(call, [pairs[i] for i in indices])) as ended:
                for position, outcome in ended:
                    index = indices[position]
                    if isinstance(outcome, EntryBusyError):
                        busy.append(index)
                        continue
                    bar.update(sizes[index])
                    with faults:
                        if isinstance(outcome, UserError):
                            raise outcome
                        results[index] = outcome
    return results


def _unless_busy(
    work: Work, wait: bool, pair: ManifestPair
) -> PairFacts | EntryBusyError | None:
    try:
        return work(pair, wait)
    except EntryBusyError as error:
        return error


def _prepare(pair: ManifestPair, wait: bool) -> None:
    pair.prepare(wait)


def _measure(pair: ManifestPair, wait: bool) -> PairFacts:
    del wait  # measuring is quick; doing it twice does no harm
    return pair.measure()


def _measure_and_prepare(pair: ManifestPair, wait: bool) -> PairFacts:
    return pair.measure_and_prepare(wait)


def _num_bytes(pair: ManifestPair) -> int:
    """Return the size of the raw voxels, as a measure of the work."""
    z, y, x = pair.signal.shape
    itemsize = pair.signal.volume.dtype.itemsize + pair.target.volume.dtype.itemsize
    return z * y * x * itemsize
