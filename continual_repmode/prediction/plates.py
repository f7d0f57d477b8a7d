"""OME-Zarr plates (the HCS layout): their fields, and plates of predictions."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from continual_repmode.errors import UserError
from continual_repmode.files import write_whole
from continual_repmode.volumes.formats.ngff import ZarrNode, field_of

_DEPTH = 3
"""A field is in a well, that in a row, that in a plate: ``plate.zarr/A/1/0``."""


def fields_of(folder: Path) -> list[Path]:
    """Return the images of a plate, of a row or of a well; any other is itself one.

    Raises UserError if the metadata of a plate are damaged.
    """
    try:
        node = ZarrNode.read(folder)
    except UserError:
        return [folder]  # told when it is opened
    for kind, parts in (("plate", "wells"), ("well", "images")):
        if kind in node.attributes:
            inside = [node.child(path) for path in _paths(node, kind, parts)]
            return [field for each in inside for field in fields_of(each)]
    if node.is_array or node.attributes:
        return [folder]
    wells = [
        well
        for well in sorted(folder.iterdir())
        if well.is_dir() and "well" in _attributes(well)
    ]
    return [field for well in wells for field in fields_of(well)] or [folder]


def place_in_plate(image: Path) -> tuple[Path, str] | None:
    """Return the plate that an image is a field of, and its place such as ``A/1/0``."""
    image = image.absolute()
    if len(image.parents) <= _DEPTH or "well" not in _attributes(image.parent):
        return None
    plate = image.parents[_DEPTH - 1]
    if "plate" not in _attributes(plate):
        return None
    return plate, image.relative_to(plate).as_posix()


def describe_plates(made: Iterable[tuple[Path, Path]], root: Path) -> None:
    """Write the metadata of plates of predictions, for the fields that are there.

    ``made``: folders of a plate that was read, and of the plate of its predictions.
    """
    for source, target in sorted(set(made)):
        with FileLock(root / f".{target.name}.lock"):  # others add theirs meanwhile
            _describe_plate(ZarrNode.read(source), target)


def _describe_plate(source: ZarrNode, target: Path) -> None:
    plate, wells = source.attributes["plate"], []
    for well in plate["wells"]:
        node = ZarrNode.read(source.child(str(well["path"])))
        content = node.attributes["well"]
        images = [
            image
            for image in content["images"]
            if (target / well["path"] / image["path"] / "zarr.json").is_file()
        ]
        if images:
            wells.append(well)
            folder = target / well["path"]
            _write_group(folder, {"well": {**content, "images": images}})
            _write_group(folder.parent, {})
    _write_group(target, {"plate": {**plate, "wells": wells}})


def _write_group(folder: Path, attributes: Mapping[str, Any]) -> None:
    """Write the metadata of a folder as OME-Zarr 0.5, which has one version for all."""
    for content in attributes.values():
        content.pop("version", None)
    ome = {"ome": {"version": "0.5", **attributes}} if attributes else {}
    group = {"zarr_format": 3, "node_type": "group", "attributes": ome}
    write_whole(folder / "zarr.json", json.dumps(group, indent=1))


def _paths(node: ZarrNode, kind: str, parts: str) -> list[str]:
    where = node.files[0]
    listing = field_of(where, node.attributes, kind, dict)
    found = [
        part.get("path") if isinstance(part, dict) else None
        for part in field_of(where, listing, parts, list)
    ]
    if not found or not all(isinstance(path, str) for path in found):
        raise UserError(f"{where}: the {parts} of this {kind} have no paths")
    return [str(path) for path in found]


def _attributes(folder: Path) -> Mapping[str, Any]:
    try:
        return ZarrNode.read(folder).attributes
    except UserError:
        return {}
