"""What the tests of workers let them do; as a script, what a signal interrupts."""

import os
import signal
import sys
import time
from contextlib import closing
from pathlib import Path

from continual_repmode.errors import UserError
from continual_repmode.stopping import heeding_signals
from continual_repmode.workers import Workers


def double(item: int) -> int:
    if item == 3:
        raise UserError("no threes")
    return 2 * item


def die_once(folder: Path, item: int) -> int:
    """End the process the first time that an item is even, and always for 4."""
    marker = folder / str(item)
    if item == 4 or (item % 2 == 0 and not marker.exists()):
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def wait_long(item: int) -> None:
    Path(f"{item} begun").touch()
    try:
        time.sleep(120)
    finally:
        if Path("stuck").exists():
            time.sleep(120)
        Path(f"{item} cleaned").touch()


if __name__ == "__main__":
    work = Workers(int(sys.argv[1])).work(wait_long, range(5))
    try:
        with heeding_signals(), closing(work) as ended:
            list(ended)
    except KeyboardInterrupt:
        sys.exit(75)
