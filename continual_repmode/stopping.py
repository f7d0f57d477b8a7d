"""Signals to stop: heeded where work can be resumed, in whatever process does it."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from continual_repmode.processes import caller_of_block, is_importing, send_to_main

TRY_AGAIN = 75
"""Exit status of what a signal stopped and the same command resumes
(``EX_TEMPFAIL``): schedulers can begin it again."""

STOPPING = ("SIGINT", "SIGTERM", "SIGUSR1")
"""Signals that stop the work, where the system has them."""

_A_MOMENT_S = 0.02

_told = threading.local()


class Interrupted(KeyboardInterrupt):
    """A signal stopped the work; the message is the command that resumes it.

    Empty: the same command. A class of its own also because CPython ends as if nobody
    had caught a plain KeyboardInterrupt that passed through ``exec``.
    """


@contextmanager
def heeding_signals(
    *, last: bool = False, then: signal.Handlers = signal.SIG_DFL
) -> Iterator[None]:
    """Let the first signal to stop raise :class:`Interrupted`, and the second end all.

    Heeds SIGINT, SIGTERM and SIGUSR1, where the system has them and whoever started
    this process does not have it ignore them. What other threads do is not changed. One
    that comes in the middle of an import waits for its end: packages that are half
    imported fail in ways of their own, or hide it. Within :func:`signals_noted` the
    first one is raised at the end of that block.

    ``last``: the process ends after the block: once that is done, signals come too
        late.
    ``then``: what a second signal does. If it is ignored, it still is after the block.
    """
    heeded: list[int] = []
    stopped = False
    if threading.current_thread() is threading.main_thread():
        found = [getattr(signal, name, None) for name in STOPPING]
        heeded += [s for s in found if s and signal.getsignal(s) != signal.SIG_IGN]
    owner, outside = os.getpid(), caller_of_block()
    later: threading.Timer | None = None

    def send_again(number: int) -> None:
        nonlocal later
        later = None  # before it is sent: it may have to wait once more
        send_to_main(number)

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stopped, later
        if is_importing(frame, outside):
            if later is None:
                later = threading.Timer(_A_MOMENT_S, send_again, [number])
                later.daemon = True
                later.start()
            return
        stopped = True
        for each in heeded:
            signal.signal(each, then)
        if os.getpid() != owner:  # a copy of this process, such as a loader of patches
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        if _noting:
            _noting[-1] = True
        else:
            raise Interrupted

    before = {each: signal.signal(each, stop) for each in heeded}
    try:
        yield
        if last:
            before = dict.fromkeys(before, signal.SIG_IGN)
    finally:
        if later is not None:
            later.cancel()
        if not stopped or then != signal.SIG_IGN:
            for each, handler in before.items():
                signal.signal(each, handler)


def heed(told: threading.Event) -> None:
    """Let this thread, which signals do not reach, stop once an event is set."""
    _told.by = told


def stop_if_told() -> None:
    """Raise :class:`Interrupted` if this thread is to stop; see :func:`heed`.

    For the loops of long work, where the thread that is signaled needs nothing.
    """
    told: threading.Event | None = getattr(_told, "by", None)
    if told is not None and told.is_set():
        raise Interrupted


_noting: list[bool] = []
"""Whether a signal has come in the blocks of :func:`signals_noted`."""


@contextmanager
def signals_noted() -> Iterator[Callable[[], bool]]:
    """Let a signal to stop be raised only at the end of the block.

    For several processes that work together, which must stop at the same step.

    Raises Interrupted: at the end, if one has; also in place of an error, which may be
        the end of another process that it has reached.

    Yields
    ------
    callable
        Tells whether a signal has come.
    """
    _noting.append(False)
    try:
        yield lambda: _noting[-1]
    except Exception as error:
        if _noting[-1]:
            raise Interrupted from error
        raise
    finally:
        has_come = _noting.pop()
    if has_come:
        raise Interrupted
