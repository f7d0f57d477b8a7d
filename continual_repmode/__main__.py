"""The console command ``continual-repmode``, also ``python -m continual_repmode``."""

import errno
import io
import os
import signal
import sys
from importlib import import_module
from keyword import iskeyword

from continual_repmode import __version__
from continual_repmode.commands import VERBS
from continual_repmode.errors import UserError
from continual_repmode.processes import command_line, started_by_torchrun, tells_nothing
from continual_repmode.stopping import TRY_AGAIN, Interrupted, heeding_signals


def main(argv: list[str] | None = None) -> int:
    """Run the verb that ``argv`` starts with; return the exit status.

    0: done. 1: a fault of the program. 2: a mistake that the message says how to mend.
    3: done but for some items. 75: stopped by SIGINT, SIGTERM or SIGUSR1; the command
    that resumes it is printed. 141: nobody reads what is printed any more.
    """
    arguments = sys.argv[1:] if argv is None else argv
    verb, rest = (arguments[0], arguments[1:]) if arguments else ("--help", [])
    if verb in {"-h", "--help", "help"}:
        print(_help())
        return 0
    if verb == "--version":
        print(f"continual-repmode {__version__}")
        return 0
    if verb not in VERBS:
        print(
            f"error: there is no command {verb!r}; the commands are {', '.join(VERBS)}",
            file=sys.stderr,
        )
        return 2
    return call(verb, rest, last=argv is None)


def call(verb: str, arguments: list[str], *, last: bool = False) -> int:
    """Run one verb, the ``last`` of this process or not; tell mistakes in one line."""
    for stream in (sys.stdout, sys.stderr):  # for names that cannot be shown
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    name = f"{verb}_" if iskeyword(verb) else verb
    module = import_module(f"continual_repmode.commands.{name}")
    try:
        # torchrun hands the signal on to processes that may have had it already.
        then = signal.SIG_IGN if started_by_torchrun() else signal.SIG_DFL
        with heeding_signals(last=last, then=then):
            status: int = module.main(arguments)
            sys.stdout.flush()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        if tells_nothing():
            return TRY_AGAIN  # the first process tells
        same = command_line(["continual-repmode", verb, *arguments])
        command = str(stop) if isinstance(stop, Interrupted) else ""
        print(f"\ninterrupted; resume with: {command or same}", file=sys.stderr)
        return TRY_AGAIN
    except BrokenPipeError:
        # `continual-repmode info model.safetensors | head -1` stops reading early;
        # what is still to be printed when Python ends goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EFBIG}:
            raise
        where = error.filename or "a file"
        print(f"error: {where}: {error.strerror}; free some space", file=sys.stderr)
        return 2
    return status


def _help() -> str:
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {verb:<{width}}  {about}" for verb, about in VERBS.items())
    return (
        "Predict many subcellular structures from one 3D transmitted-light image, and\n"
        "add new ones without forgetting.\n\n"
        "usage: continual-repmode COMMAND [ARGUMENTS]\n\n"
        f"commands:\n{verbs}\n\n"
        "`continual-repmode COMMAND --help` explains a command."
    )


if __name__ == "__main__":
    sys.exit(main())
