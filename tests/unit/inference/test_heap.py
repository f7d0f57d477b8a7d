import platform
import subprocess
import sys

import pytest

MEBIBYTES_KEPT = """
import ctypes
from continual_repmode.inference.heap import large_blocks_returned

library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
library.malloc.argtypes = [ctypes.c_size_t]
library.free.argtypes = [ctypes.c_void_p]

def resident():
    with open("/proc/self/status") as status:
        return int(next(line for line in status if line.startswith("VmRSS")).split()[1])

def used(mebibytes):
    block = library.malloc(mebibytes << 20)
    ctypes.memset(block, 1, mebibytes << 20)
    return block

def kept():
    before = resident()
    library.free(used(30))  # from now on the library wants to keep blocks of this size
    large, small = used(20), used(2)
    library.free(large)  # leaves a hole, as the small block lies behind it
    hole = (resident() - before) // 1024 - 2
    library.free(small)
    return hole

with large_blocks_returned():
    within = kept()
print(within, kept())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="about the GNU library")
def test_freed_blocks_leave_no_holes_within_but_afterwards() -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEBIBYTES_KEPT],
        check=True,
        capture_output=True,
        text=True,
    )

    within, afterwards = map(int, done.stdout.split())
    assert within < 2
    assert afterwards > 15
