"""``continual-repmode predict`` on files: all kinds, interrupted, killed, repeated."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from scipy.spatial.distance import cosine
from skimage.filters import threshold_otsu
from skimage.metrics import structural_similarity

from continual_repmode.__main__ import main
from continual_repmode.data.signals import look_of, signal_statistics
from continual_repmode.models import RepModeUNet, save_model
from continual_repmode.models.model_card import ModelCard, TaskCard
from continual_repmode.prediction.arrays import predict_array
from continual_repmode.prediction.work_folder import FOLDER
from continual_repmode.trained_model import TrainedModel
from continual_repmode.volumes.formats.writing import save_volume
from continual_repmode.volumes.normalization import zscore
from continual_repmode.volumes.opening import open_volume
from continual_repmode.volumes.volume import volume_shape

DATA = Path(__file__).parents[3] / "shared" / "data"
UM = (0.3, 0.12, 0.12)
CARD = ModelCard(
    voxel_size_um=(0.3, 0.3, 0.3),
    resize="paper",
    order="zscore_first",
    window=(8, 16, 16),
    tasks={"dna": TaskCard(target_mean=400.0, target_std=25.0)},
)
TASKS = ("dna", "nucleolus")
MODEL = "model.safetensors"

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def net() -> RepModeUNet:
    """Return a network that predicts values with a deviation of about 1."""
    torch.manual_seed(0)
    made = RepModeUNet(TASKS, width=2, depth=1).eval()
    with torch.no_grad():
        spread = made(torch.randn(1, 1, 8, 16, 16), 0).std()
        for kernel in made.unet.output.conv.experts.parameters():
            kernel /= spread
    return made


@pytest.fixture
def folder(tmp_path: Path, net: RepModeUNet) -> Path:
    """Return a folder with a model and two images."""
    save_model(net, tmp_path / MODEL, CARD)
    for index, name in enumerate("ab"):
        save_light(tmp_path / "in" / f"{name}.ome.tif", seed=index)
    return tmp_path


def save_light(path: Path, seed: int, shape=(9, 40, 50), um=UM) -> np.ndarray:
    rng = np.random.default_rng(seed)
    light = 1000 + 500 * gaussian_filter(rng.normal(size=shape), 1)
    channels = np.stack([light, light[:, ::-1]]).astype(np.uint16)
    save_volume(
        path, channels, axes="CZYX", voxel_size_um=um, channel_names=["Bright", "DAPI"]
    )
    return channels[0]


def read(path: Path) -> np.ndarray:
    volume = open_volume(path)
    return np.stack([volume.read_channel(c) for c in range(len(volume.channel_names))])


@pytest.fixture
def predict(folder: Path, capsys, monkeypatch) -> Command:
    """Call the command within this process, which has everything loaded."""

    def call(*words: str) -> "subprocess.CompletedProcess[str]":
        monkeypatch.chdir(folder)
        status = main(["predict", MODEL, *words, "--out", "out"])
        return subprocess.CompletedProcess(words, status, *capsys.readouterr())

    return call


def errors(done: "subprocess.CompletedProcess[str]") -> list[str]:
    return [line for line in done.stderr.splitlines() if line.startswith("error: ")]


def test_a_folder_is_predicted_image_by_image(predict, folder, net):
    done = predict("in")

    assert done.returncode == 0, done.stderr
    assert "9 x 40 x 50 voxels of 0.3 0.12 0.12 um" in done.stdout
    assert "9 x 16 x 20 of 0.3 0.3 0.3 um" in done.stdout
    for name in "ab":
        light = open_volume(folder / "in" / f"{name}.ome.tif").read_channel("Bright")
        expected = predict_array(TrainedModel(net, CARD), light, UM)
        written = open_volume(folder / "out" / f"{name}.ome.zarr")
        assert written.channel_names == TASKS
        assert written.voxel_size_um == pytest.approx(UM)
        for task in TASKS:
            np.testing.assert_allclose(
                written.read_channel(task), expected[task], atol=1e-4
            )
    assert not (folder / "out" / FOLDER).exists()


def test_a_second_call_leaves_everything_as_it_is(predict, folder):
    predict("in", "--tasks", "dna")
    before = (folder / "out" / "a.ome.zarr" / "zarr.json").stat().st_mtime_ns

    done = predict("in", "--tasks", "dna", "--memory", "3GB")

    assert done.returncode == 0
    assert done.stdout.count("up to date, skipped") == 2
    assert (folder / "out" / "a.ome.zarr" / "zarr.json").stat().st_mtime_ns == before


def test_another_recipe_is_refused_before_any_work(predict, folder):
    predict("in/a.ome.tif", "--tasks", "dna")
    before = read(folder / "out" / "a.ome.zarr")

    done = predict("in", "--tasks", "nucleolus")

    assert done.returncode == 2
    (line,) = errors(done)
    assert (
        "a.ome.zarr: exists with different settings (tasks); --overwrite (in Py" in line
    )
    assert [path.name for path in (folder / "out").iterdir()] == ["a.ome.zarr"]
    np.testing.assert_array_equal(read(folder / "out" / "a.ome.zarr"), before)
    done = predict("in", "--tasks", "nucleolus", "--overwrite")
    assert done.returncode == 0, done.stderr
    assert open_volume(folder / "out" / "a.ome.zarr").channel_names == ("nucleolus",)


def test_bad_images_are_told_and_the_others_predicted(predict, folder):
    (folder / "in" / "damaged.tif").write_bytes(b"II*\0 no more")
    np.save(folder / "in" / "sizeless.npy", np.random.rand(3, 4, 5))  # noqa: NPY002
    flat = np.full((2, 4, 20, 20), 7, np.uint8)
    save_volume(
        folder / "in" / "flat.ome.tif", flat, axes="CZYX", voxel_size_um=UM,
        channel_names=["Bright", "x"],
    )  # fmt: skip

    done = predict("in", "--tasks", "dna", "--format", "tiff")

    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    told = [line for line in done.stderr.splitlines() if line.startswith("failed: ")]
    for name, problem in (
        ("damaged.tif", ""),
        ("sizeless.npy", "--voxel-size"),
        ("flat.ome.tif", "constant"),
    ):
        assert sum(name in line and problem in line for line in told) == 2, name
    assert "3 failed, 2 are done" in done.stderr
    written = sorted(path.name for path in (folder / "out").glob("*.tif"))
    assert written == ["a.ome.tif", "b.ome.tif"]
    assert not (folder / "out" / FOLDER).exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["in", "--tasks", "golgi"], "knows dna, nucleolus"),
        (["nothing.tif"], "nothing.tif: no such file"),
        (["in", "--choose", "scene"], "--choose scene: use WHAT=WHICH"),
        (["in", "--choose", "foo=1"], "--choose foo=1: use scene, time"),
        (["in", "--memory", "much"], "memory=much"),
        (["in", "--memory", "5MB"], "allow"),
        (
            ["in", "--intensity", "target"],
            "does not know the intensities of 'nucleolus'",
        ),
        (["in", "--model-voxel-size", "1", "1", "1"], "leave the option out"),
        (["in", "--target", "DAPI"], "name one with --tasks"),
        (["in", "--device", "tpu"], "use auto, cpu, cuda or mps"),
        (["in", "--window", "0", "1", "1"], "window"),
    ],
)
def test_mistakes_of_the_call_are_refused_in_one_line(predict, folder, words, told):
    done = predict(*words)

    assert done.returncode == 2
    (line,) = errors(done)
    assert told in line
    assert not (folder / "out").exists()


def test_a_file_where_outputs_go_is_a_mistake_of_the_call(predict, folder):
    (folder / "out").write_text("a file")

    done = predict("in", "--tasks", "dna")

    assert done.returncode == 2
    (line,) = errors(done)
    assert line == "error: --out out: out is not a directory; choose another"


def test_the_estimate_tells_and_stops(predict, folder):
    done = predict("in", "--estimate", "--memory", "3GB")

    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    pattern = r"in/a\.ome\.tif: .*, 4 windows of 8 x 16 x 16, .* of memory, about "
    assert re.search(pattern, lines[0]), lines[0]
    assert lines[2].startswith("2 images: about")
    assert not (folder / "out").exists()


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_what_was_interrupted_goes_on(folder, spawn, predict, ending, net):
    light = save_light(
        folder / "long.ome.tif", seed=3, shape=(24, 96, 96), um=(0.3,) * 3
    )
    process = spawn("predict", MODEL, "long.ome.tif", "--out", "out", cwd=folder)
    work = folder / "out" / FOLDER / "long.ome.zarr"
    deadline = time.monotonic() + 120
    while not (work / "prediction.npy").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(ending)
    _, err = process.communicate(timeout=60)
    assert process.returncode in (75, -ending), err
    assert (work / "signal.npy").exists()
    prepared = (work / "signal.npy").stat().st_mtime_ns
    if ending == signal.SIGINT:
        assert "interrupted; resume with: continual-repmode predict" in err
    assert not (folder / "out" / "long.ome.zarr").exists()

    refused = predict("long.ome.tif", "--tasks", "dna")
    assert refused.returncode == 2
    assert "was begun with other settings (tasks)" in refused.stderr
    assert (work / "signal.npy").stat().st_mtime_ns == prepared
    done = predict("long.ome.tif")

    assert done.returncode == 0, done.stderr
    expected = predict_array(TrainedModel(net, CARD), light, (0.3,) * 3)
    found = read(folder / "out" / "long.ome.zarr")
    np.testing.assert_allclose(found, list(expected.values()), atol=1e-4)
    assert [path.name for path in (folder / "out").iterdir()] == ["long.ome.zarr"]


def test_targets_give_a_table_and_a_file(predict, folder):
    done = predict("in", "--tasks", "dna", "--target", "DAPI")

    assert done.returncode == 0, done.stderr
    with (folder / "out" / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["image"], row["task"]) for row in rows] == [("a", "dna"), ("b", "dna")]
    mean = sum(float(row["mse"]) for row in rows) / 2
    assert f"{mean:.4f}" in done.stdout
    again = predict("in", "--tasks", "dna", "--target", "DAPI")
    assert again.returncode == 0
    assert f"{mean:.4f}" in again.stdout


def test_chosen_metrics_are_those_of_an_independent_computation(predict, folder, net):
    um, words = (0.3, 0.3, 0.3), ("--tasks", "dna", "--target", "DAPI")
    light = save_light(folder / "own" / "c.ome.tif", seed=0, um=um)
    assert predict("own", *words).returncode == 0
    refused = predict("own", *words, "--metrics", "ssim,objects")
    assert refused.returncode == 2
    assert "its metrics are not in the table beside it; --overwrite" in refused.stderr

    words += ("--metrics", "ssim,foreground_mse,lmc_cosine,objects")
    done = predict("own", *words, "--overwrite")

    assert done.returncode == 0, done.stderr
    with (folder / "out" / "metrics.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    predicted = predict_array(TrainedModel(net, CARD), light, um)["dna"]
    stained = light[:, ::-1].astype(np.float64)
    true = (stained - stained.mean()) / stained.std()
    low, high = np.percentile(true, (0.1, 99.9))
    expected = {
        "ssim": structural_similarity(
            predicted.astype(np.float64), true, data_range=high - low
        ),
        "foreground_mse": np.square(predicted - true)[
            true > threshold_otsu(true)
        ].mean(),
        "lmc_cosine": cosine(*(as_percentiles(v) for v in (predicted, true))),
    }
    found = {name: float(row[name]) for name in expected}
    assert found == pytest.approx(expected, rel=1e-3)
    assert {"count_error", "dice", "average_precision"} <= row.keys()
    head, line = done.stdout.splitlines()[-3:-1]
    assert all(label in head for label in ("SSIM", "Dice", "AP 0.5"))
    assert f"{found['ssim']:.4f}" in line
    for again in (predict("own", *words), predict("own", *words[:4])):
        assert again.returncode == 0
        assert "up to date, skipped" in again.stdout
        assert f"{found['ssim']:.4f}" in again.stdout
    unknown = predict("own", *words[:4], "--metrics", "dicee")
    assert unknown.returncode == 2
    assert unknown.stderr.startswith(
        "error: --metrics dicee: there is no such metric; "
    )


def as_percentiles(image: np.ndarray) -> np.ndarray:
    low, high = np.percentile(image, (2, 99.8))
    return ((image - low) / (high - low)).ravel()


def test_comparing_whole_volumes_is_refused_where_memory_lacks(command, folder):
    save_light(folder / "large.ome.tif", seed=0, shape=(40, 500, 400), um=(0.3,) * 3)
    words = ("predict", MODEL, "large.ome.tif", "--tasks", "dna", "--target", "DAPI")
    words += ("--out", "out", "--estimate", "--memory", "1.5GB")  # of its own process
    done = command(*words, cwd=folder)
    assert done.returncode == 0, done.stderr
    refused = command(*words, "--metrics", "ssim", cwd=folder)
    assert refused.returncode == 3
    assert "--metrics compares whole volumes and needs" in refused.stderr


def test_rows_of_other_structures_are_predicted_and_said_not_to_be_compared(
    predict, folder
):
    (folder / "pairs.csv").write_text(
        "task,path,channel_signal,channel_target\nlysosome,in/a.ome.tif,Bright,DAPI\n"
    )

    done = predict("pairs.csv", "--tasks", "dna")

    assert done.returncode == 0, done.stderr
    assert (
        "nothing compared: rows are of lysosome, none of a predicted structure"
        in done.stdout.splitlines()
    )
    assert [path.name for path in (folder / "out").iterdir()] == ["a.ome.zarr"]


def test_metrics_equal_those_of_the_run_that_made_the_model(folder, command):
    lines = ["task,split,path,channel_signal,channel_target"]
    for index, split in enumerate(["train", "train", "valid", "test", "test"]):
        save_light(folder / f"f{index}.ome.tif", seed=index, shape=(8, 40, 40))
        lines.append(f"dna,{split},f{index}.ome.tif,Bright,DAPI")
    (folder / "pairs.csv").write_text("\n".join(lines) + "\n")
    (folder / "one.yaml").write_text("experiences: [[dna]]\n")
    ran = command(
        *("run", "scenario=one.yaml", "data=manifest", "data.manifest=pairs.csv"),
        *("data.storage=float32", "data.patch_size=[8,16,16]", "data.cache_dir=cache"),
        *("model.width=2", "model.depth=1", "train.epochs=2", "device=cpu"),
        *("train.batch_size=2", "hydra.run.dir=run", "metrics=[field,lmc_mae]"),
        cwd=folder,
    )
    assert ran.returncode == 0, ran.stderr
    (model,) = (folder / "run").rglob("*.safetensors")

    words = ("--out", "out", "--metrics", "field,lmc_mae")
    done = command("predict", str(model), "pairs.csv", *words, cwd=folder)

    assert done.returncode == 0, done.stderr
    with (folder / "out" / "metrics.csv").open(newline="") as file:
        found = {row["image"]: row for row in csv.DictReader(file)}
    with (folder / "run" / "image_metrics.csv").open(newline="") as file:
        tested = {row["image"]: row for row in csv.DictReader(file)}
    assert found["f0"]["split"] == "train"
    for name in ("f3", "f4"):
        for metric in (
            *("mse", "mae", "r2", "pearson_r", "ssim", "nrmse", "spectral_r", "fsc_um"),
            *("psnr", "foreground_mse", "foreground_r", "lmc_mae"),
        ):
            expected = float(tested[f"dna_{name}"][metric])
            assert float(found[name][metric]) == pytest.approx(expected, abs=1e-5)
    results = json.loads((folder / "run" / "results.json").read_text())["metrics"]
    values = [float(row["ssim"]) for row in tested.values()]
    assert results["ssim"]["result_matrix"] == [[pytest.approx(sum(values) / 2)]]
    assert (folder / "run" / "figures" / "result_matrix_ssim.png").is_file()


MEASURED = """
import sys
from continual_repmode.__main__ import main
from continual_repmode.measuring import peak_resident_bytes
status = main(sys.argv[1:])
print(peak_resident_bytes(), file=sys.stderr)
sys.exit(status)
"""


def peak_bytes(folder: Path, *words: str, said: list[str] | None = None) -> int:
    """Return the peak resident memory of a call, with PyTorch and everything.

    ``ru_maxrss`` would tell that of this process, which starts the other, if higher.
    """
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, "predict", MODEL, *words, "--out", "out"],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    if said is not None:
        said.append(done.stdout)
    return int(done.stderr.split()[-1])


def save_large(path: Path, shape: tuple[int, int, int]) -> None:
    """Write a volume plane by plane, with a sidecar that tells its voxel size."""
    path.parent.mkdir(exist_ok=True)
    volume = np.lib.format.open_memmap(path, "w+", np.uint16, shape)
    rng = np.random.default_rng(0)
    smooth = gaussian_filter(rng.normal(size=shape[1:]), 1)
    plane = (1000 + 500 * smooth).astype(np.uint16)
    for z in range(shape[0]):
        volume[z] = np.roll(plane, 7 * z)
    volume.flush()
    path.with_suffix(".json").write_text(
        '{"axes": "ZYX", "voxel_size_um": [0.3, 0.1, 0.1]}'
    )


@pytest.mark.skipif(sys.platform != "linux", reason="measures memory as Linux does")
@pytest.mark.parametrize(
    "format_", ["zarr", pytest.param("tiff", marks=pytest.mark.slow)]
)
def test_a_bound_holds_for_the_whole_process(folder, format_):
    """To z-score the volume at once would take 540 MB."""
    save_large(folder / "large.npy", (48, 900, 900))
    small = peak_bytes(folder, "in/a.ome.tif", "--tasks", "dna", "--format", format_)
    bound = small + 220_000_000

    peak = peak_bytes(
        folder, "large.npy", "--tasks", "dna", "--memory", f"{bound}",
        "--format", format_, "--window", "8", "64", "64",
    )  # fmt: skip

    assert peak <= bound
    suffix = {"zarr": "zarr", "tiff": "tif"}[format_]
    written = open_volume(folder / "out" / f"large.ome.{suffix}")
    assert volume_shape(written) == (48, 900, 900)
    assert np.isfinite(written.read_channel(0, slice(20, 21))).all()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="measures memory as Linux does")
@pytest.mark.parametrize("format_", ["zarr", "tiff"])
def test_the_bound_holds_while_files_are_read_and_written_beside(folder, format_):
    """Where there is too little for both is known to ``test_ahead.py``."""
    words = ["--tasks", "dna", "--format", format_, "--window", "8", "64", "64"]
    for name in "cd":
        save_large(folder / "large" / f"{name}.npy", (48, 900, 900))
    small = peak_bytes(folder, "in/a.ome.tif", *words)
    bound, said = small + 280_000_000, []

    peak = peak_bytes(folder, "large", *words, "--memory", f"{bound}", said=said)

    assert re.search(r"2 images: .* of memory: files are read and", said[0]), said
    print(f"bound: {bound / 1e6:.0f} MB, peak: {peak / 1e6:.0f} MB")
    assert peak <= bound
    for name in "cd":
        suffix = {"zarr": "zarr", "tiff": "tif"}[format_]
        written = open_volume(folder / "out" / f"{name}.ome.{suffix}")
        assert np.isfinite(written.read_channel(0, slice(20, 21))).all()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="measures memory as Linux does")
def test_a_large_volume_is_predicted_within_one_gigabyte(folder):
    """Of 3 GB, or of LARGE_GB=20; the disk needs four times as much."""
    planes = round(float(os.environ.get("LARGE_GB", "3")) * 1e9 / (2 * 2000**2))
    save_large(folder / "large.npy", (planes, 2000, 2000))

    peak = peak_bytes(
        folder, "large.npy", "--tasks", "dna", "--memory", "1GB",
        "--window", "16", "64", "64",
    )  # fmt: skip

    print(f"peak: {peak / 1e9:.3f} GB")
    assert peak <= 1_000_000_000
    written = open_volume(folder / "out" / "large.ome.zarr")
    assert volume_shape(written) == (planes, 2000, 2000)
    for z in (0, planes // 2, planes - 1):
        assert np.isfinite(written.read_channel(0, slice(z, z + 1))).all()


@pytest.mark.skipif(not DATA.is_dir(), reason="no real volumes here")
def test_a_real_field_comes_back_on_its_own_grid(predict, folder):
    (field,) = (DATA / "allen-fov-tuba1b").glob("*.tif")

    done = predict(str(field), "--tasks", "dna", "--window", "8", "64", "64")

    assert done.returncode == 0, done.stderr
    source = open_volume(field)
    written = open_volume(folder / "out" / f"{field.name.split('.')[0]}.ome.zarr")
    assert volume_shape(written) == volume_shape(source)
    assert written.voxel_size_um == pytest.approx(source.voxel_size_um)
    assert written.channel_names == ("dna",)
    light = source.read_channel("brightfield").astype(float)
    assert abs(np.corrcoef(light.ravel(), written.read_channel(0).ravel())[0, 1]) > 0.01


def test_uncertainty_of_orientations_and_models(predict, folder, net):
    torch.manual_seed(1)
    other = RepModeUNet(TASKS, width=2, depth=1).eval()
    save_model(other, folder / "other.safetensors", CARD)
    card = replace(CARD, voxel_size_um=(0.3, 0.2, 0.2))
    save_model(other, folder / "finer.safetensors", card)
    how = ("--uncertainty", "--ensemble", "other.safetensors", "--intensity", "target")

    done = predict(
        "in/a.ome.tif", "--tasks", "dna", "--target", "DAPI", *how, "--memory", "4GB"
    )

    assert done.returncode == 0, done.stderr
    assert "each predicted 16 times, " in done.stdout
    (factor,) = re.findall(r"errors are (\S+) times the predicted", done.stdout)
    light = open_volume(folder / "in" / "a.ome.tif").read_channel("Bright")
    expected = predict_array(
        TrainedModel(net, CARD), light, UM, "dna", intensity="target",
        uncertainty=True, ensemble=[folder / "other.safetensors"],
    )  # fmt: skip
    written = open_volume(folder / "out" / "a.ome.zarr")
    assert written.channel_names == ("dna", "dna_std")
    for name in written.channel_names:
        np.testing.assert_allclose(
            written.read_channel(name), expected[name], rtol=1e-4, atol=1e-3
        )
    with (folder / "out" / "calibration.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    voxels = [int(row["num_voxels"]) for row in rows]
    assert sum(voxels) == 9 * 16 * 20
    squares = [
        np.dot(voxels, [float(row[name]) ** 2 for row in rows])
        for name in ("error", "deviation")
    ]
    assert float(factor) == pytest.approx(np.sqrt(squares[0] / squares[1]), rel=0.06)
    with (folder / "out" / "metrics.csv").open(newline="") as file:
        mse = next(csv.DictReader(file))["mse"]
    assert squares[0] / sum(voxels) == pytest.approx(float(mse), rel=1e-5)
    for wrong, message in (
        ("finer.safetensors", r"in another way \(voxel size 0.3 0.2 0.2 um"),
        (MODEL, "is given twice"),
    ):
        done = predict("in", "--ensemble", wrong)
        assert done.returncode == 2
        assert re.search(message, done.stderr)


def test_images_unlike_the_training_are_told_in_a_line(folder, net, capsys, caplog):
    shape = (9, 96, 96)
    looks = [
        look_of(zscore(save_light(folder / f"{seed}.ome.tif", seed, shape))[0], UM)
        for seed in range(10, 14)
    ]
    known = TaskCard(signals=signal_statistics(looks))
    card = replace(CARD, voxel_size_um=UM, tasks={"dna": known})
    save_model(net, folder / "knows.safetensors", card)
    save_light(folder / "sound.ome.tif", 5, shape)
    light = open_volume(folder / "sound.ome.tif").read_channel(0)
    blurred = np.stack([gaussian_filter(light, (0, 2, 2)), light])
    save_volume(
        folder / "blurred.ome.tif", blurred, axes="CZYX", voxel_size_um=UM,
        channel_names=["Bright", "DAPI"],
    )  # fmt: skip
    (folder / "pairs.csv").write_text(
        "task,path,channel_signal,channel_target,split\n"
        "dna,sound.ome.tif,Bright,DAPI,train\nmito,blurred.ome.tif,Bright,DAPI,test\n"
    )
    for model, expected in (("knows.safetensors", 1), (MODEL, 0)):
        images = [str(folder / f"{name}.ome.tif") for name in ("sound", "blurred")]
        command = ["predict", str(folder / model), *images, "--tasks", "dna"]
        caplog.clear()
        assert main([*command, "--out", str(folder / f"out-{model}")]) == 0
        lines = [r.getMessage() for r in caplog.records if "unlike" in r.getMessage()]
        assert len(lines) == expected, lines
        capsys.readouterr()
        check = ["check", str(folder / "pairs.csv"), "--patch-size", "1", "1", "1"]
        main([*check, "--json", "--model", str(folder / model)])
        found = json.loads(capsys.readouterr().out)["findings"]
        told = [each for each in found if each["code"] == "unlike-model"]
        assert len(told) == expected
        for text in (*lines, *(each["message"] for each in told)):
            assert "unlike the training images of dna in knows.safetensors: bl" in text
            assert re.search(r"as by a Gaussian of 0\.\d+ um", text)
