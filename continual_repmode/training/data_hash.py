"""A digest of what a task was learned from: names and prepared voxels of its images."""

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from continual_repmode.data.collection import Pair


def hash_of_pairs(pairs: Iterable[Pair]) -> str:
    """Return the SHA-256 of the names, types, shapes and voxels of pairs.

    The order of the pairs plays no part. Volumes are read plane by plane, so maps of
    files larger than memory will do.

    ``pairs``: of one task; their names differ.
    """
    digest = hashlib.sha256()
    for pair in sorted(pairs, key=lambda pair: pair.name):
        loaded = pair.load()
        digest.update(f"{pair.task}/{pair.name}\n".encode())
        _add(digest, "signal", loaded.signal)
        _add(digest, "target", loaded.target)
    return digest.hexdigest()


def _add(digest: "hashlib._Hash", what: str, volume: NDArray[np.floating]) -> None:
    stored = volume.dtype.newbyteorder("<")
    digest.update(f"{what} {stored.name} {volume.shape}\n".encode())
    for plane in volume:
        digest.update(np.ascontiguousarray(plane, stored).data)
