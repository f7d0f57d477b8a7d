"""Calls of ``continual-repmode`` in forks of a process that has loaded it.

A call is one fork then, and no import of seconds; what it changes ends with it. Run as
a script with the modules to load first, each line read is a call in JSON, and each line
written tells its outcome.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import IO


@dataclass(frozen=True)
class Outcome:
    """How a call of the command ended; its status is negative if a signal ended it."""

    status: int
    out: str
    err: str
    seconds: float
    peak_mb: float


class ForkServer:
    """Calls the command as ``python -m continual_repmode`` does.

    Parameters
    ----------
    modules : sequence of str
        What is loaded before the first call; ``-NAME`` cannot be imported by any.
    """

    def __init__(self, modules: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, *modules],
            env={**os.environ, "OMP_NUM_THREADS": "1", "NO_PROXY": "127.0.0.1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._line() == "ready\n"

    def __call__(
        self, *words: str, folder: Path, limit_s: float, limit_bytes: int | None = None
    ) -> Outcome:
        """Call the command in a folder, with limits of time and of memory to add."""
        assert self._process.stdin
        request = {
            "words": words, "folder": str(folder), "limit_s": limit_s,
            "limit_bytes": limit_bytes, "environment": {**os.environ},
        }  # fmt: skip
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return Outcome(**json.loads(self._line()))

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _line(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline()


def serve(modules: Sequence[str]) -> None:
    del sys.path[0]  # the folder of this script
    for module in modules:
        if module.startswith("-"):
            sys.modules[module[1:]] = None  # type: ignore[assignment]
        else:
            import_module(module)
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(asdict(call(**json.loads(line)))), flush=True)


def call(folder: str, **request) -> Outcome:
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        started = time.monotonic()
        process = os.fork()
        if not process:
            _child(out, err, Path(folder), **request)
        _, status, used = os.wait4(process, 0)
        return Outcome(
            status=os.waitstatus_to_exitcode(status),
            out=_text(out),
            err=_text(err),
            seconds=time.monotonic() - started,
            peak_mb=used.ru_maxrss / 1024,
        )


def _child(
    out: IO[bytes],
    err: IO[bytes],
    folder: Path,
    words: list[str],
    limit_s: float,
    limit_bytes: int | None,
    environment: dict[str, str],
) -> None:
    status = 1
    try:
        signal.setitimer(signal.ITIMER_REAL, limit_s)  # SIGALRM ends the process
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out.fileno(), 1)
        os.dup2(err.fileno(), 2)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update({**environment, "OMP_NUM_THREADS": "1"})
        if limit_bytes:
            in_use = int(Path("/proc/self/statm").read_text().split()[0])
            limit = in_use * resource.getpagesize() + limit_bytes
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        command = import_module("continual_repmode.__main__")
        sys.modules["__main__"] = command  # what processes started by it load first
        sys.argv = [str(command.__file__), *words]
        status = command.main()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode("utf-8")


if __name__ == "__main__":
    serve(sys.argv[1:])
