"""Prepares and measures many pairs: side by side, with progress, ready to go on."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial

from continual_repmode.errors import Faults, UserError
from continual_repmode.manifests.checks.facts import PairFacts
from continual_repmode.manifests.pairs import ManifestPair
from continual_repmode.processes import fresh_processes
from continual_repmode.volumes.disk import check_free
from continual_repmode.volumes.progress import byte_bar
from continual_repmode.volumes.store import EntryBusyError

PAIRS_PER_PROCESS = 2
"""Fewer pairs than this are not worth starting another process for."""

Work = Callable[[ManifestPair, bool], PairFacts | None]
Outcome = PairFacts | UserError | EntryBusyError | None


def prepare_pairs(
    pairs: Sequence[ManifestPair], *, progress: bool = True, num_processes: int = 1
) -> None:
    """Prepare what is not in the store yet.

    Several calls, also on other machines that share the folder, may run at once: each
    leaves out what another one is at, and waits for it in the end.

    Raises
    ------
    UserError
        If the disk lacks the space, or for the first pair that cannot be prepared.
    """
    _check_disk(pairs)
    missing = [pair for pair in pairs if pair.missing_bytes()]
    _work_on(missing, _prepare, "preparing", progress, num_processes, None)


def measure_pairs(
    pairs: Sequence[ManifestPair],
    *,
    prepare: bool,
    progress: bool = True,
    num_processes: int = 1,
    faults: Faults | None = None,
) -> list[PairFacts | None]:
    """Measure the raw voxels of pairs, and prepare them if asked to.

    Parameters
    ----------
    pairs : sequence of ManifestPair
    prepare : bool
        Also prepare every pair that can be.
    progress : bool
        Show a progress bar, if stderr is a terminal.
    num_processes : int
        Processes to share the work.
    faults : Faults, optional
        Where to collect the errors of damaged files; None stands for their facts.

    Returns
    -------
    list of PairFacts or None
        In the order of ``pairs``.
    """
    if prepare:
        _check_disk(pairs)
    work = _measure_and_prepare if prepare else _measure
    doing = "checking and preparing" if prepare else "checking"
    return _work_on(pairs, work, doing, progress, num_processes, faults)


def missing_bytes(pairs: Sequence[ManifestPair]) -> int:
    """Return the disk space that preparing pairs may take; reads no voxels."""
    return sum(pair.missing_bytes() for pair in pairs)


def _check_disk(pairs: Sequence[ManifestPair]) -> None:
    """Raise if the prepared pairs will not fit on the disk."""
    needed = missing_bytes(pairs)
    if needed:
        what = f"preparing {len(pairs)} pairs"
        check_free(pairs[0].store.folder, needed, what, "data.cache_dir")


def _work_on(
    pairs: Sequence[ManifestPair],
    work: Work,
    doing: str,
    progress: bool,
    num_processes: int,
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
            calls = [partial(work, pairs[index], wait) for index in busy]
            indices, busy = busy, []
            for position, outcome in _outcomes(calls, num_processes):
                index = indices[position]
                if isinstance(outcome, EntryBusyError):
                    busy.append(index)
                    continue
                bar.update(sizes[index])
                if isinstance(outcome, UserError):
                    with faults:
                        raise outcome
                else:
                    results[index] = outcome
    return results


def _outcomes(
    calls: Sequence[Callable[[], PairFacts | None]], num_processes: int
) -> Iterator[tuple[int, Outcome]]:
    """Yield the position and outcome of each call as it ends; errors are outcomes."""
    num_processes = min(num_processes, len(calls) // PAIRS_PER_PROCESS)
    if num_processes <= 1:
        for position, call in enumerate(calls):
            yield position, _outcome(call)
        return
    with ProcessPoolExecutor(num_processes, mp_context=fresh_processes()) as pool:
        futures = {pool.submit(_outcome, call): k for k, call in enumerate(calls)}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _outcome(
    call: Callable[[], PairFacts | None],
) -> Outcome:
    try:
        return call()
    except (UserError, EntryBusyError) as error:
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
