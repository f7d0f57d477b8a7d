"""Predict many subcellular structures from one 3D transmitted-light image.

A task-incremental continual-learning toolkit around RepMode (Zhou et al., CVPR 2023).
The names below are loaded when they are first used; importing the package itself loads
neither PyTorch nor Avalanche nor Hydra.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from continual_repmode.manifests.check import check_manifest
    from continual_repmode.manifests.manifest import ManifestCollection
    from continual_repmode.models import (
        RepModeUNet,
        load_model,
        reparameterize,
        save_model,
    )
    from continual_repmode.prediction.arrays import predict_array
    from continual_repmode.prediction.files import predict_file
    from continual_repmode.synthetic import SyntheticCells
    from continual_repmode.trained_model import TrainedModel
    from continual_repmode.training.strategy import Adapter, Naive, RepMode
    from continual_repmode.training.streams import build_benchmark
    from continual_repmode.volumes.formats.writing import save_volume
    from continual_repmode.volumes.opening import open_volume

__version__ = "0.1.0"

_HOMES = {
    "Adapter": "continual_repmode.training.strategy",
    "ManifestCollection": "continual_repmode.manifests.manifest",
    "Naive": "continual_repmode.training.strategy",
    "RepMode": "continual_repmode.training.strategy",
    "RepModeUNet": "continual_repmode.models",
    "SyntheticCells": "continual_repmode.synthetic",
    "TrainedModel": "continual_repmode.trained_model",
    "build_benchmark": "continual_repmode.training.streams",
    "check_manifest": "continual_repmode.manifests.check",
    "load_model": "continual_repmode.models",
    "open_volume": "continual_repmode.volumes.opening",
    "predict_array": "continual_repmode.prediction.arrays",
    "predict_file": "continual_repmode.prediction.files",
    "reparameterize": "continual_repmode.models",
    "save_model": "continual_repmode.models",
    "save_volume": "continual_repmode.volumes.formats.writing",
}

__all__ = [  # noqa: RUF022 - in the order of use
    "RepModeUNet",
    "reparameterize",
    "save_model",
    "load_model",
    "TrainedModel",
    "predict_file",
    "predict_array",
    "open_volume",
    "save_volume",
    "check_manifest",
    "SyntheticCells",
    "ManifestCollection",
    "build_benchmark",
    "RepMode",
    "Adapter",
    "Naive",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
