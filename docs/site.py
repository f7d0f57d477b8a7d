"""Pages that MkDocs makes while it builds: settings, verbs, API, files of the root."""

import inspect
import io
import re
from contextlib import redirect_stdout
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
PAGES = {
    "RESULTS.md": "project/results.md",
    "BENCHMARKS.md": "project/benchmarks.md",
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
}
"""Pages of the root of the project, and where they are in the site."""

GROUPS = ("scenario", "data", "model", "strategy", "train")
"""Settings that have settings of their own."""


def on_files(files: Files, config: Any) -> Files:
    """Add what is made here, and what is kept elsewhere."""
    made = {
        "reference/settings.md": settings_page(),
        "reference/verbs.md": verbs_page(),
        "reference/api.md": api_page(),
    }
    for name, place in PAGES.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        made[place] = from_root(text)
    for path in sorted((ROOT / "results").rglob("*")):
        if path.suffix in {".md", ".png"}:
            place = f"project/{path.relative_to(ROOT).as_posix()}"
            files.append(File.generated(config, place, abs_src_path=str(path)))
    for place, text in made.items():
        files.append(File.generated(config, place, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Lead links to pages of the root to where they are in the site."""
    for name, place in PAGES.items():
        markdown = markdown.replace(f"](../{name}", f"]({place}")
    return without_links(markdown, r"\.\./(?:tests|notebooks|configs|scenarios)[^)]*")


def on_page_content(html: str, **_: Any) -> str:
    """Show what docstrings mention, such as a class, by its short name."""
    roles = r":(?:class|func|mod|meth|data|attr):<code>~?([^<]*)</code>"
    return re.sub(roles, lambda m: f"<code>{m[1].rpartition('.')[2]}</code>", html)


def from_root(text: str) -> str:
    """Return a page of the root with links as they are in ``project/``."""
    for name, place in PAGES.items():
        text = text.replace(f"]({name}", f"]({Path(place).name}")
    text = re.sub(r"\]\(docs/([^)]*)\)", r"](../\1)", text)
    return without_links(text, r"(?:results|tests|notebooks|configs)/?")


def without_links(text: str, target: str) -> str:
    """Return Markdown without the links to what is not in the site."""
    return re.sub(rf"\[([^\]]*)\]\({target}\)", r"\1", text)


def settings_page() -> str:
    """Describe every setting of ``continual-repmode run``, from the config classes."""
    from continual_repmode.config import run

    groups = {
        "General": {"": run.RunConfig},
        "scenario": {"scenario": run.Scenario},
        "train": {"train": run.TrainConfig},
        **{
            group: {
                f"{group}={option}": schema
                for option, schema in run._schemas(group).items()
            }
            for group in run.GROUPS
        },
    }
    parts = [
        "# Settings\n\nOf `continual-repmode run`: `name=value`, read from the classes "
        "that check them. A preset of `configs/` may have other values; "
        "`continual-repmode run --cfg job` prints those of a run.\n"
    ]
    for group, schemas in groups.items():
        parts.append(f"## {group}\n")
        for option, schema in schemas.items():
            prefix = "" if group == "General" else f"{group}."
            if "=" in option:
                about = (inspect.getdoc(schema) or "").partition("\n")[0]
                parts.append(f"### `{option}`\n\n{escaped(about)}\n")
            parts.append(settings_table(schema, prefix))
    return "\n".join(parts)


def settings_table(schema: type, prefix: str) -> str:
    """Return a table of the fields of a config class."""
    comments: dict[str, str] = {}
    for kind in reversed(schema.__mro__[:-1]):
        try:
            source = inspect.getsource(kind)
        except (OSError, TypeError):
            continue
        for comment, name in re.findall(r"((?:^ *#:.*\n)+) *(\w+):", source, re.M):
            comments[name] = " ".join(re.sub(r"^ *#:", "", comment, flags=re.M).split())
    rows = ["| setting | default | meaning |", "| --- | --- | --- |"]
    for item in fields(schema):
        if item.name in GROUPS:
            continue
        default: Any = item.default
        if item.default_factory is not MISSING:
            default = item.default_factory()
        shown = "" if default in (MISSING, "???") else f"`{default}`"
        shown = shown.replace("None", "null").replace("'", "")
        about = escaped(comments.get(item.name, ""))
        rows.append(f"| `{prefix}{item.name}` | {shown} | {about} |")
    return "\n".join([*rows, ""])


def escaped(text: str) -> str:
    """Return a sentence that a cell of a table can hold."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("``", "`")


def verbs_page() -> str:
    """Show the help of every verb, as the command prints it."""
    from continual_repmode.__main__ import main
    from continual_repmode.commands import VERBS

    parts = ["# Verbs\n\n`continual-repmode VERB --help`, as it is printed.\n"]
    for verb, about in VERBS.items():
        said = io.StringIO()
        with redirect_stdout(said):
            main([verb, "--help"])
        parts.append(f"## {verb}\n\n{about}\n\n```text\n{said.getvalue()}```\n")
    return "\n".join(parts)


def api_page() -> str:
    """List every public name, where its docstring is."""
    stub = (ROOT / "continual_repmode" / "__init__.pyi").read_text(encoding="utf-8")
    parts = [
        "# Python API\n\nThe names that `continual_repmode` offers; "
        "[In Python](../python.md) says what to use when.\n"
    ]
    imports = re.findall(r"from \.([\w.]+) import (?:\(([^)]*)\)|([^\n(]*))", stub)
    found = {
        name.strip(): f"continual_repmode.{module}.{name.strip()}"
        for module, several, one in imports
        for name in (several or one).split(",")
        if name.strip()
    }
    parts += [f"::: {found[name]}\n" for name in sorted(found)]
    return "\n".join(parts)
