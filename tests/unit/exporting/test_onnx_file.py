from collections import Counter

import numpy as np
import pytest
import torch

from continual_repmode.exporting.export import export_task
from continual_repmode.models.deploy import OneTask, deploy

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")


def session(path):
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def shape_of(value):
    return [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]


@pytest.fixture(scope="module")
def source(make_model):
    return make_model(depth=2)


@pytest.fixture(scope="module")
def done(source, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "task.onnx"
    return export_task(source, "lysosome", "onnx", path)


@pytest.fixture(scope="module")
def model(done):
    return onnx.load(done.path)


@pytest.mark.parametrize("axes", ["ZYX", "YX"])
def test_onnxruntime_predicts_what_the_network_does(
    make_model, source, done, tmp_path, axes
):
    if axes == "YX":
        source = make_model(depth=1, axes="YX", width=3)
        done = export_task(source, "lysosome", "onnx", tmp_path / "task.onnx")
    assert done.deviation.relative < 1e-5
    run = session(done.path).run
    rng = np.random.default_rng(0)
    for batch, *sides in [(1, 9, 10, 11), (3, 4, 8, 12), (1, 1, 1, 1), (2, 2, 5, 3)]:
        signal = rng.standard_normal((batch, 1, *sides), np.float32)
        (got,) = run(["prediction"], {"signal": signal})
        with torch.no_grad():
            expected = OneTask(source.net, "lysosome")(torch.from_numpy(signal)).numpy()
        np.testing.assert_allclose(got, expected, atol=1e-5 * np.abs(expected).max())


def test_the_graph_is_one_plain_unet(model, source):
    onnx.checker.check_model(model, full_check=True)
    operations = Counter(node.op_type for node in model.graph.node)
    assert operations["Conv"] == 13
    assert operations["ConvTranspose"] == 2
    assert not set(operations) & {"BatchNormalization", "Softmax", "Gemm", "MatMul"}
    plain = deploy(source.net, "lysosome")
    kernels = sum(np.prod(i.dims) for i in model.graph.initializer if len(i.dims) == 5)
    expected = sum(p.numel() for p in plain.parameters() if p.ndim == 5)
    assert kernels == expected


def test_names_sizes_and_facts_are_in_the_file(model):
    assert [value.name for value in model.graph.input] == ["signal"]
    assert [value.name for value in model.graph.output] == ["prediction"]
    for value in (*model.graph.input, *model.graph.output):
        assert shape_of(value) == ["batch", 1, "z", "y", "x"]
    facts = {entry.key: entry.value for entry in model.metadata_props}
    assert facts["task"] == "lysosome"
    assert facts["voxel_size_um"] == "[0.29, 0.25, 0.2]"
    assert "target_mean" not in facts  # the card has none of this task
    assert len(facts["model_sha256"]) == 64
    assert model.opset_import[0].version == 18


def test_the_file_tells_nothing_of_the_machine_it_was_made_on(model):
    assert b"stack_trace" not in model.SerializeToString()
    assert b".py" not in model.SerializeToString()
