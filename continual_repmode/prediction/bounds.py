"""How much memory is left, of what a caller allows."""

from continual_repmode.errors import UserError
from continual_repmode.files import format_bytes
from continual_repmode.measuring import resident_bytes
from continual_repmode.volumes.stream_resizing import least_resize_bytes
from continual_repmode.volumes.volume import Size3, memory_bytes

RESERVE_BYTES = 60_000_000
"""For what comes and goes unseen: compressed chunks, buffers of files, holes."""

RESERVE_BOTH_BYTES = 2 * RESERVE_BYTES
"""The same for two threads at work; with that for one, 15 MB too much were measured."""

_LEAST_BYTES = 20_000_000
WRITING_BYTES = 40_000_000
"""Chunks that Zarr decodes, merges and encodes; measured: 23 to 32 MB."""
_RESIZING_BYTES = 512_000_000
"""More does not make resizing faster."""

_BLOCK_BYTES = 64_000_000
"""Read at a time by :func:`continual_repmode.volumes.streamed.channel_statistics`."""


def default_memory() -> int:
    """Return half of the memory of this machine."""
    return memory_bytes() // 2


def memory_left(allowed: int) -> int:
    """Return how many bytes this process may take beyond what it has.

    Raises UserError if it has more already, or next to nothing is left.
    """
    in_use = resident_bytes()
    left = allowed - in_use - RESERVE_BYTES
    if left < _LEAST_BYTES:
        least = in_use + RESERVE_BYTES + _LEAST_BYTES
        raise UserError(
            f"memory={format_bytes(allowed)}: the program itself takes "
            f"{format_bytes(in_use)}; allow {format_bytes(least)} or more"
        )
    return left


def room_beside(allowed: int, network: int) -> int:
    """Return how many bytes work may take while the network predicts another image.

    ``network``: the most that the process has while it does.
    """
    return min(allowed - network - RESERVE_BOTH_BYTES, _RESIZING_BYTES)


def resizing_memory(allowed: int, room: int | None = None) -> int:
    """Return how many bytes resizing may take.

    ``room``: of :func:`room_beside`; None: what the process does not have now.
    """
    return min(memory_left(allowed) if room is None else room, _RESIZING_BYTES)


def writing_memory(
    allowed: int, old: Size3, new: Size3, room: int | None = None
) -> int:
    """Return how many bytes resizing may take from which a file is written."""
    most = resizing_memory(allowed, room) - WRITING_BYTES
    return max(most, least_resize_bytes(old, new))


def statistics_bytes(shape: Size3) -> int:
    """Return about what measuring a channel of 16 bits takes, block by block.

    A block is held as the file is read and on its own; of one plane there are float64
    copies.
    """
    z, y, x = shape
    return 2 * max(min(_BLOCK_BYTES, 2 * z * y * x), 2 * y * x) + 20 * y * x
