"""Files that promise too much, numbers that are none, workers whose parent dies."""

import os
import re
import shutil
import signal
import time
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
import zarr

from continual_repmode.__main__ import main
from continual_repmode.checkpoints import read_tensors, write_tensors
from continual_repmode.errors import UserError
from continual_repmode.files import remove_leftovers, temporary_beside
from continual_repmode.manifests.manifest import ManifestCollection
from continual_repmode.models import RepModeUNet, load_model, read_card, save_model
from continual_repmode.models.model_file import altered_tasks, read_structure
from continual_repmode.volumes.formats.writing import save_volume
from continual_repmode.volumes.opening import open_volume
from tests.faults.conftest import UM, VERBS, attempt, begin, finish, wait_until

MANY = 20_000


def forged(path: Path, **entries) -> Path:
    """Write a small model file whose header says something else."""
    net = RepModeUNet(("dna",), width=2, depth=1, experts=("conv3", "conv1"))
    net.add_task("golgi")
    save_model(net, path)
    tensors, header = read_tensors(path)
    architecture = header["architecture"]
    for name, value in entries.items():
        architecture[name] = value(architecture[name])
    kept = {k: v for k, v in header.items() if k not in {"format", "version"}}
    write_tensors(path, tensors, kept)
    return path


@pytest.mark.parametrize(
    "entries",
    [
        {"experts": lambda e: e * MANY},
        {"task_names": lambda names: [f"t{k}" for k in range(MANY)]},
        {"extensions": lambda e: [{**e[0], "name": f"t{k}"} for k in range(MANY)]},
        {"width": lambda _: 10**6},
        {"width": lambda _: 10**30},
        {"depth": lambda _: 500},
        {"depth": lambda _: "1"},
        {"experts": lambda _: ["conv99999"]},
        {"in_channels": lambda _: 10**12},
    ],
    ids=lambda entries: "-".join(entries),
)
def test_a_header_that_describes_too_much_is_refused_soon(tmp_path, entries):
    path = forged(tmp_path / "m.safetensors", **entries)
    began = time.process_time()
    with pytest.raises(UserError, match=r"m\.safetensors: its architecture cannot be"):
        read_structure(path)
    assert time.process_time() - began < 5


def network_of(num_tasks: int) -> RepModeUNet:
    net = RepModeUNet(("dna",), width=2, depth=1)
    net.add_task("golgi")
    like = net.architecture()
    (extension,) = like["extensions"]
    named = [{**extension, "name": f"t{k}"} for k in range(num_tasks)]
    like |= {"extensions": named, "num_frozen_tasks": num_tasks + 1}
    with torch.device("meta"):
        net = RepModeUNet.from_architecture(like)
    net = net.to_empty(device="cpu")
    for index, tensor in enumerate(net.state_dict().values()):
        tensor.fill_(index)
    return net.eval()


@pytest.mark.slow  # it measures time
def test_loading_takes_time_in_proportion_to_the_tasks(tmp_path):
    seconds = {}
    for number in (125, 500):
        path = tmp_path / f"{number}.safetensors"
        save_model(network_of(number), path)
        began = time.process_time()
        net = load_model(path)
        seconds[number] = time.process_time() - began
        assert altered_tasks(net, path) == ()
        assert len(net.task_names) == number + 1
    assert seconds[500] < 2
    assert seconds[500] < 8 * seconds[125]


def test_one_changed_tensor_is_of_one_task(tmp_path):
    net = network_of(3)
    save_model(net, tmp_path / "m.safetensors")
    for block in net.blocks().values():
        block.conv.experts["extension_t1"].weight.data[0] += 1
    assert altered_tasks(net, tmp_path / "m.safetensors") == ("t1",)


PREDICT = ("predict", "model.safetensors", "in", "--out", "new", "--device", "cpu")


def test_a_network_with_nan_is_refused_by_the_name_of_the_tensor(lab):
    net = load_model(lab / "model.safetensors")
    name, tensor = next(iter(net.named_parameters()))
    tensor.data.view(-1)[0] = float("nan")
    save_model(net, lab / "model.safetensors")
    done = attempt(PREDICT, lab, int)
    assert done.status == 2
    assert f"{name} holds NaN" in done.said
    assert not (lab / "new").exists()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_network_of_another_precision_is_refused(lab, dtype):
    net = load_model(lab / "model.safetensors").to(dtype)
    save_model(net, lab / "model.safetensors", read_card(lab / "model.safetensors"))
    done = attempt(PREDICT, lab, int)
    assert done.status == 2
    assert f"is {dtype}; only float32" in done.said


def test_an_image_of_immense_values_is_refused_by_its_name(lab):
    shutil.rmtree(lab / "in")
    image = np.linspace(0, 1e203, 8 * 20 * 20).reshape(8, 20, 20)
    save_volume(lab / "in/y.ome.tif", image, axes="ZYX", voxel_size_um=UM)
    done = attempt(PREDICT, lab, int)
    assert done.status in {2, 3}
    assert "y.ome.tif" in done.said
    assert "1e+203" in done.said
    assert list((lab / "new").glob("*.zarr")) == []


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_missing_chunk_files_are_told_or_refused(lab, caplog, capsys, zarr_format):
    path = lab / "in/x.ome.zarr"
    image = np.random.default_rng(0).integers(90, 400, (4, 20, 20)).astype(np.uint16)
    save_volume(path, image, axes="ZYX", voxel_size_um=UM)
    store = path / "0"
    shutil.rmtree(store)
    quarters = zarr.create_array(
        *(store,), shape=image.shape, chunks=(1, 20, 20), dtype="u2", fill_value=7,
        zarr_format=zarr_format,
    )  # fmt: skip
    quarters[:] = image
    (store / ".DS_Store").touch()
    whole = open_volume(path)
    assert "missing" not in caplog.text
    left_out = {2: "2.0.0", 3: "c/2/0/0"}[zarr_format]
    (store / left_out).unlink()
    assert (open_volume(path).read_channel(0, slice(2, 3)) == 7).all()
    told = "1 of 4 chunk files of its array 0 are missing, 25.0%, and count as 7"
    assert open_volume(path) == whole  # but for what is missing
    assert told in caplog.text
    columns = "task,split,path_signal,path_target,channel_signal,channel_target"
    row = "dna,train,in/x.ome.zarr,f0.ome.tif,0,1"
    (lab / "quarters.csv").write_text(f"{columns}\n{row}\n")
    (lab / "f0.ome.tif").unlink()
    pair = np.stack([image, image[::-1]])
    save_volume(lab / "f0.ome.tif", pair, axes="CZYX", voxel_size_um=UM)
    manifest = str(lab / "quarters.csv")
    calls = (
        ["check", manifest, "--headers-only", "--patch-size", "4", "16", "16"],
        ["prepare", manifest, "--cache-dir", str(lab / "new")],
        ["predict", str(lab / "model.safetensors"), manifest, "--out", str(lab / "p")],
    )
    for words in calls:
        assert main([*words, "--refuse-missing-chunks"]) in {2, 3}
        refused = " ".join("".join(capsys.readouterr()).split())
        assert f"x.ome.zarr: {told}: Zarr may leave out chunks" in refused
        assert "error" in refused or "failed" in refused
        assert not (lab / "new").exists()
        assert not (lab / "p").exists()
    for words, status in zip(calls, (2, 0, 0), strict=True):  # 2: no images to test
        assert main(words) == status, capsys.readouterr()
        if words[0] == "check":
            assert told in " ".join(capsys.readouterr().out.split())
    with pytest.raises(UserError, match=r"25\.0%"):
        ManifestCollection(manifest, refuse_missing_chunks=True)


def children(process: tuple[int, int]) -> list[psutil.Process]:
    return psutil.Process(process[0]).children(recursive=True)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_with_the_process_that_started_them(lab, number):
    words = ("prepare", "lab.csv", "--cache-dir", "new", "--workers", "2")
    process = begin(words, lab)
    assert wait_until(lambda: len(children(process)) >= 3)
    workers = children(process)
    os.kill(process[0], number)
    finish_quietly(process)
    assert wait_until(lambda: not any(map(psutil.Process.is_running, workers)), 30)


def finish_quietly(process: tuple[int, int]) -> None:
    os.close(process[1])
    os.waitpid(process[0], 0)


def test_the_next_call_removes_what_killed_ones_left(lab):
    left = lab / f".writing-{'0' * 6}-1-{'0' * 12}.png"  # of another machine, recent
    left.touch()
    mine = temporary_beside(lab / "x.npy")
    mine.touch()
    gone = mine.with_name(mine.name.replace(f"-{os.getpid()}-", "-4194301-"))
    gone.mkdir()
    (gone / "chunk").touch()
    remove_leftovers(lab)
    assert left.exists()
    assert mine.exists()
    assert not gone.exists()
    os.utime(left, (0, 0))
    remove_leftovers(lab)
    assert not left.exists()


def test_half_a_chunk_is_not_published(lab):
    done = attempt(PREDICT, lab, stop_before_publishing)
    assert done.status != 0
    (volume,) = (lab / "new/.predicting").rglob("volume.zarr")
    (volume / "0/c/0.abc.partial").write_bytes(b"half")
    done = finish(begin(PREDICT, lab))
    assert done.status == 0, done.said
    assert list((lab / "new").rglob("*.partial")) == []
    assert not (lab / "new/.predicting").exists()


def stop_before_publishing() -> None:
    from continual_repmode.volumes.formats import stream_writing

    def stop(folder: Path, path: Path) -> None:
        raise KeyboardInterrupt

    stream_writing._put_in_place = stop


@pytest.mark.slow  # every verb is called
def test_the_page_has_every_file_that_verbs_write(lab):
    page = (Path(__file__).parents[2] / "docs/results.md").read_text(encoding="utf-8")
    rows = page.partition("| file | appears |")[2].splitlines()[2:]
    named = re.findall(
        r"`([^` ]+)`", " ".join(row.split("|")[1] for row in rows if row)
    )
    named = [name.removeprefix("results/") for name in named]  # which is called new
    known = [re.sub(r"[A-Z]+", "*", name) for name in named]
    before = {path for path in lab.rglob("*") if path.is_file()}
    for words in VERBS.values():
        assert attempt(words, lab, int).status == 0, words
        made = {p for p in lab.rglob("*") if p.is_file()} - before
        inside = {p.relative_to(lab).as_posix() for p in made}
        inside = {p for p in inside if not p.startswith(("cells/", "new/zo1/"))}
        unknown = [p for p in inside if not any(is_meant(p, n) for n in known)]
        assert unknown == [], words
        shutil.rmtree(lab / "new", ignore_errors=True)


def is_meant(path: str, name: str) -> bool:
    """Whether the page means a file by a name: of it, or of a folder above it."""
    if name.endswith("/") or name.endswith(".zarr"):
        return fnmatch(f"/{path}", f"*/{name.removesuffix('/')}/*")
    return fnmatch(f"/{path}", f"*/{name}")
