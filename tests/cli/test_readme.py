"""What the README shows works as it is written."""

import os
import re
import subprocess
import sys
from pathlib import Path

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def test_the_python_of_the_readme_runs(tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len(blocks) == 2
    assert len(blocks[0].strip().splitlines()) <= 12
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", "\n".join(blocks)],
        cwd=tmp_path,
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    scores = [float(line) for line in done.stdout.splitlines()]
    assert len(scores) == 3
    assert (tmp_path / "model.safetensors").is_file()


def test_every_file_the_readme_names_is_there():
    root = Path(__file__).parents[2]
    linked = re.findall(r"\]\(([\w/.]+)\)", README)
    assert linked
    assert [name for name in linked if not (root / name).is_file()] == []
