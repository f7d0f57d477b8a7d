from . import analysis, metrics
from .assembly import assemble
from .data.variation import Variation
from .exporting.export import export_task
from .extending import ExtensionSettings, extend_model
from .inference.tiled import predict_into, predict_volume
from .manifests.check import check_manifest
from .manifests.manifest import ManifestCollection
from .metrics.continual import backward_transfer, forgetting, forward_transfer
from .metrics.regression import ImageMetrics, RegressionSums
from .models import (
    ModelCard,
    RepModeUNet,
    TaskNetwork,
    UNet3d,
    fingerprint,
    load_model,
    read_card,
    reparameterize,
    save_model,
)
from .models.merging import merge
from .prediction.arrays import predict_array
from .prediction.files import predict_file
from .prediction.options import PredictOptions
from .reporting import write_report
from .results import RunFolder
from .scenario import Scenario
from .synthetic import SyntheticCells
from .trained_model import TrainedModel
from .training.strategy import Adapter, Individual, Naive, RepMode
from .training.streams import build_benchmark
from .volumes.formats.writing import save_volume
from .volumes.opening import open_volume

__version__: str

__all__ = [
    "Adapter",
    "ExtensionSettings",
    "ImageMetrics",
    "Individual",
    "ManifestCollection",
    "ModelCard",
    "Naive",
    "PredictOptions",
    "RegressionSums",
    "RepMode",
    "RepModeUNet",
    "RunFolder",
    "Scenario",
    "SyntheticCells",
    "TaskNetwork",
    "TrainedModel",
    "UNet3d",
    "Variation",
    "analysis",
    "assemble",
    "backward_transfer",
    "build_benchmark",
    "check_manifest",
    "export_task",
    "extend_model",
    "fingerprint",
    "forgetting",
    "forward_transfer",
    "load_model",
    "merge",
    "metrics",
    "open_volume",
    "predict_array",
    "predict_file",
    "predict_into",
    "predict_volume",
    "read_card",
    "reparameterize",
    "save_model",
    "save_volume",
    "write_report",
]
