from collections import Counter

import numpy as np
import pytest
import torch

from continual_repmode.exporting.export import export_task
from continual_repmode.models.deploy import OneTask, deploy
from continual_repmode.models.methods.multinet import MultiNet

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")


def session(path):
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def shape_of(value):
    return [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]


@pytest.mark.parametrize(("depth", "axes"), [(1, "ZYX"), (2, "ZYX"), (2, "YX")])
def test_onnxruntime_predicts_what_the_network_does(make_model, tmp_path, depth, axes):
    source = make_model(depth=depth, axes=axes, width=3)
    done = export_task(source, "lysosome", "onnx", tmp_path / "task.onnx")
    assert done.deviation.relative < 1e-5
    run = session(done.path).run
    rng = np.random.default_rng(0)
    for shape in [
        (1, 1, 9, 10, 11),
        (3, 1, 4, 8, 12),
        (1, 1, 1, 1, 1),
        (2, 1, 2, 5, 3),
    ]:
        signal = rng.standard_normal(shape, np.float32)
        (got,) = run(["prediction"], {"signal": signal})
        with torch.no_grad():
            expected = OneTask(source.net, "lysosome")(torch.from_numpy(signal)).numpy()
        np.testing.assert_allclose(got, expected, atol=1e-5 * np.abs(expected).max())


@pytest.fixture(scope="module")
def model(make_model, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "task.onnx"
    return onnx.load(export_task(make_model(depth=2), "dna", "onnx", path).path)


def test_the_graph_is_one_plain_unet(model, make_net):
    onnx.checker.check_model(model, full_check=True)
    operations = Counter(node.op_type for node in model.graph.node)
    assert operations["Conv"] == 13
    assert operations["ConvTranspose"] == 2
    assert not set(operations) & {"BatchNormalization", "Softmax", "Gemm", "MatMul"}
    plain = deploy(make_net(depth=2), "dna")
    kernels = sum(np.prod(i.dims) for i in model.graph.initializer if len(i.dims) == 5)
    expected = sum(p.numel() for p in plain.parameters() if p.ndim == 5)
    assert kernels == expected


def test_names_sizes_and_facts_are_in_the_file(model):
    assert [value.name for value in model.graph.input] == ["signal"]
    assert [value.name for value in model.graph.output] == ["prediction"]
    for value in (*model.graph.input, *model.graph.output):
        assert shape_of(value) == ["batch", 1, "z", "y", "x"]
    facts = {entry.key: entry.value for entry in model.metadata_props}
    assert facts["task"] == "dna"
    assert facts["voxel_size_um"] == "[0.29, 0.25, 0.2]"
    assert float(facts["target_mean"]) == 410.5
    assert len(facts["model_sha256"]) == 64
    assert model.opset_import[0].version == 18


def test_the_file_tells_nothing_of_the_machine_it_was_made_on(model):
    assert b"stack_trace" not in model.SerializeToString()
    assert b".py" not in model.SerializeToString()


def test_another_network_takes_one_volume_at_a_time(make_model, tmp_path):
    source = make_model(network=MultiNet, depth=1)
    done = export_task(source, "dna", "onnx", tmp_path / "task.onnx")
    model = onnx.load(done.path)
    assert shape_of(model.graph.input[0]) == [1, 1, "z", "y", "x"]
    kernels = [i for i in model.graph.initializer if len(i.dims) == 5]
    assert len(kernels) == 9  # of one network: 3 down, 2 at the bottom, 3 up, output
