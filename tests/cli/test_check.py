"""``continual-repmode check`` on generated volumes, and on real ones where present."""

import functools
import json
from pathlib import Path

import numpy as np
import pytest

from continual_repmode.__main__ import main
from continual_repmode.synthetic import simulate_field
from continual_repmode.volumes.formats.writing import save_volume

DATA = Path(__file__).parents[3] / "shared" / "data"
UM = (0.29, 0.29, 0.29)
HEADER = "task,split,path,channel_signal,channel_target"
SPLITS = ("train", "train", "train", "valid", "test", "test", "test")


@pytest.fixture
def manifest(tmp_path):
    """Return a manifest of seven sound images of DNA."""
    lines = [HEADER]
    for index, split in enumerate(SPLITS):
        save(tmp_path / f"f{index}.ome.tif", field_of(index))
        lines.append(f"dna,{split},f{index}.ome.tif,light,DNA")
    path = tmp_path / "volumes.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def save(path: Path, field: np.ndarray) -> None:
    save_volume(
        path, field, axes="CZYX", voxel_size_um=UM, channel_names=["light", "DNA"],
        overwrite=True,
    )  # fmt: skip


@functools.cache
def counts_of(index: int) -> np.ndarray:
    return np.stack(simulate_field([index], (16, 48, 48), "dna"))


def field_of(index: int) -> np.ndarray:
    return counts_of(index).copy()


def test_sound_volumes_are_listed_and_leave_with_status_0(manifest, command):
    done = command("check", str(manifest), cwd=manifest.parent)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "dna" in done.stdout
    assert "16 x 48 x 48" in done.stdout


def test_warnings_leave_with_status_3(manifest, capsys):
    field = field_of(2)
    field[1] = np.roll(field[1], 12, axis=-1)
    save(manifest.parent / "f2.ome.tif", np.minimum(field, np.quantile(field[0], 0.9)))

    assert main(["check", str(manifest)]) == 3
    assert "row 4, f2.ome.tif" in " ".join(capsys.readouterr().out.split())


def test_noise_as_light_is_asked_back_and_hot_pixels_are_no_noise(manifest, capsys):
    noise, hot, stain = field_of(0), field_of(1), field_of(2)
    rng = np.random.default_rng(0)
    noise[0] = stain[1] = rng.normal(1000, 50, noise[0].shape)
    hot[0][rng.random(hot[0].shape) < 0.002] = 65_000  # most of the variance
    for index, field in enumerate((noise, hot, stain)):
        save(manifest.parent / f"f{index}.ome.tif", field)

    for words, severity in ((), "error"), (("--yes",), "note"):
        main(["check", str(manifest), "--json", *words])
        found = json.loads(capsys.readouterr().out)["findings"]
        (asked,) = (f for f in found if f["code"] == "implausible")
        assert asked["severity"] == severity
        assert "row 2, f0.ome.tif" in asked["where"]
        assert "its light looks like noise: " in asked["message"]
        assert "--yes (run: data.yes=true)" in asked["remedy"] or words


def test_a_scenario_of_other_tasks_is_told_which_tasks_there_are(manifest, capsys):
    manifest.write_text(manifest.read_text().replace("dna,", "lysosome,"))
    words = ["check", str(manifest), "--scenario", "one_by_one", "--headers-only"]

    assert main(words) == 2
    told = " ".join(capsys.readouterr().out.split())
    assert "task dna: no usable row; the manifest has lysosome" in told


def test_errors_of_headers_and_voxels_are_told_together(manifest, capsys):
    folder = manifest.parent
    blank = field_of(1)
    blank[1] = 7
    save(folder / "f1.ome.tif", blank)
    (folder / "f4.ome.tif").write_bytes(b"II*\0 no more")
    (folder / "f6.ome.tif").unlink()

    assert main(["check", str(manifest), "--json"]) == 2
    told = json.loads(capsys.readouterr().out)
    errors = [f for f in told["findings"] if f["severity"] == "error"]
    for name, row in (("f1", 3), ("f4", 6), ("f6", 8)):
        assert any(f"row {row}" in e["line"] and name in e["line"] for e in errors), (
            name
        )
    assert not any("\n" in e["line"] for e in errors)


def test_headers_only_reads_no_voxels(manifest):
    blank = field_of(1)
    blank[1] = 7
    save(manifest.parent / "f1.ome.tif", blank)

    assert main(["check", str(manifest), "--headers-only"]) == 0


def test_a_run_makes_the_check_first_and_does_not_start_with_errors(
    manifest, capsys, monkeypatch
):
    blank = field_of(1)
    blank[1] = 7
    save(manifest.parent / "f1.ome.tif", blank)
    (manifest.parent / "mine.yaml").write_text("experiences: [[dna]]\n")
    monkeypatch.chdir(manifest.parent)
    data = ("data=manifest", f"data.manifest={manifest}", "data.cache_dir=prepared")

    assert main(["run", "scenario=mine.yaml", *data]) == 2

    told = capsys.readouterr().err.splitlines()
    (line,) = [x for x in told if x.startswith("error: ")]
    assert "row 3" in line
    assert "f1.ome.tif" in line
    assert not list((manifest.parent / "runs").rglob("config.yaml"))


@pytest.mark.skipif(not DATA.is_dir(), reason="no real volumes here")
def test_everything_real_gives_a_right_table(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    nuclei = DATA / "czi-readers" / "nuc_small_new_red.czi"
    noise = np.random.default_rng(0).integers(0, 255, (1, 240, 320)).astype(np.uint8)
    np.save(tmp_path / "noise.npy", noise)
    tiffs = DATA / "tiff-readers"
    cell = DATA / "allen-cell-tuba1b" / "AICS-12_881_cell1_bf_fluor.ome.tif"
    division = DATA / "czi-readers" / "CellDivision_T3_Z5_CH2_X240_Y170.czi"
    dna = DATA / "fnet-dna" / "run_170622_174530_whole_cropped_light.tif"
    rows = [
        ("dna", dna, str(dna).replace("light", "nuc"), "", "", ""),
        ("microtubule", cell, cell, 0, 2, ""),
        ("cell_membrane", cell, cell, 0, 1, ""),
        *(
            (task, path, path, "brightfield", 1, "")
            for task, path in (
                ("microtubule", *DATA.glob("allen-fov-tuba1b/*.tif")),
                ("endoplasmic_reticulum", *DATA.glob("allen-fov-sec61b/*.tif")),
            )
        ),
        ("dna", DATA / "raj-fish/trans001.tiff", DATA / "raj-fish/dapi001.tiff",
         "", "", ""),
        *(
            ("neurons", DATA / "isl-neurons/phase_contrast_z13.tif", target, "", "", "")
            for target in sorted(DATA.glob("isl-neurons/*maxproj.tif"))
        ),
        *(
            ("protein", path, path, 0, 2, "")
            for path in sorted(DATA.glob("allen-mitosis/*.tif"))
        ),
        ("chromosomes", division, division, "LED470", "LED555", 1),
        ("lattice", DATA / "czi-readers/LLS7_small.czi",
         DATA / "czi-readers/LLS7_small.czi", 0, 1, 0),
        ("nuclei", tmp_path / "noise.npy", nuclei, "", "", ""),
        ("spheres", tiffs / "xyzc_8bit_spheres.tif", tiffs / "xyzc_8bit_spheres.tif",
         0, 1, ""),
    ]  # fmt: skip
    header = "task,path_signal,path_target,channel_signal,channel_target,time,split"
    lines = [header, *(",".join(map(str, (*row, "train"))) for row in rows)]
    (tmp_path / "all.csv").write_text("\n".join(lines) + "\n")

    words = ["check", "all.csv", "--source-voxel-size", "0.29", "0.29", "0.29"]

    assert main([*words, "--json"]) == 2
    told = json.loads(capsys.readouterr().out)
    found = [finding["line"] for finding in told["findings"]]

    def told_of(*words: str) -> bool:
        return any(all(word in line for word in words) for line in found)

    assert told_of("trans001.tiff (5, 512, 512)", "dapi001.tiff (6, 512, 512)")
    for target in ("dapi", "map2", "nfh"):
        assert told_of(f"{target}_confocal_maxproj.tif (1, 192, 192)", "projection")
    assert told_of("nuc_small_new_red.czi", "only 31 gray levels")
    shapes = {pair["task"]: tuple(pair["shape"]) for pair in told["pairs"]}
    assert shapes["dna"] == (32, 128, 128)
    assert shapes["cell_membrane"] == (42, 82, 85)
    assert shapes["endoplasmic_reticulum"] == (65, 292, 204)
    assert shapes["chromosomes"] == (5, 170, 240)
    assert shapes["lattice"] == (3, 64, 64)
    assert shapes["spheres"] == (25, 50, 50)
    assert not told_of("fnet-dna", "shifted")
    main(words)
    table = capsys.readouterr().out
    assert max(map(len, table.splitlines())) <= 100
