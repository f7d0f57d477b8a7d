"""Generated pairs on disk: written once, checked whenever they are read."""

import hashlib
import json
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from continual_repmode.files import replacing, write_whole
from continual_repmode.synthetic.field import SIMULATOR_VERSION, simulate_field
from continual_repmode.synthetic.kinds import split_task

CHANNELS = ("light", "fluorescence")
_REMEDY = "point data.cache_dir at a folder with room that you can write to"
RawPair = tuple[NDArray[np.uint16], NDArray[np.uint16]]


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that decides the bytes of a generated pair."""

    task: str
    split: str
    index: int
    seed: int
    shape: tuple[int, int, int]
    voxel_size_um: float
    version: int = SIMULATOR_VERSION

    @property
    def key(self) -> str:
        """Short hash of the whole recipe; it names the cached files."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def generate(self) -> RawPair:
        """Simulate the pair: light and fluorescence, raw counts (Z, Y, X)."""
        words = (self.task.encode(), self.split.encode())
        seed = [self.seed, *map(zlib.crc32, words), self.index]
        structure, kind = split_task(self.task)
        return simulate_field(seed, self.shape, structure, self.voxel_size_um, kind)


@dataclass(frozen=True, slots=True)
class PairCache:
    """A folder of generated pairs: two ``.npy`` files and a small JSON file each.

    The JSON file is written last and holds the recipe and a checksum of each volume;
    a pair without a matching one counts as missing.
    """

    folder: Path

    def has(self, recipe: Recipe) -> bool:
        """Whether a complete pair is there, without reading its volumes."""
        files = (self._path(recipe, f"-{name}.npy") for name in CHANNELS)
        return self._checksums(recipe) is not None and all(f.is_file() for f in files)

    def load(self, recipe: Recipe) -> RawPair:
        """Return a pair from the folder, generated and stored first if need be."""
        stored = self._read(recipe)
        return self.store(recipe) if stored is None else stored

    def store(self, recipe: Recipe) -> RawPair:
        """Generate a pair and write it, volumes first.

        Raises UserError if the folder cannot be written to.
        """
        pair = recipe.generate()
        note = {"recipe": asdict(recipe), "crc32": [_checksum(v) for v in pair]}
        for name, volume in zip(CHANNELS, pair, strict=True):
            path = self._path(recipe, f"-{name}.npy")
            with replacing(path, num_bytes=volume.nbytes, remedy=_REMEDY) as temporary:
                np.save(temporary, volume, allow_pickle=False)
        note_path = self._path(recipe, ".json")
        write_whole(note_path, json.dumps(note, indent=1), remedy=_REMEDY)
        return pair

    def _path(self, recipe: Recipe, ending: str) -> Path:
        name = f"{recipe.task}-{recipe.split}-{recipe.index:03d}-{recipe.key}"
        return self.folder / (name + ending)

    def _checksums(self, recipe: Recipe) -> list[int] | None:
        """Checksums noted for this very recipe, or None if there are none."""
        try:
            note = json.loads(self._path(recipe, ".json").read_bytes())
            # Through JSON, because it turns the tuple of sizes into a list.
            matches = note["recipe"] == json.loads(json.dumps(asdict(recipe)))
            return list(note["crc32"]) if matches else None
        except (OSError, ValueError, LookupError, TypeError):
            return None

    def _read(self, recipe: Recipe) -> RawPair | None:
        """Return the stored pair, or None if it is missing or damaged."""
        checksums = self._checksums(recipe)
        try:
            light, fluorescence = (
                np.load(self._path(recipe, f"-{name}.npy"), allow_pickle=False)
                for name in CHANNELS
            )
        except (OSError, ValueError, EOFError):
            return None
        if checksums != [_checksum(light), _checksum(fluorescence)]:
            return None
        return light, fluorescence


def _checksum(volume: NDArray[np.uint16]) -> int:
    """CRC-32 of the type, shape and values of a volume."""
    return zlib.crc32(
        volume.tobytes(), zlib.crc32(f"{volume.dtype.str}{volume.shape}".encode())
    )
