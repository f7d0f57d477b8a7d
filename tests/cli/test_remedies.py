"""The remedy that a message names works: the same call with it is no longer refused."""

import argparse
import functools
import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from published_programs import fnet_state, repmode_state

from continual_repmode.commands import run
from continual_repmode.exporting.deviation import Deviation
from continual_repmode.models import (
    ModelCard,
    RepModeUNet,
    TaskCard,
    load_model,
    read_card,
    save_model,
)
from tests.cli.odd_lab import UM, Call, Said

LEARN = "--task lab --epochs 1 --image-curve none --device cpu --out NEW"
P, ONE = "predict model.safetensors", "--tasks dna --out out --estimate"
X = "extend model.safetensors"

REMEDIES: list[tuple[str, str, str]] = [
    (f"{P} lapse.ome.tif {ONE}", "by --choose time=0", "{} --choose time=0"),
    (f"{P} cameras.ome.tif {ONE}", "with --channel", "{} --channel index:0"),
    (f"{P} none.npy {ONE}", "--voxel-size Z Y X", "{} --voxel-size .3 .3 .3"),
    (f"{P} bare.csv {ONE}", "--voxel-size Z Y X", "{} --voxel-size .3 .3 .3"),
    (f"{P} bare.csv {ONE}", "fill the columns voxel", f"{P} filled.csv {ONE}"),
    (f"{P} times.csv {ONE}", "the column 'time'", f"{P} chosen.csv {ONE}"),
    (f"{P} moved.csv {ONE}", "(--root DIR)", "{} --root sub"),
    (f"{P} a.ome.tif --out o --estimate --target DAPI", "one with --tasks",
     "{} --tasks dna --target name:DAPI"),
    (f"{P} noisy0.ome.tif {ONE}", "continue with --yes", "{} --yes"),
    (f"{P} a.ome.tif {ONE} --target DAPI", "name:DAPI", "{} --target name:DAPI"),
    (f"{P} a.ome.tif {ONE} --target DAPI", "./DAPI", "{} --target ./DAPI"),
    (f"{P} a.ome.tif {ONE} --metrics nrmse", "give --target, or a manifest",
     "{} --metrics nrmse --target name:DAPI"),
    (f"{P} lapse.ome.tif {ONE} --choose time=0 --series per-frame",
     "give --choose time=all", "{} --choose time=all"),
    (f"{P} gaps.ome.zarr {ONE} --refuse-missing-chunks",
     "leave out --refuse-missing-chunks", f"{P} gaps.ome.zarr {ONE}"),
    (f"{P} a.ome.tif {ONE} --ensemble model.safetensors", "leave one out",
     f"{P} a.ome.tif {ONE}"),
    (f"{P} a.ome.tif {ONE} --device cuda", "use cpu", "{} --device cpu"),
    (f"predict old.safetensors a.ome.tif {ONE}", "--model-voxel-size Z Y X",
     "{} --model-voxel-size .3 .3 .3"),
    (f"{P} a.ome.tif --out out --estimate --intensity target", "use zscore",
     "{} --intensity zscore"),
    ("check moved.csv --headers-only --patch-size 4 16 16", "(--root DIR)",
     "{} --root sub"),
    ("check bare.csv --headers-only --patch-size 4 16 16", "--source-voxel-size Z Y X",
     "{} --source-voxel-size .3 .3 .3"),
    ("check bare.csv --headers-only", "fill the columns voxel",
     "check filled.csv --headers-only --patch-size 4 16 16"),
    ("check thin.csv --headers-only --yes", "--pad-small", "{} --pad-small"),
    (
        "check thin.csv --headers-only --yes",
        "--patch-size Z Y X",
        "{} --patch-size 1 16 16",
    ),
    ("check times.csv --headers-only", "by the column 'time'",
     "check chosen.csv --headers-only --patch-size 4 16 16"),
    ("check six.csv --headers-only", "by the columns z0, z1",
     "check sixcrop.csv --headers-only --patch-size 2 16 16"),
    ("prepare bare.csv", "--source-voxel-size Z Y X",
     "{} --source-voxel-size .3 .3 .3"),
    (f"{X} thin.csv {LEARN} --yes", "--pad-small", "{} --pad-small"),
    (f"{X} bare.csv {LEARN}", "--source-voxel-size Z Y X",
     "{} --source-voxel-size .3 .3 .3 --patch-size 2 16 16"),
    (f"{X} pairs.csv {LEARN} --patch-size 8 16 16", "choose 6 or less",
     "{} --patch-size 6 16 16"),
]  # fmt: skip
"""A call that is refused, the remedy of the message, and the call that follows it."""


T = "export model.safetensors --format torch"
TO = f"{T} --task dna --out NEW.pt2"
B = "export old.safetensors --task dna --format bioimageio --out NEW.zip"
SIGNED = "--license MIT --author A"
M = "merge a.safetensors b.safetensors --out NEW.safetensors"
M3 = "merge a.safetensors b.safetensors c.safetensors --out NEW.safetensors"
RELEASE = "import rep.p --from repmode --out NEW.safetensors"
FNETS = "import fnet.p fnet2.p --from fnet --out NEW.safetensors"
ORDER = "microtubule,dna,nucleolus"
D = "download zo1 --to NEW --mirror URL --no-manifest"
LISTED = "download zo1 --to NEW --mirror URL --published-lists"

S = (
    "run scenario=known.yaml data.num_train=2 data.num_valid=1 data.num_test=1 "
    "data.cache_dir=CELLS train.epochs=1 device=cpu model.depth=1"
)
SIZE = "data.shape=[8,16,16] data.patch_size=[8,16,16] model.width=2"
V = f"{SIZE} hydra.run.dir=NEW"
L = (
    "run data=manifest scenario=lab.yaml data.yes=true train.epochs=1 device=cpu "
    "model.width=2 model.depth=1 hydra.run.dir=NEW"
)
P4 = "data.patch_size=[4,16,16]"

OF_RUNS: list[tuple[str, str, str]] = [
    (f"{S} {V} seed=0,1", "give one value", f"{S} {V} seed=0"),
    (f"{S} {V} data.num_new=9", "or null for all", "{} data.num_new=null"),
    (f"{S} {V} data.patch_size=[8,32,32]", "are both given: leave one out", f"{S} {V}"),
    (f"{S} {V} data.manifest=pairs.csv", "leave it out, or", f"{S} {V}"),
    (f"{S} {V} strategy=adapter", "model=multihead_las", "{} model=multihead_las"),
    (f"{L} {P4} data.manifest=moved.csv", "data.root", "{} data.root=sub"),
]

OF_EXPORTS: list[tuple[str, str, str]] = [
    (f"{T} --task golgi", "it knows dna, nucleolus", "{} --task dna"),
    (f"{T} --task dna --out there.pt2", "give --overwrite", "{} --overwrite"),
    (f"{T} --task dna --out there.pt2", "or another --out", "{} --out NEW.pt2"),
    (f"{T} --task dna --out x.onnx", "is .pt2", "{} --out NEW.pt2"),
    (f"{T} --task all --out x.pt2", "--task all this is a folder", "{} --out NEW"),
    (
        f"{T} --task dna --voxel-size 0 1 1",
        "use sizes above",
        "{} --voxel-size .3 .3 .3 --out NEW.pt2",
    ),
    (f"{T} --task dna --voxel-size 1 1 1", "leave the option out", TO),
    (
        f"{T} --task dna --license X",
        "leave out --license and --author",
        TO,
    ),
    (f"{T} --task dna {SIGNED}", "leave out --license and --author", TO),
    (f"{T} --task dna --task dna", "leave one out", TO),
]
OF_PACKAGES: list[tuple[str, str, str]] = [
    (f"{B} {SIGNED}", "give --voxel-size Z Y X", "{} --voxel-size .3 .3 .3"),
    (f"{B} --voxel-size .3 .3 .3", "needs --license and --author", f"{{}} {SIGNED}"),
    (
        f"{B} --voxel-size .3 .3 .3 --author A",
        "needs --license and --author",
        "{} --license MIT",
    ),
    (
        f"{B} --voxel-size .3 .3 .3 --license mine --author A",
        "CC-BY-4.0 or MIT",
        "{} --license CC-BY-4.0",
    ),
    (
        f"{B} --voxel-size .3 .3 .3 --license MIT --author A/B",
        "without slashes",
        "{} --author A",
    ),
    (
        f"export pair.safetensors --task dna --format bioimageio {SIGNED}",
        "use --format onnx",
        "export pair.safetensors --task dna --format onnx",
    ),
    (
        "export flat.safetensors --task dna --format onnx",
        "use continual-repmode predict",
        f"predict flat.safetensors a.ome.tif {ONE}",
    ),
]
OF_MERGES: list[tuple[str, str, str]] = [
    (
        "merge a.safetensors --out NEW.safetensors",
        "two or more",
        "merge a.safetensors d.safetensors --out NEW.safetensors",
    ),
    (M, "--rename golgi=NEW_NAME", "{} --rename golgi=golgi_b"),
    (
        M3,
        "--rename golgi=NEW_NAME, and merge two models at a time",
        f"{M} --rename golgi=golgi_b && merge NEW.safetensors c.safetensors --rename "
        "golgi=golgi_c --out more_NEW.safetensors",
    ),
    (
        f"{M3} --rename golgi=other",
        "merge two models at a time",
        f"{M} --rename golgi=other",
    ),
    (f"{M} --rename golgi", "write it as OLD=NEW", "{} --rename golgi=x"),
    (f"{M} --rename golgi=x --rename golgi=y", "give one", f"{M} --rename golgi=x"),
    (f"{M} --rename golgi=dna", "choose another name", "{} --rename golgi=x"),
    (f"{M} --rename golgi=all", "such as all_cells", "{} --rename golgi=all_cells"),
    (f"{M} --rename golgi=g:g", "use letters, digits", "{} --rename golgi=g_g"),
    (f"{M} --rename golgi=Dna", "rename one of them", "{} --rename golgi=golgi_b"),
    (
        "merge a.safetensors d.safetensors --out a.safetensors",
        "give another name",
        "{} --out NEW.safetensors",
    ),
    (
        "merge a.safetensors d.safetensors --out x.pt",
        "ends with .safetensors",
        "{} --out NEW.safetensors",
    ),
    (
        "merge a.safetensors d.safetensors --out b.safetensors",
        "give another name or",
        "{} --out NEW.safetensors",
    ),
    (
        "merge a.safetensors d.safetensors --out there.safetensors",
        "or --overwrite",
        "{} --overwrite",
    ),
    (
        "merge a.safetensors else.safetensors --out NEW.safetensors",
        "extend the same frozen file",
        "merge a.safetensors d.safetensors --out NEW.safetensors",
    ),
]
OF_IMPORTS: list[tuple[str, str, str]] = [
    (
        "import code.p --from repmode --out NEW.safetensors",
        "save its nn_state alone",
        f"import bare.p --from repmode --tasks {ORDER} --out NEW.safetensors",
    ),
    (
        "import fnet.p --from repmode --out NEW.safetensors",
        "use --from fnet",
        "{} --from fnet --tasks dna",
    ),
    (
        "import rep.p --from fnet --tasks dna --out NEW.safetensors",
        "use --from repmode",
        RELEASE,
    ),
    (
        "import bare.p --from repmode --out NEW.safetensors",
        "give them with --tasks",
        "{} --tasks a,b,c",
    ),
    (f"{RELEASE} --tasks a,b", f"has 3: {ORDER}", f"{{}} --tasks {ORDER}"),
    (f"{RELEASE} --tasks dna,nucleolus,microtubule", "leave it out", RELEASE),
    (
        f"{RELEASE} --tasks dna,nucleolus,microtubule",
        f"give {ORDER}",
        f"{{}} --tasks {ORDER}",
    ),
    (f"{RELEASE} --tasks a,a,b", "choose another name", "{} --tasks a,b,c"),
    (f"{RELEASE} --tasks a,none,b", "such as none_cells", "{} --tasks a,none_cells,b"),
    (
        "import rep.p bare.p --from repmode --out NEW.safetensors",
        "takes one file",
        RELEASE,
    ),
    (
        f"{FNETS} --tasks dna",
        "one name for each file, 2 in all",
        "{} --tasks dna,golgi",
    ),
    (
        "import fnet.p big.p --from fnet --tasks dna,golgi --out NEW.safetensors",
        "import them into files of their own",
        "import fnet.p --from fnet --tasks dna --out NEW.safetensors && "
        "import big.p --from fnet --tasks golgi --out big_NEW.safetensors",
    ),
    (
        f"{RELEASE} --voxel-size 0 1 1",
        "use micrometres, from",
        "{} --voxel-size .3 .3 .3",
    ),
    (
        "import rep.p --from repmode --out x.p",
        "ends with .safetensors",
        "{} --out NEW.safetensors",
    ),
    (
        "import rep.p --from repmode --out there.safetensors",
        "give another name",
        "{} --out NEW.safetensors",
    ),
    (
        "import rep.p --from repmode --out there.safetensors",
        "or --overwrite",
        "{} --overwrite",
    ),
]
OF_DOWNLOADS: list[tuple[str, str, str]] = [
    (
        "download zo2 --to NEW --mirror URL --no-manifest",
        "the tasks actin_filament,",
        "download tight_junction --to NEW --mirror URL --no-manifest",
    ),
    ("download zo2 --to NEW --mirror URL --no-manifest", "or the data sets", D),
    (f"{D} --mirror ftp://host", "--mirror is given twice: leave one out", D),
    (
        "download zo1 --no-manifest --to NEW --mirror ftp://host",
        "begin with https:// or",
        "{} --mirror URL",
    ),
    (
        "download zo1 --no-manifest --to NEW --mirror host",
        "not a web address",
        "{} --mirror URL",
    ),
    (
        "download zo1 --no-manifest --to NEW --mirror http://127.0.0.1:1",
        "check the network, --mirror",
        "{} --mirror URL",
    ),
    (
        "download zo1 --no-manifest --to NEW --mirror URL/other",
        "check --mirror",
        "{} --mirror URL",
    ),
    (
        "download zo1 --no-manifest --mirror URL --to a.ome.tif",
        "another folder with --to",
        "{} --to NEW",
    ),
    (f"{LISTED} sub", "takes the folder with the lists", "{} --published-lists lists"),
    (f"{LISTED} bad", "take the published list as it is", "{} --published-lists lists"),
    (
        f"{LISTED} more",
        "build the manifest without --published-lists",
        "download zo1 --to NEW --mirror URL",
    ),
    (
        f"cp half.tar.gz NEW/zo1.tar.gz && {D}",
        "delete it, or move it away",
        f"rm NEW/zo1.tar.gz && {D}",
    ),
    (f"cp wrong.tar.gz NEW/zo1.tar.gz && {D}", "give the same command again", D),
    (
        f"cp model.safetensors NEW/checksums.json && {D}",
        "correct or delete it",
        f"rm NEW/checksums.json && {D}",
    ),
    (
        f"cp old.json NEW/checksums.json && {D}",
        "if the new one is right, the entry",
        f"rm NEW/checksums.json && {D}",
    ),
    (
        f"cp a.ome.tif NEW/zo1/a.ome.tif && {D}",
        "or move it away to download it",
        f"mv NEW/zo1 NEW/aside && {D}",
    ),
]


def test_the_remedy_of_a_message_works(call):
    check_remedies(call, REMEDIES)


def test_the_remedies_of_settings_work(call, cells_cache, monkeypatch):
    """Up to where training would begin."""
    monkeypatch.setattr(run, "_carry_out", lambda *_: None)
    Path("known.yaml").write_text("experiences: [[dna, cell_membrane], [nucleolus]]\n")
    cells = [tuple(w.replace("CELLS", str(cells_cache)) for w in r) for r in OF_RUNS]
    check_remedies(call, cells)


def test_the_remedies_of_export_work(call, monkeypatch):
    from continual_repmode.exporting import export

    def exported(model, task, format, path, publication):
        export.check_request(format, publication)
        path.parent.mkdir(exist_ok=True)
        path.touch()
        return export.Exported(path, 0, Deviation(0, 0))

    monkeypatch.setattr(export, "export_task", exported)
    Path("there.pt2").touch()
    check_remedies(call, OF_EXPORTS)


@pytest.mark.slow  # packages are written and tested
def test_the_remedies_of_exported_packages_work(call):
    for name, channels, kind in (("pair", 2, None), ("flat", 1, "max")):
        net = RepModeUNet(("dna",), width=2, depth=1, in_channels=channels)
        card = ModelCard(voxel_size_um=UM, tasks={"dna": TaskCard(target_kind=kind)})
        save_model(net, f"{name}.safetensors", card)
    check_remedies(call, OF_PACKAGES)


def test_the_remedies_of_merge_work(call):
    torch.manual_seed(1)
    for name, base, task in (
        ("a", "model", "golgi"),
        ("b", "model", "golgi"),
        ("c", "model", "golgi"),
        ("d", "model", "lysosome"),
        ("else", "old", "lysosome"),
    ):
        net = load_model(f"{base}.safetensors")
        if name == "else":
            next(net.parameters()).data[0] += 1
        net.freeze()
        net.add_task(task)
        for tensor in net.parameters():
            if tensor.requires_grad:
                torch.nn.init.normal_(tensor)
        save_model(net, f"{name}.safetensors", read_card(f"{base}.safetensors"))
    Path("there.safetensors").touch()
    check_remedies(call, OF_MERGES)


def test_the_remedies_of_import_work(call):
    labels = ["alpha_tubulin", "dna", "fibrillarin"]
    options = argparse.Namespace(adopted_datasets=labels)
    release, code = repmode_state(3, 2, 1), functools.partial(int, "3")
    for name, content in {
        "rep": {"nn_state": release, "opts": options},
        "code": {"nn_state": release, "opts": code},
        "bare": release,
        "fnet": {"nn_state": fnet_state(2, 1)},
        "fnet2": {"nn_state": fnet_state(2, 1, 2)},
        "big": {"nn_state": fnet_state(3, 1)},
    }.items():
        torch.save(content, f"{name}.p")
    Path("there.safetensors").touch()
    check_remedies(call, OF_IMPORTS)


def test_the_remedies_of_download_work(call, web, pack, write_field):
    image = write_field(Path("one.ome.tif")).read_bytes()
    names = [f"zo1_{index}.ome.tif" for index in range(8)]
    archive = pack({f"zo1/{name}": image for name in names})
    web.files["/zo1.tar.gz"] = archive
    Path("half.tar.gz").write_bytes(archive[: len(archive) // 2])
    middle = len(archive) // 2
    wrong = archive[:middle] + bytes([archive[middle] ^ 255]) + archive[middle + 1 :]
    Path("wrong.tar.gz").write_bytes(wrong)
    entry = {"sha256": "0" * 64, "size": len(archive), "source": "x"}
    Path("old.json").write_text(json.dumps({"zo1.tar.gz": entry}))
    for folder, listed in {
        "lists": names,
        "bad": [*names, names[0]],
        "more": [*names, "other.ome.tif"],
    }.items():
        Path(folder).mkdir()
        Path(folder, "zo1.csv").write_text("\n".join(["path_czi", *listed]) + "\n")
    remedies = [
        tuple(word.replace("URL", web.url) for word in each) for each in OF_DOWNLOADS
    ]
    check_remedies(call, remedies)


def check_remedies(call: Call, remedies: list[tuple[str, str, str]]) -> None:
    failures = []
    for number, (words, remedy, again) in enumerate(remedies):
        words, again = (w.replace("NEW", f"new{number}") for w in (words, again))
        refused = do(call, words)
        if refused.status == 0 or remedy not in refused.told:
            failures.append(f"{words}\n  not refused so: {refused.text[-500:]}")
        given = re.findall(r"--\w[\w-]*|[\w./]+(?==)", again.partition("}")[2])
        done = do(call, again.replace("{}", without(words, given)))
        if done.status != 0:
            failures.append(f"{again}\n  does not work: {done.text[-500:]}")
    assert not failures, "\n".join(failures)


def do(call: Call, line: str) -> Said:
    """Call the command, and ``cp``, ``mv`` and ``rm``, one after another."""
    said = Said(0, "")
    for words in line.split(" && "):
        match words.split():
            case ["cp", source, target]:
                Path(target).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, target)
            case ["mv", source, target]:
                Path(source).rename(target)
            case ["rm", path]:
                Path(path).unlink()
            case _:
                said = call(words)
    return said


def test_the_memory_that_a_message_asks_for_is_enough(call):
    amount, tries = "5MB", 0
    while (said := call(f"{P} a.ome.tif {ONE} --memory {amount}")).status != 0:
        found = re.search(r"(?:allow|about|need) ([\d.]+) ?(MB|GB)", said.told)
        assert found, said.text
        amount, tries = f"{float(found[1]) * 1.01 + 1:.0f}{found[2]}", tries + 1
        assert tries < 4, said.text


def without(words: str, options: list[str]) -> str:
    """Return a call without the values of options that are given anew."""
    for option in options:
        rest = r"( [^-]\S*)*" if option.startswith("-") else r"=\S*"
        words = re.sub(rf" {option}{rest}", "", words)
    return words
