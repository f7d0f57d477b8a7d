"""Calls of ``continual-repmode``, each in a process that may not hang or grow.

Run as a script with the modules to load first: a call is one fork then, and no import.
Every line read is a call in JSON, ``{"words": [...], "folder": ..., "limit_s": ...}``;
every line written tells its ``status`` (negative: killed by that signal), ``out``,
``err``, ``seconds`` and ``peak_mb``.
"""

import json
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from importlib import import_module
from pathlib import Path
from typing import IO, Any

MEMORY_BYTES = 4 << 30
"""Address space a call may take beyond what the loaded modules have."""


def main() -> None:
    sys.modules["imagecodecs"] = None  # type: ignore[assignment]  # an extra
    for module in sys.argv[1:]:
        import_module(module)
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(call(**json.loads(line))), flush=True)


def call(words: list[str], folder: str, limit_s: float) -> dict[str, Any]:
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        started = time.monotonic()
        process = os.fork()
        if not process:
            _child(words, folder, limit_s, out, err)
        _, status, used = os.wait4(process, 0)
        return {
            "status": os.waitstatus_to_exitcode(status),
            "out": _text(out),
            "err": _text(err),
            "seconds": time.monotonic() - started,
            "peak_mb": used.ru_maxrss / 1024,
        }


def _child(
    words: list[str], folder: str, limit_s: float, out: IO[bytes], err: IO[bytes]
) -> None:
    status = 1
    try:
        signal.setitimer(signal.ITIMER_REAL, limit_s)  # SIGALRM ends the process
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out.fileno(), 1)
        os.dup2(err.fileno(), 2)
        os.chdir(folder)
        in_use = int(Path("/proc/self/statm").read_text().split()[0])
        limit = in_use * resource.getpagesize() + MEMORY_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        from continual_repmode.__main__ import main as command

        status = command(words)
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
    main()
