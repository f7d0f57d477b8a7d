"""Processes that start afresh, whoever started this one, and locks between them."""

import _thread
import inspect
import multiprocessing
import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from multiprocessing.context import SpawnContext
from pathlib import Path
from types import FrameType

from filelock import BaseFileLock


def started_by_torchrun() -> bool:
    """Tell whether ``torchrun`` has started this process and others beside it."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def tells_nothing() -> bool:
    """Tell whether another of torchrun's processes writes and reports."""
    return started_by_torchrun() and os.environ.get("RANK", "0") != "0"


def end_with_parent() -> None:
    """Make this process end when the one that started it does, however that ends.

    For workers: give it to a pool as its ``initializer``.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        sentinel = parent.sentinel
        threading.Thread(target=_end_after, args=(sentinel,), daemon=True).start()


def _end_after(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)


def fresh_processes() -> SpawnContext:
    """Return what starts processes afresh ("spawn").

    A process tells the ones that it starts which method is its default. Workers of
    joblib have one that a fresh interpreter does not know, and would die of; in them
    the default becomes "spawn". Workers of Dask may start none; here they may.
    """
    default = multiprocessing.get_start_method(allow_none=True)
    if default is not None and default not in multiprocessing.get_all_start_methods():
        multiprocessing.set_start_method("spawn", force=True)
    _start_tracker()
    if multiprocessing.current_process().daemon:
        multiprocessing.current_process().daemon = False
    return multiprocessing.get_context("spawn")


def _start_tracker() -> None:
    """Start the process that cleans up after others so that SIGUSR1 does not end it.

    Schedulers send it to all processes of a job. What is blocked when a process starts
    stays blocked in it.
    """
    mask, usr1 = (getattr(signal, n, None) for n in ("pthread_sigmask", "SIGUSR1"))
    if mask is not None and usr1 is not None:
        before = mask(signal.SIG_BLOCK, [usr1])
        try:
            resource_tracker.ensure_running()
        finally:
            mask(signal.SIG_SETMASK, before)


def caller_of_block() -> FrameType | None:
    """Return the frame with the ``with`` block of the generator that calls this."""
    frame = inspect.currentframe()
    for _ in range(3):  # this function, the generator, __enter__
        frame = frame and frame.f_back
    return frame


def is_importing(frame: FrameType | None, outside: FrameType | None) -> bool:
    """Tell whether a frame is in an import that was begun within another frame."""
    while frame is not None and frame is not outside:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


def send_to_main(number: int) -> None:
    """Send a signal to the main thread of this process."""
    send = getattr(signal, "pthread_kill", None)
    if send is None:
        _thread.interrupt_main(signal.Signals(number))
    else:
        send(threading.main_thread().ident, number)


def let_go(lock: BaseFileLock) -> None:
    """Release a lock and remove its file.

    The file goes before the release, so that nobody else can hold it then. Where a file
    that is open cannot be removed (Windows), it goes afterwards, unless another process
    has opened it.
    """
    file = Path(lock.lock_file)
    try:
        file.unlink(missing_ok=True)
    except PermissionError:
        lock.release()
        with suppress(PermissionError):
            file.unlink(missing_ok=True)
    else:
        lock.release()


def command_line(words: Sequence[str]) -> str:
    """Return words as one line that the shell of this system splits into them."""
    if sys.platform == "win32":
        return subprocess.list2cmdline(words)
    return shlex.join(words)
