"""Lists of work: item by item here, in processes of this machine, or on a cluster."""

import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    wait,
)
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from continual_repmode.errors import UserError
from continual_repmode.paths import user_path
from continual_repmode.processes import end_with_parent, fresh_processes
from continual_repmode.stopping import STOPPING, TRY_AGAIN, heeding_signals

_ONE_AT_A_TIME = threading.Lock()
_CONNECT_S = 60
_TRIES_ALONE = 2
_DEATHS = {"BrokenProcessPool", "KilledWorker"}
"""Errors of processes here and, after four attempts, of Dask."""

Item = TypeVar("Item")
Result = TypeVar("Result")
Ended = Generator[tuple[int, Result | UserError]]


@dataclass(frozen=True, slots=True)
class Workers:
    """Who works on the items of a list."""

    #: Processes of this machine; 1: this process itself.
    count: int = 1
    #: Instead: the workers of a Dask cluster, given as the address of its scheduler
    #: (``tcp://host:8786``) or as the scheduler file. They need this package, and the
    #: same paths as here.
    scheduler: str | None = None

    @property
    def are_here(self) -> bool:
        """Items are worked on in this process, one after the other."""
        return self.scheduler is None and self.count <= 1

    def for_items(self, number: int, at_least: int = 1) -> "Workers":
        """Return no more processes than have ``at_least`` items each to begin with."""
        return Workers(min(self.count, number // at_least), self.scheduler)

    def work(
        self, call: Callable[[Item], Result], items: Sequence[Item]
    ) -> "Ended[Result]":
        """Call a function with each item.

        An item whose worker dies is tried again by another. A :class:`UserError` is
        the outcome of its item; any other error ends the work. Close the generator
        (``contextlib.closing``): when that is before the end, what has not begun does
        not begin, and what processes of this machine are at is interrupted there; a
        cluster lets its workers finish.

        ``call``: can be pickled, as the items, unless :attr:`are_here`.
        Raises UserError if there is no such cluster.

        Yields
        ------
        (int, object)
            Position of an item and its result or error, in the order of the ends.
        """
        if self.are_here:
            for index, item in enumerate(items):
                yield index, _outcome(call, item)
            return
        left = deque(enumerate(pickle.dumps((call, item)) for item in items))
        if self.scheduler is not None:
            there = partial(_in_folder, str(Path.cwd()))
            with self.executor() as cluster:
                lost = yield from _carry_out(cluster, there, left, len(left))
            for index, _ in lost:
                yield index, _died(f"{self.scheduler}: a worker")
            return
        while left:
            with self.executor() as processes:
                lost = yield from _carry_out(processes, _here, left, self.count)
            for suspect in lost:  # one of these has ended a process, which ends all
                alone = deque([suspect])
                for _ in range(_TRIES_ALONE):
                    with HERE.executor() as process:
                        alone += yield from _carry_out(process, _here, alone, 1)
                    if not alone:
                        break
                else:
                    yield suspect[0], _died("a worker process")

    @contextmanager
    def executor(self) -> Iterator[Executor]:
        """Start processes, or join the cluster; end them, or leave it, afterwards.

        Raises UserError if there is no such cluster.
        """
        if self.scheduler is not None:
            with _client(self.scheduler) as client:
                yield client.get_executor(pure=False)
            return
        threads = max(1, (os.cpu_count() or 1) // self.count)
        pool = ProcessPoolExecutor(
            self.count, fresh_processes(), _begin_process, (threads,)
        )
        before = set(multiprocessing.active_children())
        try:
            yield pool
        except BaseException:
            for process in set(multiprocessing.active_children()) - before:
                process.terminate()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


HERE = Workers()
"""This process itself."""


@dataclass(frozen=True, slots=True)
class Part:
    """One of several equal parts of a list, for jobs that share it without talking."""

    #: Part 3 of 20 has the items 3, 23, 43 and so on.
    number: int = 1
    of: int = 1

    @classmethod
    def parse(cls, text: str) -> "Part":
        """Read ``3/20``.

        Raises UserError if it is not a part of that kind.
        """
        number, _, of = text.partition("/")
        if number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of):
            return cls(int(number), int(of))
        raise UserError(f"--part {text}: use NUMBER/PARTS, from 1/20 to 20/20")

    def take(self, items: Sequence[Item]) -> list[Item]:
        """Return the items of this part, in their order."""
        return list(items[self.number - 1 :: self.of])


WHOLE = Part()


def _carry_out(
    executor: Executor,
    call: Callable[[bytes], Any],
    left: deque[tuple[int, bytes]],
    at_once: int,
) -> Generator[tuple[int, Any], None, list[tuple[int, bytes]]]:
    """Work on items, taken from ``left``; stop at, and return, those lost with workers.

    They are packed, so that they are opened only where the work is done: a scheduler
    has no use for them, and a process that cannot open one tells why.

    Raises UserError if the scheduler of a cluster goes away.
    """
    running: dict[Future[Any], tuple[int, bytes]] = {}
    lost: list[tuple[int, bytes]] = []
    while running or (left and not lost):
        while left and not lost and len(running) < at_once:
            item = left.popleft()
            try:
                running[executor.submit(call, item[1])] = item
            except BrokenExecutor:
                lost.append(item)
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            item = running.pop(future)
            try:
                outcome = _outcome(Future.result, future)
            except CancelledError:
                raise UserError(
                    "the scheduler of the cluster went away; the same command resumes"
                ) from None
            except Exception as error:
                if type(error).__name__ not in _DEATHS:
                    raise
                lost.append(item)
            else:
                yield item[0], outcome
    return lost


def _outcome(call: Callable[[Item], Result], item: Item) -> Result | UserError:
    try:
        return call(item)
    except UserError as error:
        return error


def _died(who: str) -> UserError:
    return UserError(
        f"{who} died each time; it may lack memory: use fewer workers, or a smaller "
        "--memory"
    )


def _begin_process(threads: int) -> None:
    """Set a process of this machine up: its share of the cores, and who stops it."""
    end_with_parent()
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    for name in STOPPING:
        if name != "SIGTERM" and hasattr(signal, name):  # these go to all of a group
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def _here(packed: bytes) -> Any:
    """Work on an item in a process of this machine; clean up if it is terminated."""
    try:
        with heeding_signals(then=signal.SIG_IGN):  # pools terminate more than once
            call, item = pickle.loads(packed)
            return call(item)
    except KeyboardInterrupt:
        sys.stderr.flush()
        os._exit(TRY_AGAIN)


def _in_folder(folder: str, packed: bytes) -> Any:
    """Work on an item in a worker of a cluster, from the folder of the command."""
    with _ONE_AT_A_TIME:
        try:
            os.chdir(folder)
        except OSError as error:
            raise UserError(
                f"{folder}: a worker of the cluster has no such folder; it must see "
                "the same paths"
            ) from error
        call, item = pickle.loads(packed)
        return call(item)


def _client(scheduler: str) -> Any:
    """Connect to a Dask cluster."""
    try:
        from distributed import Client
    except ImportError:
        raise UserError(
            f"scheduler {scheduler}: Dask is not installed; "
            "in the folder of the project, pip install '.[cluster]'"
        ) from None
    where = {"address": scheduler}
    if "://" not in scheduler and (file := user_path(scheduler)).is_file():
        where = {"scheduler_file": str(file)}
    try:
        return Client(  # type: ignore[no-untyped-call]
            **where, timeout=_CONNECT_S, set_as_default=False
        )
    except (OSError, ValueError) as error:
        raise UserError(
            f"scheduler {scheduler}: no Dask scheduler answers there; give its "
            "address, such as tcp://host:8786, or its scheduler file"
        ) from error
