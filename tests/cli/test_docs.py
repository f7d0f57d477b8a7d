"""Every command in the manual is understood; a list says where each verb is run.

``python tests/cli/test_docs.py`` prints the list.
"""

import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest

from continual_repmode.commands import VERBS
from continual_repmode.config.run import setting_options

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
OF_HYDRA = {"hydra.run.dir", "hydra.sweep.dir", "hydra/launcher", "experiment"}

TESTED_BY = {
    "check": "tests/cli/test_check.py",
    "demo": "tests/cli/test_demo.py",
    "download": "tests/cli/test_download.py",
    "export": "tests/cli/test_export.py",
    "extend": "tests/cli/test_extend.py",
    "import": "tests/cli/test_import.py",
    "info": "tests/cli/test_info.py",
    "inspect": "tests/cli/test_inspect.py",
    "merge": "tests/cli/test_merge.py",
    "predict": "tests/cli/test_predict.py",
    "prepare": "tests/cli/test_prepare.py",
    "report": "tests/cli/test_report.py",
    "run": "tests/cli/test_run.py",
    "status": "tests/cli/test_status.py",
    "tables": "tests/cli/test_tables.py",
}
"""Where each verb is carried out, on images and models that are small."""


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


def test_every_verb_is_carried_out_by_a_test():
    assert TESTED_BY.keys() == VERBS.keys()
    for verb, path in TESTED_BY.items():
        assert verb in (ROOT / path).read_text(encoding="utf-8"), path


def test_every_page_is_in_the_manual_and_every_picture_has_its_command():
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert re.search(rf"[ :]{page.name}$", nav, re.M), page.name
    gallery = (ROOT / "docs" / "gallery.md").read_text(encoding="utf-8")
    shown = re.findall(r"!\[[^\]]*\]\(figures/([\w.]+)\)\n\n```\n\S", gallery)
    assert {f.name for f in (ROOT / "docs" / "figures").iterdir()} == set(shown)


if __name__ == "__main__":
    for told, (called, *_) in commands():
        print(f"{told}\n    {TESTED_BY[called]}")
