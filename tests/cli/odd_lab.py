"""A folder with models, images and manifests as small as they can be, each odd."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
import torch
from scipy.ndimage import gaussian_filter

from continual_repmode.models import ModelCard, RepModeUNet, TaskCard, save_model
from continual_repmode.volumes.formats.writing import save_volume

UM = (0.3, 0.3, 0.3)
TASKS = ("dna", "nucleolus")
COLUMNS = "task,split,path_signal,path_target"
SIZES = "voxel_size_z_um,voxel_size_y_um,voxel_size_x_um"


@dataclass(frozen=True)
class Said:
    """What a call printed."""

    status: int
    text: str

    @property
    def told(self) -> str:
        """What it printed, with any white space as one space."""
        return re.sub(r"\s+", " ", self.text)


Call = Callable[[str], Said]


def make_lab(folder: Path) -> None:
    """Write models and images as small as they can be, each odd in one way."""
    for name, private, size_um in (
        ("model", False, UM),
        ("private", True, UM),
        ("old", False, None),
    ):
        torch.manual_seed(0)
        net = RepModeUNet(TASKS, width=2, depth=1, private_bn=private).eval()
        card = ModelCard(
            voxel_size_um=size_um,
            resize="paper",
            order="zscore_first",
            window=(4, 16, 16),
            tasks={"dna": TaskCard(target_mean=400.0, target_std=25.0)},
        )
        save_model(net, folder / f"{name}.safetensors", card)
    save(folder / "a.ome.tif", (2, 5, 24, 24), ("Bright", "DAPI"))
    save(folder / "cameras.ome.tif", (2, 5, 24, 24), ("1", "0"))
    save(folder / "light.ome.tif", (1, 5, 24, 24), ("x",))
    save(folder / "coarse.ome.tif", (1, 5, 24, 24), ("x",), um=(0.3, 0.6, 0.6))
    save(folder / "DAPI.ome.zarr", (1, 5, 24, 24), ("x",)).rename(folder / "DAPI")
    gaps = save(folder / "gaps.ome.zarr", (2, 5, 24, 24), ("Bright", "DAPI"))
    shutil.rmtree(gaps / "0/c/1")
    time_series(folder / "lapse.ome.tif")
    noise = np.random.default_rng(0).normal(size=(5, 24, 24)).astype(np.float32)
    for name, um in (("odd", [7366, 0.3, 0.3]), ("none", [None] * 3)):
        np.save(folder / f"{name}.npy", noise)
        sidecar = {"axes": "ZYX", "voxel_size_um": um}
        (folder / f"{name}.json").write_text(json.dumps(sidecar))
    (folder / "sub").mkdir()
    rows = listed(folder, "pairs", (6, 32, 32))
    listed(folder, "thin", (1, 32, 32))
    listed(folder, "sub/moved", (6, 32, 32)) and (folder / "sub/moved.csv").rename(
        folder / "moved.csv"
    )
    listed(folder, "noisy", (6, 32, 32))
    for index in range(7):
        noise = np.random.default_rng(index).integers(90, 400, (1, 6, 32, 32), "u2")
        path = folder / f"noisy{index}.ome.tif"
        save_volume(path, noise, axes="CZYX", voxel_size_um=UM, overwrite=True)
    six = listed(folder, "six", (6, 32, 32), (5, 32, 32))
    times = listed(folder, "times", None)
    bare = listed(folder, "bare", (6, 32, 32), um=None)
    for name, lines, header, added in (
        ("sized", rows, SIZES, "0.6,0.6,0.6"),
        ("sixcrop", six, "z0,z1", "1,4"),
        ("chosen", times, "time", "1"),
        ("filled", bare, SIZES, "0.3,0.3,0.3"),
    ):
        text = [f"{lines[0]},{header}", *(f"{row},{added}" for row in lines[1:])]
        (folder / f"{name}.csv").write_text("\n".join(text) + "\n")
    (folder / "all.csv").write_text("\n".join(rows).replace("lab,", "all,"))
    wrong = [re.sub("lab,[a-z]*", "lab,train", row) + ",0" for row in rows[1:]]
    (folder / "dna_test.csv").write_text(
        "\n".join([f"{rows[0]},channel_targets", *wrong])
    )
    header = "task,path,channel_signal,channel_target"
    (folder / "cameras.csv").write_text(f"{header}\ndna,cameras.ome.tif,1,0\n")
    (folder / "one.yaml").write_text("experiences: [[dna]]\n")
    (folder / "lab.yaml").write_text("experiences: [[lab]]\n")
    (folder / "two.yaml").write_text("experiences: [[dna, nucleolus], [lab]]\n")
    (folder / "begun").mkdir()
    begun = {"task": "lab", "base_model_sha256": "0"}
    (folder / "begun" / "extension.json").write_text(json.dumps(begun))


def listed(folder: Path, name: str, light_shape, dye_shape=None, um=UM) -> list[str]:
    """Write seven pairs of images and their manifest; return its lines."""
    lines = [COLUMNS]
    for index, split in enumerate(["train"] * 3 + ["valid"] + ["test"] * 3):
        files = []
        for what, shape in (("", light_shape), ("d", dye_shape or light_shape)):
            path = folder / f"{name}{index}{what}.ome.tif"
            if um is None:
                path = path.with_name(f"{path.name[:-8]}.npy")
                seed = index + 99 * bool(what)
                np.save(path, smooth(shape, seed))
            elif shape is None:
                time_series(path, seed=index + 99 * bool(what))
            else:
                save(path, (1, *shape), ("x",), index + 99 * bool(what))
            files.append(path.name)
        lines.append(f"lab,{split},{','.join(files)}")
    (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")
    return lines


def save(path: Path, shape, names, seed: int = 0, um=UM) -> Path:
    counts = (1000 + 500 * smooth(shape, seed)).clip(1).astype(np.uint16)
    save_volume(path, counts, axes="CZYX", voxel_size_um=um, channel_names=names)
    return path


def smooth(shape, seed: int) -> np.ndarray:
    rough = np.random.default_rng(seed).normal(size=shape)
    found = gaussian_filter(rough, (*[0] * (len(shape) - 2), 1, 1))
    return found / found.std()


def time_series(path: Path, seed: int = 0) -> None:
    counts = np.random.default_rng(seed).integers(0, 999, (2, 4, 24, 24), np.uint16)
    sizes = {f"PhysicalSize{axis}": 0.3 for axis in "ZYX"}
    tifffile.imwrite(path, counts, ome=True, metadata={"axes": "TZYX", **sizes})
