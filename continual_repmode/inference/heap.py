"""Keeps the C library from holding on to memory that was freed."""

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_MIB = 1 << 20


@contextmanager
def large_blocks_returned() -> Iterator[None]:
    """Give freed blocks of a MiB and more back to the system at once.

    The GNU C library keeps freed blocks of up to 32 MiB in its heap, where the blocks
    of different sizes that layers need leave holes: a U-Net took up to 2.9 times the
    memory that it used at a time. Blocks that come from the system and go back to it
    leave none. Other C libraries do so anyway; there nothing is changed.
    """
    if platform.libc_ver()[0] != "glibc":
        yield
        return
    mallopt = ctypes.CDLL(None).mallopt
    mallopt(_M_MMAP_THRESHOLD, _MIB)
    mallopt(_M_TRIM_THRESHOLD, _MIB)
    try:
        yield
    finally:  # what the library itself arrives at once large blocks were freed
        mallopt(_M_MMAP_THRESHOLD, 32 * _MIB)
        mallopt(_M_TRIM_THRESHOLD, 64 * _MIB)
