import zipfile

import numpy as np
import pytest
import torch

from continual_repmode.errors import UserError
from continual_repmode.exporting.export import check_request, export_task
from continual_repmode.exporting.publication import Publication
from continual_repmode.models.deploy import OneTask
from continual_repmode.models.methods.multinet import MultiNet
from continual_repmode.models.model_card import ModelCard
from continual_repmode.models.model_file import save_model
from continual_repmode.trained_model import TrainedModel
from continual_repmode.volumes.normalization import zscore

for name in ("onnxscript", "onnxruntime", "bioimageio.spec"):
    pytest.importorskip(name)
onnx = pytest.importorskip("onnx")
core = pytest.importorskip("bioimageio.core")

BY_ADA = Publication(license="CC-BY-4.0", authors=("Ada Lovelace", "Alan Turing"))

# The libraries of bioimage.io warn of what they do themselves.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def package(make_model, tmp_path_factory):
    """Return a network and the package of one of its tasks."""
    source = make_model(depth=2)
    path = tmp_path_factory.mktemp("package") / "task.zip"
    export_task(source, "lysosome", "bioimageio", path, BY_ADA)
    return source.net, path


def test_the_package_passes_the_test_of_bioimageio_and_predicts(package):
    net, path = package
    summary = core.test_model(path)
    assert summary.status == "passed"
    assert any("Reproduce test outputs" in detail.name for detail in summary.details)
    light = np.random.default_rng(0).normal(900, 70, (12, 20, 16)).astype(np.float32)
    model = core.load_model_description(path)
    sample = core.predict(model=model, inputs={"signal": light[None, None]})
    (got,) = (member.data.to_numpy() for member in sample.members.values())
    with torch.no_grad():
        signal = torch.from_numpy(zscore(light)[0])[None, None]
        expected = OneTask(net, "lysosome")(signal).numpy()
    np.testing.assert_allclose(got, expected, atol=1e-4 * np.abs(expected).max())


def test_the_description_tells_axes_voxels_people_and_paper(package):
    model = core.load_model_description(package[1])
    (signal,), (prediction,) = model.inputs, model.outputs
    assert [axis.id for axis in signal.axes] == ["batch", "channel", "z", "y", "x"]
    for tensor in (signal, prediction):
        assert [axis.scale for axis in tensor.axes[2:]] == pytest.approx(
            [0.29, 0.25, 0.2]
        )
        assert {axis.unit for axis in tensor.axes[2:]} == {"micrometer"}
    assert [(axis.size.min, axis.size.step) for axis in signal.axes[2:]] == [(4, 4)] * 3
    assert prediction.axes[1].channel_names == ["lysosome"]
    assert [author.name for author in model.authors] == ["Ada Lovelace", "Alan Turing"]
    assert str(model.license) == "CC-BY-4.0"
    assert "CVPR 2023" in model.cite[0].text
    assert model.config.continual_repmode["task"] == "lysosome"
    assert not prediction.postprocessing or [
        p.id for p in prediction.postprocessing
    ] == ["ensure_dtype"]


def test_the_package_holds_test_tensors_cover_and_text(package):
    with zipfile.ZipFile(package[1]) as archive:
        assert set(archive.namelist()) == {
            "rdf.yaml",
            "weights.onnx",
            "test_input.npy",
            "test_output.npy",
            "cover.png",
            "README.md",
        }
        assert archive.getinfo("cover.png").file_size < 500_000
        readme = archive.read("README.md").decode()
    assert "Mean on 3 test images when the model was trained: r2 0.5." in readme
    assert "0.29 x 0.25 x 0.2 um" in readme
    assert "crop the image to what was recorded first" in readme


def test_a_network_for_one_volume_at_a_time_says_so(make_model, tmp_path):
    path, source = tmp_path / "task.zip", make_model(network=MultiNet, depth=1)
    export_task(source, "dna", "bioimageio", path, BY_ADA)
    model = core.load_model_description(path)
    assert model.inputs[0].axes[0].size == 1
    graph = onnx.load_from_string(zipfile.ZipFile(path).read("weights.onnx")).graph
    sizes = graph.input[0].type.tensor_type.shape.dim
    assert [d.dim_param or d.dim_value for d in sizes] == [1, 1, "z", "y", "x"]
    kernels = [i for i in graph.initializer if len(i.dims) == 5]
    assert len(kernels) == 9  # of one network: 3 down, 2 at the bottom, 3 up, output


def test_a_model_without_voxel_size_is_refused(make_net, tmp_path):
    path = tmp_path / "model.safetensors"
    save_model(make_net(depth=1), path, ModelCard())
    with pytest.raises(UserError, match="give --voxel-size Z Y X"):
        export_task(
            TrainedModel.load(path), "dna", "bioimageio", tmp_path / "a.zip", BY_ADA
        )
    assert not (tmp_path / "a.zip").exists()


def test_several_channels_are_refused(make_model, tmp_path):
    source = make_model(depth=1, in_channels=2)
    with pytest.raises(UserError, match="maps 2 channels to 1"):
        export_task(source, "dna", "bioimageio", tmp_path / "a.zip", BY_ADA)


@pytest.mark.parametrize(
    ("publication", "message"),
    [
        (None, "needs --license and --author"),
        (Publication(license="free", authors=("A",)), "'free' is not an SPDX license"),
        (Publication(license="MIT", authors=("A/B",)), "--author 'A/B'"),
        (Publication(license="MIT", authors=(" ",)), "--author ' '"),
    ],
)
def test_what_the_specification_would_refuse_is_told_first(publication, message):
    with pytest.raises(UserError, match=message):
        check_request("bioimageio", publication)


def test_a_package_that_fails_the_test_is_not_kept(make_model, tmp_path, monkeypatch):
    from continual_repmode.exporting import bioimageio_package

    made = bioimageio_package._test_tensors

    def wrong(net, task):
        signal, prediction = made(net, task)
        return signal, prediction + np.float32(prediction.std())

    monkeypatch.setattr(bioimageio_package, "_test_tensors", wrong)
    with pytest.raises(UserError, match="does not pass the test of bioimageio"):
        export_task(
            make_model(depth=1), "dna", "bioimageio", tmp_path / "a.zip", BY_ADA
        )
    assert not (tmp_path / "a.zip").exists()
