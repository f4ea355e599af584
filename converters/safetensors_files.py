"""Safetensors on disk: reading by mapping files into memory, and a writer that holds one tensor at a time."""

from __future__ import annotations

import json
import math
import mmap
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open

from xltjax.common.errors import UserError
from xltjax.common.files import parse_json, read_text

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
SAFETENSORS_DTYPES: dict[str, np.dtype] = {
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
}
Header = dict[str, tuple[np.dtype, tuple[int, ...]]]  # dtype and shape of each tensor of a file
_NAMES = {dtype: name for name, dtype in SAFETENSORS_DTYPES.items()}


def map_tensors(directory: Path, single: str = SINGLE) -> dict[str, np.ndarray]:
    """Every tensor of a Hugging Face directory as a read-only view of its file, mapped into memory.

    Nothing is read until a view is indexed, and then only the pages that hold the requested part.

    Args:
        directory: a directory with an index of shards, or with a single file.
        single: the name of the single file.

    Raises:
        UserError: for a directory without safetensors (pickled ``.bin`` files are refused, never
            read), a damaged or missing shard, or an index that points outside the directory.
    """
    index = _read_index(directory, single)
    files = {
        file: _map_file(directory, file) for file in (sorted(set(index.values())) if index else [single])
    }
    tensors = {name: view for views in files.values() for name, view in views.items()}
    for name, file in (index or {}).items():
        if name not in files[file]:
            raise UserError(f"{directory / INDEX} places {name} in {file}, which does not hold it")
        tensors[name] = files[file][name]
    return tensors


def _map_file(directory: Path, file: str) -> dict[str, np.ndarray]:
    path = directory / file
    _refuse_escape(directory, path)
    if not path.is_file():
        raise UserError(f"{path} is missing; the index names it")
    try:
        with safe_open(path, framework="numpy"):
            pass  # opening alone checks the header: its form, shapes, and offsets against the file's size
    except SafetensorError as problem:
        raise UserError(f"{path} is damaged or truncated ({problem}); download it again") from None
    with path.open("rb") as opened:
        data = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
    length = 8 + int.from_bytes(data[:8], "little")
    views = {}
    for name, entry in json.loads(data[8:length]).items():
        if name == "__metadata__":
            continue
        if entry["dtype"] not in SAFETENSORS_DTYPES:
            raise UserError(
                f"{path}: {name} has dtype {entry['dtype']}; supported: {', '.join(SAFETENSORS_DTYPES)}"
            )
        first, last = entry["data_offsets"]
        raw = np.frombuffer(data, np.uint8, last - first, length + first)
        views[name] = raw.view(SAFETENSORS_DTYPES[entry["dtype"]]).reshape(entry["shape"])
    return views


def _read_index(directory: Path, single: str) -> dict[str, str] | None:
    """The file that holds each tensor, by the tensor's name; None for a directory with a single file."""
    if not directory.is_dir():
        raise UserError(f"model directory {directory} does not exist")
    if not (directory / INDEX).exists():
        if (directory / single).exists():
            return None
        if any(directory.glob("*.bin")) or any(directory.glob("*.pt")) or any(directory.glob("*.pth")):
            raise UserError(
                f"{directory} holds only pickled weights (.bin), which can run code and are never opened; "
                "convert them with transformers: from_pretrained(...).save_pretrained(...)"
            )
        raise UserError(f"{directory} holds neither {single} nor {INDEX}")
    document = parse_json(read_text(directory / INDEX), directory / INDEX)
    index = document.get("weight_map") if isinstance(document, dict) else None
    if not isinstance(index, dict) or not all(isinstance(file, str) for file in index.values()):
        raise UserError(f"{directory / INDEX} is not an index of safetensors (weight_map)")
    return index


def _refuse_escape(directory: Path, path: Path) -> None:
    """Refuse a shard that lies outside the directory.

    In the cache of the Hugging Face hub, files are links into a folder ``blobs`` beside it; these are accepted.
    """
    roots = [directory.resolve()]
    if directory.absolute().parent.name == "snapshots":
        roots.append((directory.absolute().parent.parent / "blobs").resolve())
    real = path.resolve()
    if not any(real.is_relative_to(root) for root in roots):
        raise UserError(
            f"{path} leaves the model directory (it leads to {real}) and is not read; copy the file into the "
            "directory if you trust it"
        )


def write_safetensors(path: Path, header: Header, tensor: Callable[[str], np.ndarray]) -> None:
    """Write one safetensors file while holding only one tensor in memory.

    The writer of the safetensors library needs all tensors of a file at once.

    Args:
        path: the file to write.
        header: the dtype and shape of every tensor, in the order in which they are written.
        tensor: a function that returns the tensor with a given name; it is called once for each.
    """
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, (dtype, shape) in header.items():
        size = math.prod(shape) * dtype.itemsize
        entries[name] = {
            "dtype": _NAMES[dtype],
            "shape": list(shape),
            "data_offsets": [offset, offset + size],
        }
        offset += size
    encoded = json.dumps(entries, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)  # the format aligns the data to 8 bytes
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(encoded)) + encoded)
        for name, (dtype, shape) in header.items():
            file.write(_bytes(tensor(name), name, dtype, shape))
        file.flush()
        os.fsync(file.fileno())  # the error of a full disk may come only here


def _bytes(array: np.ndarray, name: str, dtype: np.dtype, shape: tuple[int, ...]) -> memoryview:
    """The memory of ``array`` as plain bytes, since Python's buffers do not support bfloat16."""
    if array.dtype != dtype or array.shape != shape:
        raise ValueError(f"{name} is {array.dtype}{array.shape}, not {dtype}{shape}")
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
