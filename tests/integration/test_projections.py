"""Stacks of light, targets of one plane: from the manifest to the written plane."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from continual_repmode.compose import compose_runs
from continual_repmode.errors import UserError
from continual_repmode.exporting.export import export_task
from continual_repmode.extending import ExtensionSettings, extend_model
from continual_repmode.manifests.manifest import ManifestCollection
from continual_repmode.models import ModelCard, RepModeUNet, read_card, save_model
from continual_repmode.prediction.arrays import predict_array
from continual_repmode.prediction.files import predict_file
from continual_repmode.prediction.metrics_table import read_metrics
from continual_repmode.run_plan import with_plan
from continual_repmode.scenario import Scenario
from continual_repmode.trained_model import TrainedModel
from continual_repmode.training import plan as planning
from continual_repmode.training.context import context_of
from continual_repmode.training.strategy import RepMode
from continual_repmode.training.streams import build_benchmark
from continual_repmode.volumes.formats.writing import save_volume
from continual_repmode.volumes.opening import open_volume

DATA = Path(__file__).parents[3] / "shared" / "data" / "isl-neurons"
UM = (0.5, 0.3, 0.3)
SCENARIO = Scenario(name="one", experiences=[["max1"]])
SPLITS = ("train", "train", "valid", "test")
HEADER = "task,path_signal,path_target,target_kind,split\n"


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Path:
    """Return a folder with stacks, projections of a contrast of them, and a model."""
    folder = tmp_path_factory.mktemp("lab")
    rows = {"max": [], "focus": []}
    for index in range(len(SPLITS)):
        rng = np.random.default_rng(index)
        light = gaussian_filter(rng.normal(size=(8, 24, 24)), 1)
        contrast = light - gaussian_filter(light, 2)
        contrast[3] *= 2
        for name, values in (
            ("light", light), ("max", contrast.max(0)), ("focus", contrast[3])
        ):  # fmt: skip
            path = folder / f"{name}{index}.ome.tif"
            counts = (1000 + 1000 * values).astype(np.uint16)
            save_volume(path, counts, axes="ZYX"[-values.ndim :], voxel_size_um=UM)
        for kind, listed in rows.items():
            listed.append(f"{kind}1,light{index}.ome.tif,{kind}{index}.ome.tif,{kind}")
    for kind, listed in rows.items():
        lines = (f"{row},{s}\n" for row, s in zip(listed, SPLITS, strict=True))
        (folder / f"{kind}.csv").write_text(HEADER + "".join(lines))
    torch.manual_seed(0)
    net = RepModeUNet(("dna",), width=2, depth=1)
    card = ModelCard(
        voxel_size_um=UM, resize="fast", order="zscore_first", window=(8, 16, 16)
    )
    save_model(net, folder / "base.safetensors", card)
    return folder


@pytest.mark.parametrize("kind", ["max", "focus"])
def test_a_projected_task_is_learned_tested_and_written_as_one_plane(lab, kind):
    settings = ExtensionSettings(
        epochs=3, image_curve=(), device="cpu", cache_dir=lab / "cache"
    )
    extension = extend_model(
        lab / "base.safetensors", lab / f"{kind}.csv", f"{kind}1",
        folder=lab / kind, settings=settings,
    )  # fmt: skip

    card = read_card(extension.model)
    assert card.task(f"{kind}1").target_kind == kind
    model = TrainedModel.load(extension.model)
    whole = replace(model.card.task(f"{kind}1"), target_kind=None)
    as_stack = TrainedModel(
        model.net, replace(model.card, tasks={f"{kind}1": whole}), None
    )
    light = open_volume(lab / "light3.ome.tif").read_channel(0)
    overlap = {"overlap": 0.5, "device": "cpu"}
    stack = predict_array(as_stack, light, UM, f"{kind}1", **overlap)[f"{kind}1"]
    plane = stack.max(0) if kind == "max" else stack[stack.var((1, 2)).argmax()]
    found = predict_array(model, light, UM, f"{kind}1", **overlap)[f"{kind}1"]
    np.testing.assert_allclose(found, plane[None], atol=1e-6)
    predict_file(
        extension.model, lab / "light3.ome.tif", lab / f"{kind}.ome.zarr",
        tasks=f"{kind}1", target=lab / f"{kind}3.ome.tif", uncertainty=False, **overlap,
    )  # fmt: skip
    written = open_volume(lab / f"{kind}.ome.zarr")
    assert written.shape[-3:] == (1, 24, 24)
    np.testing.assert_allclose(written.read_channel(0), plane[None], atol=1e-5)
    target = open_volume(lab / f"{kind}3.ome.tif").read_channel(0)[0].astype(float)
    target = (target - target.mean()) / target.std()
    expected = np.mean((plane - target) ** 2)
    measured = read_metrics(lab)[kind, f"{kind}1"]
    assert float(measured["mse"]) == pytest.approx(expected, rel=1e-4)
    (row,) = extension.record.rows  # half precision on disk
    assert row["mse"] == pytest.approx(expected, rel=0.02)
    with pytest.raises(UserError, match="are projected"):
        export_task(model, f"{kind}1", "torch", lab / "one.pt2")
    with pytest.raises(
        UserError, match=r"dna is predicted as a stack, .* as max|focus"
    ):
        predict_array(model, light, UM, "all")


def test_a_plan_keeps_all_planes_in_a_run_and_in_an_extension(lab, monkeypatch):
    """Networks of depth 3 need a multiple of 8 planes, of depth 4 one of 16."""
    monkeypatch.setattr(planning, "measure_step", lambda *_: (1e-9, 0))
    monkeypatch.setattr(planning, "_SHARES", ((0.125, 0.125),))  # of 32 x 128 x 128
    stream = lab / "one.yaml"
    stream.write_text("experiences: [[max1]]\n")
    words = ["data=manifest", f"data.manifest={lab / 'max.csv'}", "plan=auto"]
    words += ["data.voxel_size_um=[0.5,0.3,0.3]", f"scenario={stream}"]
    words += ["device=cpu", "model.depth=3"]
    config, _ = with_plan(*compose_runs([words]), words)
    assert config.data.patch_size == [8, 16, 16]
    words[-1] = "model.depth=4"
    with pytest.raises(UserError, match=r"patch needs 16, .* data\.pad_small=true"):
        with_plan(*compose_runs([words]), words)
    words.append("data.pad_small=true")
    config, _ = with_plan(*compose_runs([words]), words)
    assert config.data.patch_size == [16, 16, 16]
    settings = ExtensionSettings(
        epochs=1, image_curve=(), device="cpu", cache_dir=lab / "cache", plan="auto"
    )
    made = extend_model(
        lab / "base.safetensors", lab / "focus.csv", "focus1",
        folder=lab / "planned", settings=settings,
    )  # fmt: skip
    written = json.loads((made.folder / "extension.json").read_text())
    assert written["patch_size"] == [8, 16, 16]


def test_the_loss_is_that_of_the_projection(lab):
    collection = ManifestCollection(
        lab / "max.csv", voxel_size_um=UM, resize="fast", cache_dir=lab / "cache"
    )
    assert collection.projections == {"max1": "max"}
    pair = collection.pairs("max1", "train")[0].load()
    assert pair.target.shape == pair.signal.shape
    assert (pair.target == pair.target[:1]).all()
    scenario = {"patch_size": (8, 16, 16), "flip_axes": "ZYX"}
    benchmark = build_benchmark(SCENARIO, data=collection, **scenario)
    torch.manual_seed(0)
    net = RepModeUNet(("max1",), width=2, depth=1)
    strategy = RepMode(model=net, device="cpu", train_epochs=1, train_mb_size=2)
    experience = benchmark.train_stream[0]
    assert context_of(experience).projections == {0: "max"}
    strategy.model.adaptation(experience)
    signal, target, *_ = experience.dataset[0]
    output, _ = strategy.model.predict(signal[None], torch.tensor([0]))
    plain = net(signal[None], torch.tensor([0]))
    assert torch.equal(output, plain.amax(2, keepdim=True).expand_as(plain))
    loss = strategy.batch_loss(signal[None], target[None], torch.tensor([0]))
    expected = (plain.amax(2) - target[None, :, 0]).square().mean()
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    with pytest.raises(UserError, match="a patch must hold all planes of an image, an"):
        build_benchmark(SCENARIO, data=collection, patch_size=(4, 16, 16))


def test_targets_of_another_kind_are_refused_in_a_line(lab):
    one = "light0.ome.tif,max0.ome.tif"
    for rows, message in (
        (f"t,{one},,train\n", "paired with a stack by the column 'target_kind': max"),
        (f"t,{one},mean,train\n", "use one of stack, max, focus"),
        ("t,light0.ome.tif,light1.ome.tif,max,train\n", "holds 8 planes, not one"),
        (
            f"t,{one},max,train\nt,light1.ome.tif,max1.ome.tif,focus,test\n",
            "focus, but max in row 2; targets of one task",
        ),
    ):
        (lab / "wrong.csv").write_text(HEADER + rows)
        with pytest.raises(UserError, match=message):
            ManifestCollection(lab / "wrong.csv", voxel_size_um=UM)


def test_real_phase_contrast_with_maximum_projections(tmp_path):
    """Six crops of one field of neurons; their voxel size is not in the files."""
    if not DATA.is_dir():
        pytest.skip("no real images here")
    crops = [(y, y + 64, x, x + 96) for y in (0, 64, 128) for x in (0, 96)]
    splits = ("train", "train", "train", "train", "valid", "test")
    lines = (
        f"map2,{DATA}/phase_contrast_z13.tif,{DATA}/map2_confocal_maxproj.tif,max,"
        f"{split},{','.join(map(str, crop))},0.5,0.3,0.3\n"
        for split, crop in zip(splits, crops, strict=True)
    )
    sizes = "y0,y1,x0,x1,voxel_size_z_um,voxel_size_y_um,voxel_size_x_um"
    table = tmp_path / "isl.csv"
    table.write_text(f"{HEADER.strip()},{sizes}\n" + "".join(lines))
    torch.manual_seed(0)
    net = RepModeUNet(("dna",), width=4, depth=1)
    card = ModelCard(voxel_size_um=UM, resize="fast", window=(14, 32, 32))
    save_model(net, tmp_path / "base.safetensors", card)
    extension = extend_model(
        tmp_path / "base.safetensors", table, "map2", folder=tmp_path / "out",
        settings=ExtensionSettings(
            epochs=15, image_curve=(), device="cpu", pad_small=True,
            cache_dir=tmp_path / "cache",
        ),
    )  # fmt: skip
    (row,) = extension.record.rows
    assert row["pearson_r"] > 0.2, row
