"""What napari reads to find the widget."""

import inspect
import tomllib
from importlib import import_module
from pathlib import Path

import pytest
from magicgui.widgets import Widget

import continual_repmode.napari_plugin

MANIFEST = Path(continual_repmode.napari_plugin.__file__).with_name("napari.yaml")
PROJECT = Path(__file__).parents[3] / "pyproject.toml"

# npe2 uses what newer versions of pydantic call deprecated
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def read(path: Path):
    from npe2 import PluginManifest

    return PluginManifest.from_file(path)


def test_the_manifest_is_valid_and_offers_one_widget_and_no_reader():
    manifest = read(MANIFEST)
    manifest.validate_imports()

    (widget,) = manifest.contributions.widgets
    assert widget.display_name == "Predict structures"
    assert widget.command in [c.id for c in manifest.contributions.commands]
    assert not manifest.contributions.readers


def test_its_command_is_a_widget_that_asks_napari_for_the_viewer():
    (command,) = read(MANIFEST).contributions.commands
    module, _, name = command.python_name.partition(":")
    widget = getattr(import_module(module), name)

    assert issubclass(widget, Widget)
    parameters = inspect.signature(widget.__init__).parameters
    assert list(parameters) == ["self", "napari_viewer"]


def test_the_package_tells_napari_where_the_manifest_is():
    project = tomllib.loads(PROJECT.read_text())["project"]
    entry = project["entry-points"]["napari.manifest"]["continual-repmode"]
    module, _, name = entry.partition(":")

    assert Path(import_module(module).__file__).with_name(name) == MANIFEST
    assert read(MANIFEST).name == project["name"]
