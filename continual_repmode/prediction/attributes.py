"""What an output says of how it was made, read back."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from continual_repmode.errors import UserError
from continual_repmode.paths import user_path
from continual_repmode.volumes.formats.damage import damage_named, read_json
from continual_repmode.volumes.formats.image_metadata import NAMESPACE
from continual_repmode.volumes.formats.tiff_pages import open_tiff


def read_attributes(path: str | Path) -> dict[str, Any]:
    """Return what this program wrote into an OME-Zarr or OME-TIFF about it.

    Returns
    -------
    dict of str to JSON values
        Empty for files of others, damaged ones among them.
    """
    path = user_path(path)
    try:
        found = _of_zarr(path) if path.is_dir() else _of_tiff(path)
    except UserError:
        return {}
    return found if isinstance(found, dict) else {}


def _of_zarr(path: Path) -> Any:
    with damage_named(path, "no OME-Zarr"):
        return read_json(path / "zarr.json")["attributes"].get(NAMESPACE)


def _of_tiff(path: Path) -> dict[str, Any]:
    """Return the entries of our map annotation: texts, or JSON."""
    with damage_named(path, "no OME-TIFF"):
        with open_tiff(path) as tif:
            xml = tif.ome_metadata or ""
        root = ElementTree.fromstring(xml)
        ours = f".//{{*}}MapAnnotation[@Namespace='{NAMESPACE}']//{{*}}M"
        return {m.get("K", ""): _value(m.text or "") for m in root.iterfind(ours)}


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
