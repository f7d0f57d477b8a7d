"""Pages of the notebooks with their outputs: ``python docs/notebooks.py [NAME ...]``.

Executes notebooks, in minutes each, and writes ``docs/notebooks/NAME.md`` and its
pictures. The site takes these as they are, so that building it stays quick;
``tests/notebooks`` sees that they show the notebooks as they are now.
"""

import base64
import io
import re
import sys
from pathlib import Path
from typing import Any

import nbformat
from PIL import Image

ROOT = Path(__file__).parents[1]
PAGES = Path(__file__).parent / "notebooks"
_COLORS = 128
"""Of a picture; more make files larger, but no difference that is seen."""


def main(names: list[str]) -> None:
    """Execute notebooks, all by default, and write their pages."""
    from nbclient import NotebookClient

    folder = ROOT / "notebooks"
    for name in names or [path.stem for path in sorted(folder.glob("*.ipynb"))]:
        notebook = nbformat.read(folder / f"{name}.ipynb", as_version=4)
        resources = {"metadata": {"path": str(folder)}}
        NotebookClient(notebook, timeout=3600, resources=resources).execute()
        print(write_page(name, notebook))


def write_page(name: str, notebook: Any) -> Path:
    """Write the page of a notebook, with the outputs that it has."""
    PAGES.mkdir(exist_ok=True)
    parts = []
    for cell in notebook["cells"]:
        parts.append(source_of(cell))
        outputs = cell.get("outputs", [])
        printed = [o["text"] for o in outputs if o.get("name") == "stdout"]
        if printed:
            parts.append(as_text("".join(printed)))
        for number, output in enumerate(outputs):
            picture = PAGES / f"{name}-{cell['id']}-{number}.png"
            parts.append(shown(output, picture))
    path = PAGES / f"{name}.md"
    path.write_text("\n\n".join(filter(None, parts)) + "\n", encoding="utf-8")
    return path


def source_of(cell: Any) -> str:
    """Return a cell without its outputs, as Markdown."""
    if cell["cell_type"] == "code":
        return f"```python\n{cell['source']}\n```"
    return re.sub(r"\]\((\w+)\.ipynb\)", r"](\1.md)", cell["source"])


def shown(output: Any, picture: Path) -> str:
    """Return what is not printed as Markdown; a picture is written."""
    data = output.get("data", {})
    if "image/png" in data:
        image = Image.open(io.BytesIO(base64.b64decode(data["image/png"])))
        small = image.convert("RGB").quantize(_COLORS)
        small.save(picture, optimize=True)
        return f"![output]({picture.name})"
    if "text/html" in data:
        return re.sub(
            r"<style.*?</style>|^ +|\n", "", data["text/html"], flags=re.S | re.M
        )
    return as_text(data.get("text/plain", ""))


def as_text(text: str) -> str:
    """Return what was printed, without the names of folders that were made for it."""
    text = re.sub(r"\S*/(?:quickstart|extend_your_own)_\w+/", "FOLDER/", text)
    text = re.sub(r"\S*/(?:quickstart|extend_your_own)_\w+", "FOLDER", text)
    return f"```text\n{text.rstrip()}\n```" if text.strip() else ""


if __name__ == "__main__":
    main(sys.argv[1:])
