"""A task as an ONNX file. Needs the extra ``export``."""

from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import torch
from torch import Tensor

from continual_repmode.exporting.facts import INPUT, OUTPUT, as_text
from continual_repmode.exporting.program import TracedTask

OPSET = 18
"""Version of the ONNX operators; onnxruntime 1.14 and later run it."""

_AXES = ("batch", "channel", "z", "y", "x")


def write_onnx(traced: TracedTask, path: Path, facts: dict[str, Any]) -> None:
    """Write an ONNX file with input ``signal`` and output ``prediction``.

    ``facts``: become the file's ``metadata_props``.
    Raises onnx.checker.ValidationError if what was translated is no valid ONNX.
    """
    translated = torch.onnx.export(
        traced.program,
        dynamo=True,
        input_names=[INPUT],
        output_names=[OUTPUT],
        opset_version=OPSET,
        verbose=False,
    )
    assert translated is not None
    model = translated.model_proto
    _tidy(model)
    onnx.helper.set_model_props(model, as_text(facts))
    onnx.save(model, path)
    onnx.checker.check_model(path, full_check=True)


class OnnxFile:
    """An ONNX file in onnxruntime, on the CPU: maps a signal to a prediction."""

    def __init__(self, path: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        self._session = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, signal: Tensor) -> Tensor:
        """Map (B, C_in, Z, Y, X) to (B, C_out, Z, Y, X)."""
        (prediction,) = self._session.run([OUTPUT], {INPUT: signal.numpy()})
        return torch.from_numpy(prediction)


def _tidy(model: onnx.ModelProto) -> None:
    """Name the axes, and drop what only tells how PyTorch came to each operation."""
    for value in (*model.graph.input, *model.graph.output):
        for name, size in zip(_AXES, value.type.tensor_type.shape.dim, strict=True):
            if size.HasField("dim_param"):
                size.dim_param = name
    del model.graph.value_info[:]  # in terms of the old names
    for node in model.graph.node:
        del node.metadata_props[:]
        node.ClearField("doc_string")
    for value in (*model.graph.initializer, *model.graph.input, *model.graph.output):
        del value.metadata_props[:]
