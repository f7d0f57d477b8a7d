"""A task as a PyTorch program that runs without this package."""

import io
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from continual_repmode.exporting.program import TracedTask
from continual_repmode.files import failure_told

FACTS_FILE = "metadata.json"


def write_torch(traced: TracedTask, path: Path, facts: dict[str, Any]) -> None:
    """Write a program that ``torch.export.load`` reads.

    ``path``: ending in ``.pt2``.
    ``facts``: written into it as the extra file ``metadata.json``.
    """
    text = json.dumps(facts, indent=2)
    buffer = io.BytesIO()  # PyTorch's own writer ends the process on a full disk
    torch.export.save(traced.program, buffer, extra_files={FACTS_FILE: text})
    with failure_told(path, buffer.tell()):
        path.write_bytes(buffer.getbuffer())


class TorchFile:
    """A program read back from its file: maps a signal to a prediction."""

    def __init__(self, path: Path) -> None:
        self._module: nn.Module = torch.export.load(path).module()

    def __call__(self, signal: Tensor) -> Tensor:
        """Map (B, C_in, Z, Y, X) to (B, C_out, Z, Y, X)."""
        prediction: Tensor = self._module(signal)
        return prediction
