"""Runs commands as if the machine were a Windows one, as far as Linux imitates it.

``python another_system.py VERB ... --then VERB ...`` takes away, from the code of this
package only, what exists on POSIX systems only: functions and constants of ``os``,
``signal`` and ``mmap``, modules such as ``fcntl``, ``/proc``, starting processes by
fork, symbolic links. Below the folder in ``IMITATED_BELOW`` files behave as on Windows:
no names that are illegal there, no path of 260 characters or more, no two names that differ by case only, no renaming,
replacing or deleting of what this process has open or mapped, no renaming onto what
exists. Worker processes import this file too, and are bound in the same way.
"""

import builtins
import errno
import mmap
import multiprocessing.context
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

PACKAGE = "continual_repmode"
GONE = {
    os: """chown confstr fchdir fchown fdatasync fork forkpty fpathconf getegid geteuid
        getgid getgroups getloadavg getpgid getpgrp getpriority getsid getuid killpg
        lchown lockf mkfifo mknod nice openpty pathconf pidfd_open pipe2 posix_fadvise
        posix_fallocate posix_spawn posix_spawnp pread preadv pwrite pwritev readv
        register_at_fork sched_getaffinity sched_setaffinity sched_yield sendfile
        setpgid setpriority setsid statvfs sync sysconf ttyname uname wait wait3 wait4
        waitid writev WNOHANG O_CLOEXEC O_DIRECT O_DIRECTORY O_DSYNC O_NOFOLLOW
        O_NONBLOCK O_PATH O_SYNC O_TMPFILE memfd_create copy_file_range""",
    signal: """SIGALRM SIGCHLD SIGCONT SIGHUP SIGKILL SIGPIPE SIGQUIT SIGSTOP SIGTSTP
        SIGUSR1 SIGUSR2 alarm getitimer pause pthread_kill pthread_sigmask setitimer
        sigwait""",
    mmap: "MAP_PRIVATE MAP_SHARED MADV_DONTNEED MADV_SEQUENTIAL PROT_READ PROT_WRITE",
}
NO_MODULES = {
    *("fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "syslog", "posix"),
    *("_posixsubprocess", "readline"),
}
ILLEGAL = re.compile(r'[<>:"|?*\\\x00-\x1f]|[. ]$')
RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)
STDLIB = str(Path(os.__file__).parent)
listdir, readlink = os.listdir, os.readlink


def ours(frame: FrameType | None) -> bool:
    """Whether this package did it: the next caller outside the standard library."""
    while frame is not None:
        name = str(frame.f_globals.get("__name__", ""))
        file = frame.f_code.co_filename
        if name.partition(".")[0] == PACKAGE:
            return True
        library = file.startswith((STDLIB, "<frozen")) and "site-packages" not in file
        if not library and name not in {"__main__", "__mp_main__"}:
            return False
        frame = frame.f_back
    return False


def take_away(module: ModuleType, names: list[str], instead: dict[str, Any]) -> None:
    """Let others see a name of a module that this package does not see."""
    kept = {name: vars(module).pop(name) for name in names if hasattr(module, name)}

    def look_up(name: str) -> Any:
        caller = sys._getframe(1).f_globals.get("__name__", "")
        if name in kept:
            if str(caller).partition(".")[0] != PACKAGE:
                return kept[name]
            if name in instead:
                return instead[name]
        raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")

    vars(module)["__getattr__"] = look_up


def no_modules() -> None:
    """Refuse the import of modules that Windows does not have."""
    original = builtins.__import__

    def importing(name: str, globals: Any = None, *rest: Any, **more: Any) -> Any:
        caller = str((globals or {}).get("__name__", ""))
        if name in NO_MODULES and caller.partition(".")[0] == PACKAGE:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return original(name, globals, *rest, **more)

    builtins.__import__ = importing


def in_use(path: str) -> bool:
    """Whether this process has a file open or mapped, or one in that folder."""
    links = (f"/proc/self/fd/{number}" for number in listdir("/proc/self/fd"))
    known = {readlink(link) for link in links if os.path.islink(link)}
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
        known |= {line.split(maxsplit=5)[-1].strip() for line in maps}
    return any(one == path or one.startswith(path + "/") for one in known)


class WindowsFiles:
    """Hears of every file operation before it happens, and refuses as Windows does."""

    def __init__(self, root: str) -> None:
        self.root = os.path.realpath(root)
        self.asking = False

    def __call__(self, event: str, given: tuple[Any, ...]) -> None:
        if self.asking or event not in {
            *("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.fork"),
            *("os.symlink", "os.link", "os.forkpty"),
        }:
            return
        self.asking = True
        try:
            self.hear(event, given)
        finally:
            self.asking = False

    def hear(self, event: str, given: tuple[Any, ...]) -> None:
        if not ours(sys._getframe(2)):
            return
        if event in {"os.fork", "os.forkpty", "os.symlink", "os.link"}:
            raise OSError(errno.EPERM, f"{event} is not here")
        paths = [os.fsdecode(p) for p in given[:2] if isinstance(p, str | bytes | Path)]
        if event == "open":
            if not paths or isinstance(given[0], int):
                return
            if paths[0].startswith(("/proc", "/dev/", "/sys/")):
                raise FileNotFoundError(errno.ENOENT, "no such file", paths[0])
            if given[2] & os.O_CREAT:
                self.check_name(paths[0])
        elif event == "os.mkdir":
            self.check_name(paths[0])
        elif event == "os.rename":
            self.check_name(paths[1], but=os.path.abspath(paths[0]))
            self.check_free(paths)
        else:
            self.check_free(paths)

    def check_name(self, path: str, but: str = "") -> None:
        path = os.path.abspath(path)
        folder, name = os.path.split(path)
        if not self.within(path) or not name:
            return
        if len(path) > 259:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        if ILLEGAL.search(name) or RESERVED.fullmatch(name):
            raise OSError(errno.EINVAL, "a name that Windows refuses", path)
        beside = listdir(folder) if os.path.isdir(folder) else []
        for other in beside:
            alike = other != name and other.casefold() == name.casefold()
            if alike and os.path.join(folder, other) != but:
                raise OSError(errno.EEXIST, f"differs from {other} by case only", path)

    def check_free(self, paths: list[str]) -> None:
        for path in paths:
            if self.within(path) and in_use(os.path.realpath(path)):
                raise PermissionError(errno.EACCES, "in use by a process", path)

    def within(self, path: str) -> bool:
        return os.path.realpath(path).startswith(self.root + os.sep)


def strict_renames() -> None:
    """Let renaming onto what exists fail, and replacing folders, as on Windows."""

    def refusing(original: Callable[..., None], wrong: Callable[[str], bool]) -> Any:
        def rename(source: Any, target: Any, **more: Any) -> None:
            if ours(sys._getframe(1)) and wrong(target):
                raise FileExistsError(errno.EEXIST, "exists", str(target))
            original(source, target, **more)

        return rename

    os.rename = refusing(os.rename, os.path.lexists)
    os.replace = refusing(os.replace, os.path.isdir)


def imitate() -> None:
    """Do all of it, in this process."""
    import matplotlib.pyplot  # noqa: F401 - what these use is their own affair
    import psutil  # noqa: F401
    import torch  # noqa: F401

    for module, names in GONE.items():
        take_away(module, names.split(), {})
    take_away(sys, ["platform"], {"platform": "win32"})
    no_modules()
    contexts = multiprocessing.context._concrete_contexts
    spawn = contexts["spawn"]
    contexts.clear()
    contexts["spawn"] = spawn
    multiprocessing.context._default_context._default_context = spawn
    strict_renames()
    sys.addaudithook(WindowsFiles(os.environ["IMITATED_BELOW"]))


imitate()

if __name__ == "__main__":
    from continual_repmode.__main__ import main

    calls: list[list[str]] = [[]]
    for word in sys.argv[1:]:
        if word == "--then":
            calls.append([])
        else:
            calls[-1].append(word)
    for call in calls:
        print("status", main(call), call[0], flush=True)
