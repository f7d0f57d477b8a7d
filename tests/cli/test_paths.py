"""Every argument that takes a path, with every kind of path, in every command."""

import json
import os
import re
import shlex
import shutil
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from continual_repmode import (
    ManifestCollection,
    RunFolder,
    SyntheticCells,
    TrainedModel,
    commands,
    load_model,
    open_volume,
    predict_file,
    read_card,
    save_model,
    save_volume,
)
from continual_repmode.__main__ import main
from continual_repmode.allen.splits import read_published_order
from continual_repmode.analysis.continual import publish
from continual_repmode.compose import compose_runs, launch
from continual_repmode.config.run import dump_run_config, load_run_config
from continual_repmode.errors import UserError
from continual_repmode.models import ModelCard, RepModeUNet
from continual_repmode.paths import user_path
from continual_repmode.results import ExperienceRecord, write_json
from continual_repmode.scenario import load_scenario

UM = (0.3, 0.3, 0.3)
CARD = ModelCard(voxel_size_um=UM, resize="paper", window=(4, 8, 8))
TASKS = ("dna", "nucleolus")
SHAPE = (6, 16, 16)
SPLITS = ("train", "valid", "test")
STORE_KEY = "3f2a9c0b77"

COMPOSED = "Zürich é"
DECOMPOSED = unicodedata.normalize("NFD", COMPOSED)
NAMES = {
    "space": "two  words",
    "composed": COMPOSED,
    "decomposed": DECOMPOSED,
    "brackets": "run[1]{2}(3)",
    "comma": "x, y",
    "equals": "a=b",
    "quotes": 'Anna\'s "own"',
    "other signs": "50% #1;&$!@^`|x",
    "backslash": "C:\\",
    "not UTF-8": os.fsdecode(b"Z\xfcrich"),
    "250 characters": "n" * 250,
    "hidden tilde": "~draft",
}
WORST = f"{COMPOSED} [1], a=b 'x' #%"


@dataclass(frozen=True)
class Place:
    """A folder with files of a user.

    Attributes
    ----------
    given : str
        What the user calls the folder.
    real : Path
        Where it is.
    name : str
        Of the files, without suffix.
    linked : bool
        The files are links into a store where they have other names.
    """

    given: str
    real: Path
    name: str = "file"
    linked: bool = False

    def put(self, suffix: str, source: Path) -> str:
        """Put a copy of a file or folder there; return what the user calls it."""
        name = self.named(suffix)
        target = self.real / name
        if self.linked:
            store = self.real.parent / "store" / f"{STORE_KEY}{suffix.replace('.', '')}"
            store.parent.mkdir(exist_ok=True)
            target, link = store, target
            link.symlink_to(os.path.relpath(store, link.parent))
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copyfile(source, target)
        return self.to(name)

    @property
    def is_unicode(self) -> bool:
        return str(self.real).isprintable()

    def put_model(self, suffix: str, source: Path) -> str:
        """Put a model there; if the name allows none, use it where it is."""
        put = self.put(suffix, source)
        if self.is_unicode:
            return put
        with pytest.raises(UserError, match=r"not UTF-8.*rename it"):
            load_model(put)
        return str(source)

    def named(self, suffix: str) -> str:
        return self.name[: 250 - len(".both.safetensors")] + suffix

    def to(self, name: str) -> str:
        """Return what the user calls something in the folder."""
        return f"{self.given}/{name}"


FEW = ("comma", "not UTF-8", "250 characters", "tilde", "links", "worst")
"""What can go wrong in most ways; the others are tried where they take no time."""

few_or_all = pytest.mark.parametrize(
    "kinds",
    [pytest.param(FEW, id="few"), pytest.param((), id="all", marks=pytest.mark.slow)],
)

Places = Callable[..., Iterator[Place]]


@pytest.fixture
def places(tmp_path, monkeypatch) -> Places:
    """Make one folder after another, each in an empty home and current folder."""

    def make(kinds: Sequence[str] = ()) -> Iterator[Place]:
        for kind, place in every():
            if not kinds or kind in kinds:
                yield from entered(kind, place)

    def every() -> Iterator[tuple[str, Callable[[Path], Place]]]:
        for kind, name in NAMES.items():
            yield (kind, lambda top, n=name: Place(str(top / n), top / n, n))
        yield ("tilde", lambda top: Place("~/in", top / "home" / "in"))
        yield ("relative", lambda top: Place("in", top / "in"))
        yield ("upwards", lambda top: Place("home/../in", top / "in"))
        yield ("literal tilde", lambda top: Place("./~/in", top / "~" / "in"))
        yield ("trailing slash", lambda top: Place(f"{top}/in/", top / "in"))
        yield ("links", lambda top: Place("in", top / "in", linked=True))
        yield ("link to a folder", linked_folder)
        yield (
            "the other accents",
            lambda top: Place(str(top / COMPOSED), top / DECOMPOSED),
        )
        yield ("worst", lambda top: Place(f"~/{WORST}", top / "home" / WORST))

    def entered(kind: str, place: Callable[[Path], Place]) -> Iterator[Place]:
        top = tmp_path / kind.replace(" ", "_")
        (top / "home").mkdir(parents=True)
        monkeypatch.setenv("HOME", str(top / "home"))
        monkeypatch.chdir(top)
        found = place(top)
        found.real.mkdir(parents=True, exist_ok=True)
        print(kind)  # shown if the test fails
        yield found
        strange = [p for p in top.rglob("~") if kind != "literal tilde"]
        assert strange == []  # no folder is ever called so by mistake

    return make


def linked_folder(top: Path) -> Place:
    (top / "far" / "real").mkdir(parents=True)
    (top / "in").symlink_to("far/real")
    return Place("in", top / "in")


@pytest.fixture(scope="session")
def stock(tmp_path_factory) -> Path:
    """A folder with a model, two extensions, images and a run."""
    folder = tmp_path_factory.mktemp("stock")
    torch.manual_seed(0)
    base = RepModeUNet(TASKS, width=2, depth=1, experts=("conv3", "conv1"))
    base.freeze()
    save_model(base, folder / "base.safetensors", CARD)
    for name in ("a", "b"):
        net = load_model(folder / "base.safetensors")
        net.add_task(name)
        save_model(net, folder / f"{name}.safetensors", CARD)
    rng = np.random.default_rng(0)
    for number in range(3):
        stack = rng.integers(100, 900, (2, *SHAPE)).astype(np.uint16)
        for suffix in (".ome.tif", ".npy"):
            save_volume(
                folder / f"{number}{suffix}", stack, axes="CZYX", voxel_size_um=UM,
                channel_names=("Bright", "DNA"),
            )  # fmt: skip
    save_volume(folder / "target.tif", stack[1], axes="ZYX", voxel_size_um=UM)
    (folder / "stream.yaml").write_text("experiences: [[dna], [nucleolus]]\n")
    return folder


def put_manifest(place: Place, stock: Path, suffix: str = ".ome.tif") -> str:
    """Put a manifest and its three images there; return what the user calls it."""
    rows = []
    for number, split in enumerate(SPLITS):
        image = place.named(f"{number}{suffix}")
        place.put(f"{number}{suffix}", stock / f"{number}{suffix}")
        if suffix == ".npy":
            place.put(f"{number}.json", stock / f"{number}.json")
        quoted = image.replace('"', '""')
        rows.append(f'dna,{split},"{quoted}",Bright,DNA')
    text = "\n".join(["task,split,path,channel_signal,channel_target", *rows])
    manifest = place.real / place.named(".csv")
    try:
        manifest.write_text(text, encoding="utf-8")
    except UnicodeEncodeError:  # a table is UTF-8 text: it cannot name such files
        return ""
    return place.to(manifest.name)


def succeed(capsys, *words: str, status: int = 0) -> str:
    """Call the command; return what it printed."""
    capsys.readouterr()
    found = main(list(words))
    captured = capsys.readouterr()
    assert found == status, (words, captured.out[-500:], captured.err[-500:])
    return captured.out


def test_check_and_prepare(places, stock, capsys):
    volumes = ("--voxel-size", "0.3", "0.3", "0.3", "--workers", "1")
    for place in places():
        manifest = put_manifest(place, stock)
        if not manifest:
            continue
        scenario = place.put(".yaml", stock / "stream.yaml")
        where = ("--root", place.given, "--cache-dir", place.to("cache"))
        more = ("--patch-size", "4", "8", "8", "--scenario", scenario, "--json")
        out = succeed(capsys, "check", manifest, *where, *volumes, *more, status=2)
        listed = json.loads(out)
        named = {Path(pair["signal_path"]).name for pair in listed["pairs"]}
        assert named == {place.named(f"{n}.ome.tif") for n in range(3)}
        errors = [f["line"] for f in listed["findings"] if f["severity"] == "error"]
        (line,) = errors  # the scenario has a second task
        assert "task nucleolus: no usable row; the manifest has dna" in line
        succeed(capsys, "prepare", manifest, *where, *volumes)
        assert len(list((place.real / "cache").rglob("*.npy"))) == 6


def test_a_manifest_keeps_suffix_sidecar_and_name_of_links(places, stock):
    for place in places():
        manifest = put_manifest(place, stock, ".npy")
        if manifest:
            collection = ManifestCollection(
                manifest,
                root=place.given,
                cache_dir=place.to("cache"),
                voxel_size_um=UM,
            )
            pairs = [pair for pair, _ in collection.all_pairs()]
            assert [pair.signal.channel for pair in pairs] == [0, 0, 0]
            assert {pair.row.signal_path.parent.resolve() for pair in pairs} == {
                place.real.resolve()
            }
            assert all(STORE_KEY not in pair.name for pair in pairs)


@few_or_all
def test_predict(kinds, places, stock, capsys):
    for place in places(kinds):
        model = place.put_model(".safetensors", stock / "base.safetensors")
        image = place.put(".ome.tif", stock / "0.ome.tif")
        target = place.put(".tif", stock / "target.tif")
        options = ("--tasks", "dna", "--device", "cpu")
        out = place.to("out")
        names = place.named(".ome.tif").removesuffix(".ome.tif")
        succeed(
            capsys, "predict", model, image, "--out", out, "--target", target, *options
        )
        done = open_volume(place.real / "out" / f"{names}.ome.zarr")
        assert done.shape[-3:] == SHAPE
        assert (place.real / "out" / "metrics.csv").is_file()
        # a pattern below the folder, and the folder itself, mean the same image
        (place.real / place.named(".tif")).unlink()
        shutil.rmtree(place.real / "out")
        tiff = ("--format", "tiff", "--out", place.to("tiff"), *options)
        for given in (f"{place.given}/*.ome.tif", place.given):
            succeed(capsys, "predict", model, given, *tiff)
            (only,) = (place.real / "tiff").glob("*.tif")
            assert only.name == f"{names}.ome.tif"


def test_predict_from_a_manifest(places, stock, capsys):
    for place in places():
        manifest = put_manifest(place, stock)
        if not manifest:
            continue
        model = place.put_model(".safetensors", stock / "base.safetensors")
        out = place.to("out")
        succeed(
            capsys, "predict", model, manifest, "--out", out, "--tasks", "dna",
            "--estimate",
        )  # fmt: skip


@few_or_all
def test_info_and_merge(kinds, places, stock, capsys):
    for place in places(kinds):
        one = place.put_model("1.safetensors", stock / "a.safetensors")
        two = place.put_model("2.safetensors", stock / "b.safetensors")
        assert json.loads(succeed(capsys, "info", one, "--json", "--verify"))["tasks"]
        both = place.to(place.named(".both.safetensors"))
        if not place.is_unicode:
            succeed(capsys, "merge", one, two, "--out", both, status=2)
            continue
        succeed(capsys, "merge", one, two, "--out", both)
        made = load_model(place.real / place.named(".both.safetensors"))
        assert made.task_names == (*TASKS, "a", "b")


@pytest.fixture(scope="session")
def finished(stock) -> Path:
    """The folder of a run, as far as a report and a reference need it."""
    folder = RunFolder(stock / "run")
    write_json(
        folder.header,
        {
            "schema": "continual_repmode.results",
            "schema_version": 1,
            "seed": 0,
            "strategy": "repmode",
            "scenario": "x",
            "command": "run",
            "voxel_size_um": UM,
            "versions": {},
        },
    )
    words = ["scenario=leave_one_out", "scenario.new_task=nucleolus"]
    (config,) = compose_runs([words])
    folder.config.write_text(dump_run_config(config))
    metrics = {"mse": 0.5, "mae": 0.5, "r2": 0.5, "pearson_r": 0.7, "num_voxels": 8}
    record = ExperienceRecord(
        experience=0,
        tasks=list(TASKS),
        curve=[{"epoch": 1, "train_loss": 1.2, "valid_mse": 0.9}],
        best_epoch=1,
        best_valid_mse=0.9,
        num_trained_parameters=1,
        train_iterations=1,
        proofs=[],
        rows=[{"task": task, "image": "i", **metrics} for task in TASKS],
        wall_time_s={"train": 1.0, "eval": 1.0},
    )
    folder.write_record(record)
    folder.checkpoint(0).parent.mkdir()
    shutil.copyfile(stock / "base.safetensors", folder.checkpoint(0))
    publish(folder)
    return folder.path


@few_or_all
def test_report(kinds, places, finished, capsys):
    for place in places(kinds):
        run = place.put(".run", finished)
        if not place.is_unicode:
            continue
        page = place.named(".html")
        succeed(capsys, "report", run, "--out", place.to(page))
        assert "nucleolus" in (place.real / page).read_text(encoding="utf-8")


@few_or_all
def test_settings_of_run_are_taken_as_they_stand(kinds, places, stock, finished):
    runs, configs = [], []
    for place in places(kinds):
        stream = place.put(".yaml", stock / "stream.yaml")
        values = {
            "data.manifest": place.to("m.csv"),
            "data.root": place.given,
            "data.cache_dir": place.to("cache"),
            "base_model": place.to("m.safetensors"),
            "reference": place.put(".run", finished),
        }
        words = [f"{name}={value}" for name, value in values.items()]
        words += ["data=manifest", f"scenario={stream}"]
        config, folder, settings = launched(*words, f"hydra.run.dir={place.given}/new")
        assert {
            "data.manifest": config.data.manifest,
            "data.root": config.data.root,
            "data.cache_dir": config.data.cache_dir,
            "base_model": config.base_model,
            "reference": config.reference,
        } == values
        assert config.scenario.experiences == [["dna"], ["nucleolus"]]
        assert folder.samefile(place.real / "new")
        assert set(settings) == set(words)  # what the run records can be typed again
        assert load_run_config(dump_run_config(config)) == config
        assert RunFolder(values["reference"]).read_results()["metrics"]
        runs.append([word for word in words if not word.startswith("scenario=")])
        configs.append(config.data)
    assert [config.data for config in compose_runs(runs)] == configs


def launched(*words: str) -> tuple:
    """Return what a run would be called with."""
    seen = []
    assert launch(words, lambda *given: seen.append(given)) == 0
    (given,) = seen
    return given


def test_download_lists_what_is_there(places, capsys):
    for place in places():
        (place.real / "TOM20").mkdir()
        out = succeed(capsys, "download", "--list", "--to", place.to("TOM20"))
        assert "mitochondria" in out
        assert [path.name for path in place.real.iterdir()] == ["TOM20"]


worst_or_all = pytest.mark.parametrize(
    "kinds",
    [
        pytest.param(("worst",), id="worst"),
        pytest.param((), id="all", marks=pytest.mark.slow),
    ],
)


@worst_or_all
def test_a_whole_run(kinds, places, stock, finished, capsys):
    for place in places(kinds):
        manifest = put_manifest(place, stock)
        if not manifest:
            out = place.to("new")
            succeed(capsys, "run", f"hydra.run.dir={out}", status=2)
            continue
        (place.real / "one.yaml").write_text("experiences: [[dna]]\n")
        settings = (
            f"scenario={place.to('one.yaml')}",
            "data=manifest",
            f"data.manifest={manifest}",
            f"data.cache_dir={place.to('cache')}",
            "data.voxel_size_um=[0.3,0.3,0.3]",
            "data.patch_size=[4,8,8]",
            "train.epochs=1",
            "model.width=2",
            "model.depth=1",
            "device=cpu",
            f"hydra.run.dir={place.to('new')}",
        )
        succeed(capsys, "run", *settings)
        results = RunFolder(place.real / "new").read_results()
        words = shlex.split(results["command"])
        assert set(words[2:]) == set(settings[:-1])
        succeed(capsys, "run", f"resume={place.to('new')}")


@worst_or_all
def test_extend(kinds, places, stock, capsys):
    for place in places(kinds):
        manifest = put_manifest(place, stock)
        if not manifest:
            continue
        text = (place.real / place.named(".csv")).read_text(encoding="utf-8")
        (place.real / "new.csv").write_text(text.replace("dna,", "new,"))
        model = place.put(".safetensors", stock / "base.safetensors")
        succeed(
            capsys, "extend", model, place.to("new.csv"), "--task", "new",
            "--out", place.to("out"), "--root", place.given, "--epochs", "1",
            "--cache-dir", place.to("cache"), "--image-curve", "none",
            "--patch-size", "4", "8", "8", "--workers", "1", "--device", "cpu",
        )  # fmt: skip
        assert load_model(place.real / "out" / "model.safetensors").task_names == (
            *TASKS,
            "new",
        )


@worst_or_all
@pytest.mark.parametrize("format_", ["torch", "onnx"])
def test_export(kinds, format_, places, stock, capsys):
    for place in places(kinds):
        if not place.is_unicode:
            continue
        model = place.put(".safetensors", stock / "base.safetensors")
        suffix = {"torch": ".pt2", "onnx": ".onnx"}[format_]
        out = place.to(place.named(suffix))
        options = ("--task", "dna", "--format", format_)
        succeed(capsys, "export", model, *options, "--out", out)
        assert (place.real / place.named(suffix)).stat().st_size > 1000


@pytest.mark.slow
def test_tables(places, stock, capsys):
    for place in places(("worst", "comma", "tilde")):
        manifest = put_manifest(place, stock)
        settings = ("data=manifest", f"data.manifest={manifest}", "run=false")
        words = (*settings, f"results={place.to('results')}")
        succeed(capsys, "tables", "table3", *words, status=3)
        assert (place.real / "results" / "table3.md").is_file()


def test_commas_part_the_values_of_a_sweep(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    seen = []
    words = ["data=manifest", "data.manifest=a [1].csv,b'.csv"]
    launch(["-m", *words], lambda config, *_: seen.append(config.data.manifest))
    assert seen == ["a [1].csv", "b'.csv"]
    (config,) = compose_runs([["data=manifest", "data.manifest='x, y.csv'"]])
    assert config.data.manifest == "x, y.csv"  # in quotes of Hydra's


def test_a_value_that_hydra_cannot_read_is_told_in_our_words(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for word, told in {
        "train.epochs=ä": "train.epochs=ä: not a value that can be read; give a number",
        "data.shape=[1,2": r"data.shape=\[1,2: not a value that can be read",
        "data.manfest=ä": "'data.manfest'.* did you mean data.manifest",
        "seed=1,2": "seed=1,2: give one value, or add -m to run with each of them",
        "hydra.run.dir=": "hydra.run.dir=: '': no path; name a file or a folder",
    }.items():
        with pytest.raises(UserError, match=told):
            launch([word], lambda *_: None)
    assert list(tmp_path.iterdir()) == []


def test_texts_of_files_are_never_resolved(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SECRET", "do not tell")
    texts = ("${oc.env:SECRET}", r"\${oc.env:SECRET}", r"\\${seed} ${", "${now:%Y}")
    for text in texts:
        name = text.replace("\\", "").replace(":", "_")
        content = {"name": name, "description": text, "experiences": [["dna"]]}
        Path("s.yaml").write_text(json.dumps(content))
        (config,) = compose_runs([["scenario=s.yaml"]])
        assert (config.scenario.name, config.scenario.description) == (name, text)
        written = dump_run_config(config)
        assert "do not tell" not in written
        assert load_run_config(written) == config
    Path("m.csv").write_text(
        "task,path,channel_signal,channel_target\ndna,${oc.env:SECRET},0,1"
    )
    with pytest.raises(UserError, match=r"'\$\{oc.env:SECRET\}': no such file"):
        ManifestCollection("m.csv")
    Path("s.yaml").write_text("{name: ../up, experiences: [[dna]]}")
    with pytest.raises(UserError, match=r"'\.\./up': no file can be called so"):
        load_scenario("s.yaml")


@few_or_all
def test_python(kinds, places, stock):
    for place in places(kinds):
        model = place.put_model(".safetensors", stock / "base.safetensors")
        image = place.put(".ome.tif", stock / "0.ome.tif")
        assert load_model(model).task_names == TASKS
        assert read_card(model).voxel_size_um == UM
        assert TrainedModel.outline(model).path.samefile(user_path(model))
        assert open_volume(image).shape == (2, *SHAPE)
        out = predict_file(
            model, image, place.to(place.named(".ome.zarr")), tasks="dna"
        )
        assert out.samefile(place.real / place.named(".ome.zarr"))
        stack = np.arange(2 * 4 * 4, dtype=np.uint16).reshape(2, 4, 4)
        for suffix in (".npy", ".zarr", ".saved.tif", ".saved.ome.tif"):
            name = place.named(suffix)
            save_volume(place.to(name), stack, axes="ZYX", voxel_size_um=UM)
            assert np.array_equal(open_volume(place.real / name).read_channel(0), stack)
        cells = SyntheticCells(
            1, 1, 1, shape=(8, 16, 16), tasks=["dna"], cache_dir=place.to("cells")
        )
        cells.pairs("dna", "test")[0].load()
        assert any((place.real / "cells").rglob("*"))
        (place.real / "tom20.csv").write_text("path_czi\nx/a.czi\n")
        assert read_published_order(place.given, "tom20") == ["a.czi"]


def test_a_link_that_is_written_to_is_replaced_and_its_store_stays(stock, tmp_path):
    store, link = tmp_path / "store", tmp_path / "m.safetensors"
    shutil.copyfile(stock / "a.safetensors", store)
    link.symlink_to("store")
    save_model(load_model(stock / "base.safetensors"), link, CARD)
    assert not link.is_symlink()
    assert store.read_bytes() == (stock / "a.safetensors").read_bytes()


def test_two_names_of_one_file_are_one_source(stock, tmp_path):
    shutil.copyfile(stock / "0.ome.tif", tmp_path / "store")
    for name in "ab":
        (tmp_path / f"{name}.ome.tif").symlink_to("store")
    head = "task,split,path,channel_signal,channel_target\n"
    rows = [
        f"dna,{split},{name}.ome.tif,0,1"
        for split, name in zip(SPLITS, "ab", strict=False)
    ]
    (tmp_path / "m.csv").write_text(head + "\n".join(rows))
    with pytest.raises(
        UserError, match=r"b\.ome\.tif is in 'valid' here and in 'train'"
    ):
        ManifestCollection(tmp_path / "m.csv", voxel_size_um=UM)


def test_what_is_not_there_is_said_to_be_a_link_to_nothing(tmp_path, capsys):
    (tmp_path / "a.ome.tif").symlink_to("store/gone")
    (tmp_path / "folder").symlink_to("elsewhere")
    (tmp_path / "m.csv").write_text(
        "task,path,channel_signal,channel_target\ndna,a.ome.tif,0,1\n"
    )
    told = "a link to store/gone, which is not there; fetch it"
    for words in (
        ("info", str(tmp_path / "a.ome.tif")),
        ("check", str(tmp_path / "a.ome.tif")),
    ):
        assert main(list(words)) == 2
        assert told in capsys.readouterr().err
    for call in (
        lambda: open_volume(tmp_path / "a.ome.tif"),
        lambda: ManifestCollection(tmp_path / "m.csv"),
    ):
        with pytest.raises(UserError, match=told):
            call()
    with pytest.raises(UserError, match="folder is a link to elsewhere"):
        open_volume(tmp_path / "folder" / "x.tif")


def test_no_path_is_refused_in_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for bad in ("", "a\0b", "n" * 256, "n/" * 3000):
        for call in (
            open_volume,
            load_model,
            RunFolder,
            lambda path: ManifestCollection(path),
            lambda path: save_volume(
                path, np.zeros((2, 2)), axes="YX", voxel_size_um=UM
            ),
        ):
            with pytest.raises(UserError, match=r"no path; name|cannot be used"):
                call(bad)
    assert list(tmp_path.iterdir()) == []


def test_a_path_that_was_read_means_itself(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for text, meant in {
        "~": tmp_path / "home",
        "~/x": tmp_path / "home" / "x",
        "./~/x": tmp_path / "~" / "x",
        "~$x.csv": Path("~$x.csv"),
        "a/../b": Path("a/../b"),
    }.items():
        assert user_path(text) == meant
        assert user_path(user_path(text)) == meant
    assert user_path("~/x", tmp_path / "sub") == tmp_path / "home" / "x"
    assert user_path("x", tmp_path / "sub") == tmp_path / "sub" / "x"


def test_no_command_reads_a_path_by_itself(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    words = ("--from", "fnet", "--tasks", "dna", "--out", "~/m.safetensors")
    assert main(["import", "~/weights.p", *words]) == 2
    assert str(tmp_path / "weights.p") in capsys.readouterr().err
    for module in Path(commands.__file__).parent.glob("*.py"):
        text = module.read_text(encoding="utf-8")
        assert not re.search(r"type=Path|Path\((chosen|argument|resumed|own)", text), (
            module
        )
