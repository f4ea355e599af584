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
from xltjax.common.files import read_json_object

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
SAFETENSORS_DTYPES: dict[str, np.dtype] = {
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
}
Header = dict[str, tuple[np.dtype, tuple[int, ...]]]  # dtype and shape of each tensor of a file
CHUNK_BYTES = 1 << 18  # copied, cast, compared or checked at once: this much stays in a core's cache
EMPTY = np.empty(0, np.uint8)
_NAMES = {dtype: name for name, dtype in SAFETENSORS_DTYPES.items()}


def map_tensors(directory: Path, single: str = SINGLE) -> dict[str, np.ndarray]:
    """Every tensor of a Hugging Face directory as a read-only view of its file, mapped into memory.

    Nothing is read until a view is indexed, and then only the pages that hold the requested part.

    Args:
        directory: a directory with an index of shards, or with a single file.
        single: the name of the single file. Only a whole model, which is ``SINGLE``, can have an index.

    Raises:
        UserError: for a directory without safetensors (pickled ``.bin`` files are refused, never
            read), a damaged or missing shard, an index that points outside the directory, or an index and a
            single file that disagree.
    """
    index = _read_index(directory, single)
    files = {
        file: _map_file(directory, file) for file in (sorted(set(index.values())) if index else [single])
    }
    if index and single not in files and (directory / single).exists():
        _refuse_other_tensors(directory, single, index, files)
    tensors = {name: view for views in files.values() for name, view in views.items()}
    for name, file in (index or {}).items():
        if name not in files[file]:
            raise UserError(f"{directory / INDEX} places {name} in {file}, which does not hold it")
        tensors[name] = files[file][name]
    return tensors


def _refuse_other_tensors(
    directory: Path, single: str, index: dict[str, str], files: dict[str, dict[str, np.ndarray]]
) -> None:
    """Refuse a single file beside an index that holds other tensors: transformers would read the single one."""
    tensors = _map_file(directory, single)
    differing = sorted(tensors.keys() ^ index.keys()) or [
        name for name, file in index.items() if not same_bits(tensors[name], files[file].get(name, EMPTY))
    ]
    if differing:
        raise UserError(
            f"{directory} holds two models: {single} and the shards of {INDEX} differ, first in {differing[0]}; "
            f"transformers reads {single}, so remove the one that you do not want"
        )


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays are equal bit for bit: NaN equals NaN, and 0 differs from -0."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    step = max(1, CHUNK_BYTES // max(1, a[:1].nbytes))
    return all(a[i : i + step].tobytes() == b[i : i + step].tobytes() for i in range(0, len(a), step))


def _map_file(directory: Path, file: str) -> dict[str, np.ndarray]:
    path = directory / file
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
    if single != SINGLE or not (directory / INDEX).exists():
        if (directory / single).exists():
            return None
        if any(directory.glob("*.bin")) or any(directory.glob("*.pt")) or any(directory.glob("*.pth")):
            raise UserError(
                f"{directory} holds only pickled weights (.bin), which can run code and are never opened; "
                "convert them with transformers: from_pretrained(...).save_pretrained(...)"
            )
        sought = f"neither {single} nor {INDEX}" if single == SINGLE else f"no {single}"
        raise UserError(f"{directory} holds {sought}")
    index = read_json_object(directory / INDEX).get("weight_map")
    if not isinstance(index, dict) or not all(isinstance(file, str) for file in index.values()):
        raise UserError(f"{directory / INDEX} is not an index of safetensors (weight_map)")
    for file in index.values():
        if Path(file).name != file or "\\" in file:
            raise UserError(
                f"{directory / INDEX} names {file}, which leaves the model directory and is not read; copy the file "
                "into the directory if you trust it, and name it there"
            )
    return index


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
