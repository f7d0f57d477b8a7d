"""Every command in the manual is understood, and is run, or a list says why not.

``python tests/cli/test_docs.py`` prints all commands, and how each is tested.
"""

import re
import shlex
import shutil
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch

from continual_repmode.commands import VERBS
from continual_repmode.config.run import setting_options
from continual_repmode.models import ModelCard, RepModeUNet, save_model
from continual_repmode.synthetic import simulate_field
from continual_repmode.volumes.formats.writing import save_volume

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
OF_HYDRA = {"hydra.run.dir", "hydra.sweep.dir", "hydra/launcher", "experiment"}

RUN = "run here"
LONG = "run here, slow"
NAMED = "only named"
NEEDS = {
    "download nucleolus tom20 --to allen": "network: test_download.py has its server",
    "import model.p --from repmode --out model.safetensors": "files: test_import.py",
    "import dna.p tom20.p --from fnet --tasks dna,mitochondria --out fnets.safetensors":
        "files: test_import.py",
    "demo": "minutes: test_demo.py, in short",
    "run hydra.run.dir=runs/mine": "test_readme.py",
    "run scenario=mine.yaml data=manifest data.manifest=volumes.csv":
        "test_manifest_run.py",
    "run data=manifest data.manifest=pairs.csv scenario=mine.yaml plan=auto":
        "test_plan.py",
    "extend model.safetensors pairs.csv --task lysosome --plan auto":
        "test_extension.py",
    "predict runs/mine/RUN/checkpoints/experience_0.safetensors field.czi "
    "--out predicted": "the same as in README.md",
    "report runs/incremental/2026-01-31_12-00-00": "test_report.py",
    "report runs/sweeps/2026-01-31_12-00-00/* --out strategies.html":
        "test_report.py",
    "status runs/incremental/*": "test_status.py",
}  # fmt: skip
"""Commands that need what is not here -> what, or the test that runs them."""
HOURS = "hours: test_tables.py has small ones"
PLACEHOLDERS = {"MODEL", "RUN", "DIR", "FOLDER", "resume=FOLDER"}
SHORTER = {
    "extend": "--epochs 1 --image-curve none --loggers none --device cpu --workers 1",
    "predict": "--device cpu --overwrite",
    "merge": "--overwrite",
    "check": "--workers 1 --patch-size 8 16 16",
    "run": "data.num_train=1 data.num_valid=1 data.num_test=1 data.shape=[8,16,16] "
    "data.patch_size=[4,8,8] data.window=[8,16,16] model.width=2 model.depth=1 "
    "train.epochs=1 train.extension_epochs=1 train.batch_size=4 loggers=csv device=cpu",
}
"""What is added to the words of the manual."""


def how_tested(words: list[str]) -> str:
    """Say how a command of the manual is tested."""
    verb, *others = words
    text = shlex.join(words).replace("'", "")
    if text in NEEDS:
        return NEEDS[text]
    if not others or PLACEHOLDERS & set(others) or text == "check --headers-only":
        return NAMED
    if "--help" in others:
        return RUN
    if verb == "tables":
        return HOURS
    return LONG if verb == "run" else RUN


def commands() -> list[tuple[str, list[str]]]:
    """Return page and words of every command in a block or between backquotes."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        blocks = re.findall(r"^```(?:bash|sh|text)?\n(.*?)^```", text, re.M | re.S)
        lines = [line for block in blocks for line in block.splitlines()]
        plain = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
        lines += [" ".join(m.split()) for m in re.findall(r"`([^`]+)`", plain)]
        for line in lines:
            start = re.match(r"(?:[A-Z_]+=\S+ )*continual-repmode ([a-z]+)\b", line)
            if start and "..." not in line:
                words = shlex.split(line[start.end() :], comments=True)
                words = words[: words.index("&")] if "&" in words else words
                found.append((f"{page.name}: {line}", [start[1], *words]))
    return found


class Parsed(Exception):
    """The arguments are understood."""


def test_every_command_of_the_manual_is_understood(monkeypatch):
    told = commands()
    assert len(told) > 50
    settings = {*setting_options(), "scenario", "data", "model", "strategy", "train"}
    for line, (verb, *words) in told:
        assert verb in VERBS, line
        if verb in ("run", "tables") or {"--help", "-h"} & set(words):
            named = [w.partition("=")[0] for w in words if "=" in w and w[0] != "-"]
            known = settings | OF_HYDRA | {"seeds", "results", "rows", "metrics"}
            assert set(named) <= known, line
            continue
        if not words:  # the verb is mentioned, not called
            continue
        module = import_module(
            f"continual_repmode.commands.{verb}{'_' * (verb == 'import')}"
        )
        parse = module.parse

        def stop(parser, arguments, parse=parse):
            parse(parser, arguments)
            raise Parsed

        monkeypatch.setattr(module, "parse", stop)
        try:
            module.main(words)
        except Parsed:
            pass
        except Exception as error:
            if "arguments are required" not in str(error):  # a part of a call
                pytest.fail(f"{line}: {error}")
        monkeypatch.setattr(module, "parse", parse)


def to_run(how: str) -> list[list[str]]:
    """Return the commands that are run in this way, each once, in their order."""
    found: list[list[str]] = []
    for _, words in commands():
        if how_tested(words) == how and words not in found:
            found.append(words)
    return found


def test_the_list_names_nothing_that_is_gone_and_leaves_no_verb_out():
    told = [words for _, words in commands()]
    assert {shlex.join(words).replace("'", "") for words in told} >= NEEDS.keys()
    for why in NEEDS.values():
        for file in re.findall(r"test_\w+\.py", why):
            assert [*(ROOT / "tests").rglob(file)], file
    ways = {verb: {how_tested(w) for w in told if w[0] == verb} for verb in VERBS}
    only_named = [verb for verb, found in ways.items() if found <= {NAMED}]
    assert only_named == ["prepare"]  # test_prepare.py
    assert sum(how_tested(words) == RUN for words in told) > 25


@pytest.fixture(scope="module")
def desk(tmp_path_factory, write_czi) -> Path:
    """A folder with the files that the manual names: tiny models, generated cells."""
    folder = tmp_path_factory.mktemp("desk")
    um, shape = (0.29, 0.29, 0.29), (8, 40, 40)
    card = ModelCard(voxel_size_um=um, window=(8, 16, 16))
    for number, name in enumerate(("model", "a", "b", "c")):
        torch.manual_seed(number)
        net = RepModeUNet(("dna", "nucleolus"), width=2, depth=1).eval()
        save_model(net, folder / f"{name}.safetensors", card)
    for lab, task in (("lab_a", "lysosome"), ("lab_b", "peroxisome")):
        torch.manual_seed(0)
        net = RepModeUNet(("dna", "nucleolus"), width=2, depth=1)
        net.add_task(task)
        (folder / lab).mkdir()
        for path in (f"{lab}.safetensors", f"{lab}/model.safetensors"):
            save_model(net.eval(), folder / path, card)
    rows = ["task,path,channel_signal,channel_target"]
    for index in range(3):
        field = np.stack(simulate_field([index], shape, "dna")).astype(np.uint16)
        name = f"field{index}.ome.tif"
        save_volume(
            folder / name, field, axes="CZYX", voxel_size_um=um,
            channel_names=["Bright", "DAPI"],
        )  # fmt: skip
        tasks = ("dna", "mitochondria", "lysosome", "peroxisome")
        rows += [f"{task},{name},Bright,DAPI" for task in tasks]
    for name in ("volumes", "lab", "pairs"):
        (folder / f"{name}.csv").write_text("\n".join(rows))
    write_czi(
        folder / "field.czi", field, channel_names=["Bright", "DAPI"], voxel_size_um=um
    )
    save_volume(folder / "image.tif", field[0], axes="ZYX", voxel_size_um=um)
    return folder


def carry_out(how: str, folder: Path, command) -> None:
    """Run commands of the manual one after another, in the folder with the files."""
    for verb, *words in to_run(how):
        if verb == "extend" and "pairs.csv" in words:  # for a folder of the same name
            shutil.rmtree(folder / "model+lysosome")
        named = {word.partition("=")[0] for word in words}
        added = [] if "--help" in words else SHORTER.get(verb, "").split()
        added = [word for word in added if word.partition("=")[0] not in named]
        done = command(verb, *words, *added, cwd=folder)
        passed = (0, 3) if verb == "check" else (0,)  # 3: warnings
        assert done.returncode in passed, f"{verb} {words}: {done.stderr}{done.stdout}"


def test_the_commands_of_the_manual_do_what_it_says(desk, command):
    pytest.importorskip("onnxruntime")
    carry_out(RUN, desk, command)


@pytest.mark.slow
def test_the_runs_of_the_manual_do_what_it_says(desk, command):
    carry_out(LONG, desk, command)


def test_every_page_is_in_the_manual_and_every_picture_has_its_command():
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert re.search(rf"[ :]{page.name}$", nav, re.M), page.name
    gallery = (ROOT / "docs" / "gallery.md").read_text(encoding="utf-8")
    shown = re.findall(r"!\[[^\]]*\]\(figures/([\w.]+)\)\n\n```\n\S", gallery)
    assert {f.name for f in (ROOT / "docs" / "figures").iterdir()} == set(shown)


if __name__ == "__main__":
    for told, called in commands():
        sys.stdout.write(f"{told}\n    {how_tested(called)}\n")
