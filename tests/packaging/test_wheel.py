"""The installed package finds its configs and scenarios without the checkout."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Build the wheel and install it, without dependencies, into a folder."""
    target = tmp_path_factory.mktemp("site")
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--target",
            str(target),
            str(ROOT),
        ],
        check=True,
        capture_output=True,
    )
    return target


def test_the_source_archive_has_what_its_pages_link_to():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packed = settings["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    for page in ("README.md", "RESULTS.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        linked = {name.split("/")[0] for name in re.findall(r"\]\(([\w/.]+)\)", text)}
        assert linked
        assert linked <= set(packed), page


@pytest.mark.packaging
def test_an_installed_wheel_composes_a_run_from_any_folder(installed, tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "continual_repmode",
            "run",
            "--cfg",
            "job",
            "scenario=one_by_one",
            "train=paper",
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "width: 32" in done.stdout
    assert "name: one_by_one" in done.stdout
    found = subprocess.run(
        [sys.executable, "-c", "import continual_repmode as c; print(c.__file__)"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
    )
    assert found.stdout.startswith(str(installed))
    assert (installed / "continual_repmode" / "configs" / "run.yaml").is_file()
