"""``continual-repmode extend`` on a lab's volumes, generated and, if there, real."""

import csv
import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from continual_repmode.__main__ import main
from continual_repmode.extending import ExtensionSettings
from continual_repmode.models import (
    ModelCard,
    RepModeUNet,
    fingerprint,
    load_model,
    save_model,
)
from continual_repmode.results import RunFolder
from continual_repmode.synthetic import simulate_field
from continual_repmode.volumes.formats.writing import save_volume

DATA = Path(__file__).parents[3] / "shared" / "data"
DNA = "fnet-dna/run_170622_174530_whole_cropped_{}.tif"
UM = (0.29, 0.29, 0.29)
SPLITS = ("train", "train", "valid", "test")
ANY = ["--device", "cpu", "--workers", "1"]
QUICK = ["--epochs", "4", *ANY]


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """A model that has learned two structures for seconds."""
    tasks = ("mitochondria", "actin_filament")
    fields = [simulate_field([9], (8, 32, 32), task) for task in tasks]
    light, target = (
        torch.from_numpy(np.stack([(v - v.mean()) / v.std() for v in volumes])).float()
        for volumes in zip(*fields, strict=True)
    )
    torch.manual_seed(0)
    net = RepModeUNet(tasks, width=4, depth=1)
    adam = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(40):
        adam.zero_grad()
        predicted = net(light[:, None], torch.tensor([0, 1]))
        torch.nn.functional.mse_loss(predicted, target[:, None]).backward()
        adam.step()
    path = tmp_path_factory.mktemp("base") / "base.safetensors"
    save_model(net, path, ModelCard(voxel_size_um=UM, window=(8, 32, 32)))
    return path


@pytest.fixture
def lab(tmp_path: Path, base: Path) -> Path:
    """A folder with the model and four images of a third structure."""
    shutil.copy(base, tmp_path)
    lines = ["task,split,path,channel_signal,channel_target"]
    for index, split in enumerate(SPLITS):
        field = np.stack(simulate_field([index], (8, 24, 24), "nucleolus"))
        save_volume(
            tmp_path / f"f{index}.ome.tif",
            field,
            axes="CZYX",
            voxel_size_um=UM,
            channel_names=["light", "EGFP"],
        )
        lines.append(f"lysosome,{split},f{index}.ome.tif,light,EGFP")
    (tmp_path / "lab.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def assert_old_tasks_unchanged(before: Path, after: Path) -> None:
    old, new = load_model(before), load_model(after)
    for task in old.task_names:
        assert fingerprint(new, task) == fingerprint(old, task)


def test_a_lab_adds_its_structure_and_is_told_what_came_out(lab, command):
    done = command("extend", "base.safetensors", "lab.csv", "--task", "lysosome",
                   *QUICK, cwd=lab)  # fmt: skip
    assert done.returncode == 0, done.stderr
    folder = lab / "base+lysosome"
    assert "2 of 2 earlier structures unchanged (SHA-256)" in done.stdout
    assert "lysosome: trained on 2 images" in done.stdout
    assert "from 1 to 2 images the validation error" in done.stdout or (
        "no better than each image's mean" in done.stdout
    )
    row = RunFolder(folder).records()[0].rows[0]
    assert f"{row['image']}  " in done.stdout
    assert f"{row['mse']:.4f}" in done.stdout
    assert "learning lysosome from all 2 images" in done.stderr
    assert "warning: task lysosome: images: 2 train, 1 test" in done.stderr
    assert_old_tasks_unchanged(lab / "base.safetensors", folder / "model.safetensors")
    assert load_model(folder / "model.safetensors").task_names[-1] == "lysosome"
    report = (folder / "report.html").read_text()
    assert "lysosome" in report

    again = command("extend", "base.safetensors", "lab.csv", "--task", "lysosome",
                    *QUICK, cwd=lab)  # fmt: skip
    assert again.returncode == 0, again.stderr
    assert again.stdout == done.stdout
    assert "epoch" not in again.stderr

    other = command("extend", "base.safetensors", "lab.csv", "--task", "lysosome",
                    *QUICK, "--seed", "1", cwd=lab)  # fmt: skip
    assert other.returncode == 2
    assert other.stderr.splitlines()[-1].startswith(
        "error: base+lysosome: holds an extension with seed 0, not 1; "
    )


def watch(folder: Path) -> list[Path]:
    """The files that change as an extension proceeds."""
    return [
        folder / "state" / "training.pt",
        folder / "experiences" / "experience_0.json",
        folder / "images" / "1" / "state" / "training.pt",
    ]


def kill_after(process, folder: Path, changes: int) -> None:
    """Kill -9 when the watched files have changed that often."""
    seen, last = 0, {}
    while process.poll() is None and seen < changes:
        for file in watch(folder):
            try:
                stamp = file.stat().st_mtime_ns
            except FileNotFoundError:
                continue
            if last.get(file) != stamp:
                last[file] = stamp
                seen += 1
        time.sleep(0.002)
    process.kill()
    process.communicate()


def test_killed_and_called_again_it_ends_as_if_undisturbed(lab, spawn, command):
    words = ["extend", "base.safetensors", "lab.csv", "--task", "lysosome", *ANY,
             "--epochs", "12"]  # fmt: skip
    whole = command(*words, "--out", "whole", cwd=lab)
    assert whole.returncode == 0, whole.stderr

    process = spawn(*words, "--out", "killed", cwd=lab)
    kill_after(process, lab / "killed", changes=5)
    assert not (lab / "killed" / "model.safetensors").exists()
    assert (lab / "killed" / "state" / "training.pt").is_file()
    process = spawn(*words, "--out", "killed", cwd=lab)
    kill_after(process, lab / "killed", changes=12)  # also while it learns from fewer
    done = command(*words, "--out", "killed", cwd=lab)
    assert done.returncode == 0, done.stderr
    assert "epoch 2/12" not in done.stderr
    for name in ("model.safetensors", "images.json", "image_metrics.csv"):
        there = (lab / "killed" / name).read_bytes()
        assert there == (lab / "whole" / name).read_bytes()
    assert done.stdout == whole.stdout.replace("whole", "killed")
    assert not (lab / "killed" / "state").exists()


def test_two_processes_add_what_one_adds(lab, command, spawn_two):
    words = ["extend", "base.safetensors", "lab.csv", "--task", "lysosome", *QUICK,
             "--batch-size", "3", "--reference", "scratch"]  # fmt: skip
    alone = command(*words, "--out", "alone", cwd=lab)
    assert alone.returncode == 0, alone.stderr
    process = spawn_two("continual_repmode", *words, "--out", "two", cwd=lab)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert out.count("2 of 2 earlier structures unchanged (SHA-256)") == 1
    assert err.count("warning: task lysosome: images: 2 train") == 1
    assert_old_tasks_unchanged(lab / "base.safetensors", lab / "two/model.safetensors")
    for path in ("", "reference"):
        one, two = (RunFolder(lab / f / path).records()[0] for f in ("alone", "two"))
        for row, expected in zip(two.rows, one.rows, strict=True):
            for metric in ("mse", "r2"):
                assert row[metric] == pytest.approx(expected[metric], abs=1e-3)
        losses, expected = ([p["train_loss"] for p in r.curve] for r in (two, one))
        assert losses == pytest.approx(expected, abs=2e-3)
    process = spawn_two("continual_repmode", *words, "--out", "lab.csv", cwd=lab)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 2
    assert err.count("error: lab.csv: is a file; choose another folder") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["base.safetensors", "lab.csv"], "required: --task"),
        (["base.safetensors", "lab.csv", "--task", "dna"], "no row of task 'dna'"),
        (["none.safetensors", "lab.csv", "--task", "lysosome"], "none.safetensors"),
        (["base.safetensors", "none.csv", "--task", "lysosome"], "none.csv"),
        (["lab.csv", "lab.csv", "--task", "lysosome"], "lab.csv"),
        (
            ["base.safetensors", "lab.csv", "--task", "lysosome", "--epochs", "0"],
            "epochs=0: use 1 or more",
        ),
        (
            ["base.safetensors", "lab.csv", "--task", "lysosome",
             "--image-curve", "half"],
            "--image-curve half: use numbers of images such as 1,2,4, or none",
        ),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_and_leaves_nothing_behind(
    lab, monkeypatch, capsys, words, message
):
    monkeypatch.chdir(lab)
    before = sorted(lab.rglob("*"))
    assert main(["extend", *words]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert sorted(lab.rglob("*")) == before


def test_two_images_without_splits_are_told_what_to_do(lab, monkeypatch, capsys):
    monkeypatch.chdir(lab)
    (lab / "few.csv").write_text(
        "task,path,channel_signal,channel_target\n"
        "lysosome,f0.ome.tif,light,EGFP\nlysosome,f1.ome.tif,light,EGFP\n"
    )
    words = ["extend", "base.safetensors", "few.csv", "--task", "lysosome"]
    assert main(words) == 2
    told = capsys.readouterr().err
    assert "2 image(s) of lysosome cannot be divided" in told
    assert "column split" in told


def test_the_help_tells_the_defaults(capsys):
    assert main(["extend", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    defaults = ExtensionSettings()
    assert f"patches in a step (default: {defaults.batch_size})" in text
    assert f"of Adam (default: {defaults.learning_rate})" in text
    assert f"as make {defaults.num_epochs(1)} steps" in text
    assert f"(default: {defaults.schedule})" in text
    assert f"{defaults.expert} (default), conv3_rank4 (far smaller)" in text


@pytest.mark.skipif(not DATA.is_dir(), reason="no real volumes here")
def test_dna_of_a_real_field_is_added_from_crops(tmp_path, base, command):
    light, nuclei = (str(DATA / DNA.format(kind)) for kind in ("light", "nuc"))
    cuts = [("train", 0, 32), ("train", 32, 64), ("valid", 64, 96), ("test", 96, 128)]
    header = ["task", "split", "path_signal", "path_target", "x0", "x1", "y1"]
    with (tmp_path / "field.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(header)
        writer.writerows(["dna", split, light, nuclei, *x, 64] for split, *x in cuts)
    done = command("extend", str(base), "field.csv", "--task", "dna",
                   "--source-voxel-size", "0.29", "0.29", "0.29", *ANY,
                   "--epochs", "45", "--out", "with_dna", cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert_old_tasks_unchanged(base, tmp_path / "with_dna" / "model.safetensors")
    record = RunFolder(tmp_path / "with_dna").records()[0]
    losses = [point["train_loss"] for point in record.curve]
    assert np.mean(losses[-15:]) < np.mean(losses[:15])
    points = json.loads((tmp_path / "with_dna" / "images.json").read_text())["points"]
    assert [point["num_images"] for point in points] == [1, 2]
