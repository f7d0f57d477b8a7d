"""Several processes do what one would do."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from continual_repmode import distributed
from continual_repmode.data.dataset import PatchDataset
from continual_repmode.data.variation import Variation
from continual_repmode.training.sampling import BatchShare

SCRIPT = Path(__file__).with_name("shared_step.py")


def together(number, *words):
    """Run a script in so many processes, as torchrun does; all must succeed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    world = {"WORLD_SIZE": str(number), "MASTER_ADDR": "127.0.0.1"}
    started = [
        subprocess.Popen(
            [sys.executable, *map(str, words)],
            env={**os.environ, **world, "MASTER_PORT": str(port), "RANK": str(rank)},
        )
        for rank in range(number)
    ]
    assert [process.wait(timeout=300) for process in started] == [0] * number


def largest_difference(one, other):
    """Compare tensors in nested dictionaries, None with None."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        return max((largest_difference(one[k], other[k]) for k in one), default=0)
    if one is None or other is None:
        assert one is other, "a part has a gradient in one case only"
        return 0
    return float((one.double() - other.double()).abs().max()) if one.numel() else 0


def test_processes_that_share_a_batch_get_losses_and_gradients_of_one(tmp_path):
    for number in (1, 2, 3):
        together(number, SCRIPT, tmp_path / f"{number}.pt")
    alone = torch.load(tmp_path / "1.pt")
    for number in (2, 3):
        shared = torch.load(tmp_path / f"{number}.pt")
        assert shared.keys() == alone.keys()
        for name in alone:
            # running statistics are float64 sums in another order
            assert largest_difference(alone[name], shared[name]) < 1e-9, (number, name)
    parts = alone["multihead_dec {}"]["gradients"]
    unused = {n for n, gradient in parts.items() if gradient is None}
    assert unused  # decoders of tasks that no process had: Adam must not move them
    assert all("nucleolus" in n or "actin" in n for n in unused)


@pytest.fixture
def as_process(monkeypatch):
    """Let this process pass for one of several."""

    def pass_for(rank, world):
        monkeypatch.setattr(distributed, "rank", lambda: rank)
        monkeypatch.setattr(distributed, "world", lambda: world)

    return pass_for


@pytest.mark.parametrize("sampling", ["uniform", "foreground"])
def test_processes_cut_the_patches_that_one_would_cut(
    sampling, as_process, tiny_collection
):
    pairs = tiny_collection.pairs("dna", "train")
    vary = Variation(rotation="quarter", scaling=0.1, intensity=0.1, noise=0.1)
    patches = PatchDataset(pairs, (8, 8, 8), sampling=sampling, variation=vary)
    torch.manual_seed(0)
    alone = [patches[i] for i in (2, 0, 3)]
    end = torch.rand(1)
    for rank in (0, 1):
        as_process(rank, 2)
        torch.manual_seed(0)
        shared = BatchShare(patches, (8, 8, 8)).__getitems__([2, 0, 3])
        assert torch.rand(1) == end  # the next batch is drawn alike, too
        for position, sample in enumerate(shared):
            if position % 2 != rank:
                assert sample is None
            else:
                for one, other in zip(sample, alone[position], strict=True):
                    assert torch.equal(one, other)
