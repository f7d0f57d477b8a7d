import hashlib
from dataclasses import dataclass

import numpy as np
import pytest

from continual_repmode.data.collection import LoadedPair
from continual_repmode.training.data_hash import hash_of_pairs
from continual_repmode.volumes.normalization import Intensity

UNIT = Intensity(0.0, 1.0)


@dataclass
class StoredPair:
    name: str
    signal: np.ndarray
    target: np.ndarray
    task: str = "dna"

    def load(self):
        return LoadedPair(self.signal, self.target, UNIT, UNIT)


@pytest.fixture
def pairs():
    rng = np.random.default_rng(0)
    volumes = rng.standard_normal((4, 2, 3, 5)).astype(np.float16)
    return [
        StoredPair("one", volumes[0], volumes[1]),
        StoredPair("two", volumes[2], volumes[3]),
    ]


def test_it_is_over_names_types_shapes_and_voxels(pairs):
    text = b""
    for pair in pairs:
        text += f"dna/{pair.name}\n".encode()
        for what, volume in (("signal", pair.signal), ("target", pair.target)):
            text += f"{what} float16 (2, 3, 5)\n".encode() + volume.tobytes()
    assert hash_of_pairs(pairs) == hashlib.sha256(text).hexdigest()


def test_order_and_layout_in_memory_play_no_part(pairs, tmp_path):
    expected = hash_of_pairs(pairs)
    assert hash_of_pairs(pairs[::-1]) == expected
    pairs[0].signal = np.asfortranarray(pairs[0].signal)
    pairs[0].target = pairs[0].target.astype(">f2")
    np.save(tmp_path / "volume.npy", pairs[1].signal)
    pairs[1].signal = np.load(tmp_path / "volume.npy", mmap_mode="r")
    assert hash_of_pairs(pairs) == expected


@pytest.mark.parametrize(
    "change",
    [
        lambda pair: setattr(pair, "name", "other"),
        lambda pair: pair.target.__setitem__((1, 2, 4), 9.0),
        lambda pair: setattr(pair, "signal", pair.signal.astype(np.float32)),
        lambda pair: setattr(pair, "signal", pair.signal.reshape(3, 2, 5)),
        lambda pair: pair.__dict__.update(signal=pair.target, target=pair.signal),
    ],
    ids=["name", "voxel", "type", "shape", "swapped"],
)
def test_any_change_gives_another_hash(pairs, change):
    before = hash_of_pairs(pairs)
    change(pairs[1])
    assert hash_of_pairs(pairs) != before
