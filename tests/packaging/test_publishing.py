"""What a publisher sends: archives, recipe and citation agree with the project."""

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

import continual_repmode

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))[
    "project"
]
OTHER_NAMES = {"matplotlib": "matplotlib-base", "torch": "pytorch"}
"""What conda-forge calls a package."""


def read(name: str) -> dict:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def run_module(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.packaging
def test_wheel_and_source_archive_pass_twine_and_have_the_model(tmp_path):
    """``python -m build && twine check dist/*``."""
    build = ["build", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    run_module(*build)
    done = run_module("twine", "check", "--strict", *map(str, tmp_path.iterdir()))
    assert done.count("PASSED") == 2
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    for file in ("model.safetensors", "field_a.ome.tif", "field_b.ome.tif"):
        assert f"continual_repmode/demo/{file}" in names


def test_the_recipe_has_the_dependencies_and_the_version_of_the_project():
    recipe = read("packaging/conda-forge/recipe.yaml")
    wanted = []
    for text in PROJECT["dependencies"]:
        name, bounds = re.fullmatch(r"([\w-]+)([^;]*).*", text).groups()
        wanted.append(f"{OTHER_NAMES.get(name, name)} {bounds}".strip())
    assert recipe["requirements"]["run"][1:] == wanted
    assert recipe["requirements"]["run"][0] == f"python {PROJECT['requires-python']}"
    assert recipe["context"]["version"] == continual_repmode.__version__


def test_the_citation_has_the_version_and_license_of_the_project():
    citation = read("CITATION.cff")
    assert citation["version"] == PROJECT["version"] == continual_repmode.__version__
    assert citation["license"] == PROJECT["license"]
    (paper,) = citation["references"]
    assert paper["title"].startswith("RepMode: Learning to Re-parameterize")


def test_versions_of_python_are_said_and_forms_of_issues_are_whole():
    said = {c.rpartition(" ")[2] for c in PROJECT["classifiers"] if "Python :: 3." in c}
    assert said == {"3.11", "3.12", "3.13"}
    forms = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
    assert len(forms) == 3
    for path in forms:
        form = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert {"name", "description", "body"} <= form.keys()
