"""Tensors and a JSON header in one safetensors file, written all at once or not at all.

safetensors holds plain arrays only, so opening a file from elsewhere runs no code. The
header sits in the file's metadata under one key and always carries ``format`` and
``version``; what else is in it is the caller's business.
"""

import errno
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from continual_repmode.errors import UserError
from continual_repmode.files import replacing
from continual_repmode.paths import not_there, unicode_path

FORMAT = "continual_repmode"
VERSION = 4

_METADATA_KEY = "continual_repmode_header"


def write_tensors(
    path: str | Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]
) -> None:
    """Write tensors and a header to a file.

    The file appears under its name only when it is complete; missing folders are made.

    ``tensors``: on any device, of any layout; tensors that share memory are written
        separately.
    ``header``: without ``format`` and ``version``, which are added.
    Raises ValueError if the header uses a reserved key or holds NaN or infinity.
    """
    reserved = {"format", "version"} & set(header)
    if reserved:
        raise ValueError(f"header keys {sorted(reserved)} are reserved")
    text = json.dumps({"format": FORMAT, "version": VERSION, **header}, allow_nan=False)
    separate = _separate(tensors)
    num_bytes = len(text) + sum(tensor.nbytes for tensor in separate.values())
    with replacing(unicode_path(path), num_bytes=num_bytes) as temporary:
        try:
            save_file(separate, temporary, metadata={_METADATA_KEY: text})
        except SafetensorError as error:  # it tells of the disk in words only
            raise OSError(errno.ENOSPC, str(error)) from error


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the tensors (in memory of their own, on the CPU) and the header of a file.

    Raises UserError if the file is missing, truncated, not one of ours, or of a newer
        version.
    """
    with _opened(path) as (file, header):
        # Cloned: versions of safetensors differ in whether these map the file.
        return {name: file.get_tensor(name).clone() for name in file.keys()}, header  # noqa: SIM118


def read_header(path: str | Path) -> dict[str, Any]:
    """Read the header of a file alone; raises like :func:`read_tensors`."""
    with _opened(path) as (_, header):
        return header


def _separate(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return contiguous CPU tensors, none of which shares memory with another."""
    separate: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        flat = tensor.detach().cpu().contiguous()
        storage = flat.untyped_storage()
        if storage.nbytes() != flat.nbytes or storage.data_ptr() in seen:
            flat = flat.clone()
        seen.add(flat.untyped_storage().data_ptr())
        separate[name] = flat
    return separate


@contextmanager
def _opened(path: str | Path) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Open a file of ours and check its header."""
    path = unicode_path(path)
    if not path.is_file():
        raise UserError(f"{path}: {not_there(path)}")
    try:
        with safe_open(path, framework="pt") as file:
            yield (
                file,
                _checked_header((file.metadata() or {}).get(_METADATA_KEY), path),
            )
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{path}: cannot be read, it is truncated or no safetensors file ({error})"
        ) from None


def _checked_header(text: str | None, path: str | Path) -> dict[str, Any]:
    try:
        header = json.loads(text or "null")
    except json.JSONDecodeError:
        header = None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise UserError(f"{path}: not a file of this program (no {FORMAT} header)")
    version = header.get("version")
    if not isinstance(version, int) or version > VERSION:
        raise UserError(
            f"{path}: has format version {version}, this program reads up to "
            f"{VERSION}; update continual_repmode"
        )
    return header
