"""Several images: one is predicted, while a thread reads and writes files of others.

The network stays in the thread that calls. A second one does everything else, one
thing after the other: it prepares the next image and writes the last one. So results
are those of one image after the other, to the bit, and no more than three images are
in work at a time.
"""

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import replace

from continual_repmode.errors import UserError
from continual_repmode.prediction.bounds import RESERVE_BOTH_BYTES, room_beside
from continual_repmode.prediction.checking import check_disk
from continual_repmode.prediction.estimate import Estimate
from continual_repmode.prediction.job import Job, Predict, Steps
from continual_repmode.stopping import heed
from continual_repmode.workers import Ended

_MOST = 3
"""Images in work: one is written, one predicted, one prepared."""

Item = tuple[Job, str]
"""A job, and what stands before its bars."""


def with_room(jobs: Sequence[Job], estimates: Sequence[Estimate]) -> list[Job]:
    """Let images be prepared and written while another is predicted, if all that fits.

    An image that does not fit into memory together with the network is predicted alone.
    All are, if the disk has no room for the files of several.

    ``estimates``: one for each job.
    """
    if len(jobs) < 2:
        return list(jobs)
    try:
        check_disk(jobs[0].root, jobs, _MOST)
    except UserError:
        return list(jobs)
    network = max(estimate.network_bytes for estimate in estimates)
    room = room_beside(jobs[0].setup.memory, network)
    return [
        replace(job, room=room if estimate.least_file_bytes <= room else None)
        for job, estimate in zip(jobs, estimates, strict=True)
    ]


def memory_of(jobs: Sequence[Job], estimates: Sequence[Estimate]) -> int | None:
    """Return the most memory that a process takes for images that overlap.

    None if none of them do.
    """
    both = [
        min(job.room, estimate.file_bytes)
        for job, estimate in zip(jobs, estimates, strict=True)
        if job.room is not None
    ]
    network = max((estimate.network_bytes for estimate in estimates), default=0)
    return RESERVE_BOTH_BYTES + network + max(both) if both else None


def predict_all(items: Sequence[Item]) -> Ended[None]:
    """Predict images in this process.

    A :class:`UserError` is the outcome of its image; any other error ends the work.
    Close the generator (``contextlib.closing``): when that is before the end, what is
    being done stops, and the next call resumes it.

    ``items``: jobs that have room (:func:`with_room`) overlap.

    Yields
    ------
    (int, UserError or None)
        Position of an item and its error, in their order.
    """
    told = threading.Event()
    with ThreadPoolExecutor(1, "files", heed, (told,)) as files:
        begun = _Begun(files)
        try:
            yield from _in_order(begun.predict(items))
        finally:
            told.set()
            begun.close()


class _Begun:
    """The images that are in work, in their order."""

    def __init__(self, files: ThreadPoolExecutor) -> None:
        self._files = files
        self._steps: dict[int, Steps] = {}
        self._due: dict[int, Future[Predict | None]] = {}

    def predict(self, items: Sequence[Item]) -> Ended[None]:
        """Predict images; see :func:`predict_all`. Yields in the order of the ends."""
        left = deque(enumerate(items))
        while left or self._due:
            if not self._due:
                index, (job, title) = left.popleft()
                if job.room is None:
                    yield index, _alone(job, title)
                    continue
                self._begin(index, job, title)
            index = self._first_due()
            try:
                predict = self._due[index].result()
                if predict is not None:
                    if left and self._wants_another(index, left[0][1][0]):
                        later, (job, title) = left.popleft()
                        self._begin(later, job, title)
                    predict()
                    self._go_on(index)
                    continue
                outcome = None
            except UserError as error:
                self._files.submit(self._steps[index].close)
                outcome = error
            del self._steps[index], self._due[index]
            yield index, outcome

    def close(self) -> None:
        """Let go of all of them, where they are; what is not done can be resumed."""
        for due in self._due.values():
            due.cancel()
        ends = [self._files.submit(steps.close) for steps in self._steps.values()]
        wait(ends)

    def _begin(self, index: int, job: Job, title: str) -> None:
        self._steps[index] = job.steps(title)
        self._go_on(index)

    def _go_on(self, index: int) -> None:
        """Let the files of an image be read and written until its network is due."""
        self._due[index] = self._files.submit(next, self._steps[index], None)

    def _first_due(self) -> int:
        """Wait for an image whose network is due, or that is done; the earliest."""
        wait(self._due.values(), return_when=FIRST_COMPLETED)
        return next(index for index, due in self._due.items() if due.done())

    def _wants_another(self, index: int, job: Job) -> bool:
        """Tell whether to begin another image while one is predicted."""
        newest = max(self._due) == index
        return newest and len(self._due) < _MOST and job.room is not None


def _alone(job: Job, title: str) -> UserError | None:
    try:
        job.run(title)
    except UserError as error:
        return error
    return None


def _in_order(ended: Ended[None]) -> Iterator[tuple[int, UserError | None]]:
    """Yield outcomes in the order of their positions, 0 first."""
    known: dict[int, UserError | None] = {}
    position = 0
    with closing(ended):
        for index, outcome in ended:
            known[index] = outcome
            while position in known:
                yield position, known.pop(position)
                position += 1
