"""Calls of ``continual-repmode`` in forks of a process that has loaded it.

A call is one fork then, and no import of seconds; what it changes ends with it. Run as
a script with the modules to load first, each line read is a request in JSON, and each
line written its answer.
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
from importlib import import_module
from pathlib import Path
from typing import Any


class Call:
    """A call of the command, with what tests use of ``subprocess.Popen``."""

    def __init__(self, server: "ForkServer", pid: int, said: Path) -> None:
        self.pid, self.returncode = pid, None
        self.seconds = self.peak_mb = 0.0
        self._server, self._said, self._started = server, said, time.monotonic()

    def poll(self) -> int | None:
        return self._ended(block=False)

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float = 300) -> tuple[str, str]:
        """Wait for its end; return what it printed."""
        del timeout  # it has its limit from the start
        self._ended(block=True)
        out, err = (self._said.with_suffix(suffix) for suffix in (".out", ".err"))
        return out.read_text(encoding="utf-8"), err.read_text(encoding="utf-8")

    def _ended(self, *, block: bool) -> int | None:
        if self.returncode is None:
            ended = self._server.ask(wait=self.pid, block=block)
            if ended is not None:
                self.returncode, self.peak_mb = ended
                self.seconds = time.monotonic() - self._started
        return self.returncode


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
        self._folder = tempfile.TemporaryDirectory()
        self._number = 0

    def start(
        self,
        *words: str,
        folder: Path,
        limit_s: float = 300,
        limit_bytes: int | None = None,
    ) -> Call:
        """Call the command in a folder, with limits of time and of memory to add."""
        self._number += 1
        said = Path(self._folder.name, f"{self._number}.said")
        pid = self.ask(
            words=words, folder=str(folder), said=str(said), limit_s=limit_s,
            limit_bytes=limit_bytes, environment={**os.environ},
        )  # fmt: skip
        return Call(self, pid, said)

    def ask(self, **request: Any) -> Any:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
        self._folder.cleanup()


def serve(modules: Sequence[str]) -> None:
    del sys.path[0]  # the folder of this script
    for module in modules:
        if module.startswith("-"):
            sys.modules[module[1:]] = None  # type: ignore[assignment]
        else:
            import_module(module)
    for line in sys.stdin:
        request = json.loads(line)
        answer = _wait(**request) if "wait" in request else _fork(**request)
        print(json.dumps(answer), flush=True)


def _wait(wait: int, block: bool) -> tuple[int, float] | None:
    pid, status, used = os.wait4(wait, 0 if block else os.WNOHANG)
    return (os.waitstatus_to_exitcode(status), used.ru_maxrss / 1024) if pid else None


def _fork(
    words: list[str],
    folder: str,
    said: str,
    limit_s: float,
    limit_bytes: int | None,
    environment: dict[str, str],
) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.setitimer(signal.ITIMER_REAL, limit_s)  # SIGALRM ends the process
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number, suffix in ((1, ".out"), (2, ".err")):
            path = Path(said).with_suffix(suffix)
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), number)
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


if __name__ == "__main__":
    serve(sys.argv[1:])
