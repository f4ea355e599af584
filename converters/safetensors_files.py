"""Safetensors on disk: a directory opened as one map of tensors, and a writer that holds one at a time."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open

from xltjax.errors import UserError
from xltjax.files import read_text

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
DTYPES: dict[str, np.dtype] = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}


class TensorDirectory:
    """The tensors of a Hugging Face directory, read slice by slice; nothing is loaded on opening.

    Attributes:
        shapes: tensor name -> shape.
        dtypes: tensor name -> numpy dtype.
    """

    def __init__(self, directory: Path, single: str = SINGLE):
        """Open every shard and read its header.

        Args:
            directory: holding an index of shards, or one file.
            single: the name of that one file.

        Raises:
            UserError: for a directory without safetensors (pickled ``.bin`` files are refused, never
                read), a damaged or missing shard, or an index that points outside the directory.
        """
        self._handles: dict[str, Any] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.dtypes: dict[str, np.dtype] = {}
        index = _read_index(directory, single)
        for file in sorted(set(index.values())) if index else [single]:
            self._open(directory, file)
        for name, file in (index or {}).items():
            if name not in self._handles:
                raise UserError(f"{directory / INDEX} places {name} in {file}, which does not hold it")

    def _open(self, directory: Path, file: str) -> None:
        path = directory / file
        _refuse_escape(directory, path)
        if not path.is_file():
            raise UserError(f"{path} is missing; the index names it")
        try:
            handle = safe_open(path, framework="numpy")
            for name in handle.keys():  # noqa: SIM118 - not a dictionary
                view = handle.get_slice(name)
                if view.get_dtype() not in DTYPES:
                    raise UserError(
                        f"{path}: {name} has dtype {view.get_dtype()}; supported: {', '.join(DTYPES)}"
                    )
                self._handles[name] = handle
                self.shapes[name] = tuple(view.get_shape())
                self.dtypes[name] = DTYPES[view.get_dtype()]
        except SafetensorError as problem:
            raise UserError(f"{path} is damaged or truncated ({problem}); download it again") from None

    def names(self) -> Iterator[str]:
        """Every tensor's name."""
        return iter(self.shapes)

    def read(self, name: str, index: tuple[slice, ...]) -> np.ndarray:
        """Only the part ``index`` of a tensor."""
        return self._handles[name].get_slice(name)[index]


def _read_index(directory: Path, single: str) -> dict[str, str] | None:
    """Tensor name -> file of the index, or None for a directory of one file."""
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
    try:
        index = json.loads(read_text(directory / INDEX))["weight_map"]
        if not isinstance(index, dict) or not all(isinstance(file, str) for file in index.values()):
            raise KeyError
    except (json.JSONDecodeError, KeyError, TypeError):
        raise UserError(f"{directory / INDEX} is not an index of safetensors (weight_map)") from None
    return index


def _refuse_escape(directory: Path, path: Path) -> None:
    """Refuse a shard outside the directory; the hub cache's links into its own ``blobs`` are within."""
    roots = [directory.resolve()]
    if directory.absolute().parent.name == "snapshots":
        roots.append((directory.absolute().parent.parent / "blobs").resolve())
    real = path.resolve()
    if not any(real.is_relative_to(root) for root in roots):
        raise UserError(f"{path} leaves the model directory (it leads to {real}); refused")


def write_safetensors(
    path: Path, tensors: Iterable[tuple[str, np.ndarray]], header: dict[str, tuple[np.dtype, tuple[int, ...]]]
) -> None:
    """Write one safetensors file, consuming ``tensors`` one at a time.

    The library's own writer wants all tensors of a file in memory at once.

    Args:
        path: the file.
        tensors: (name, array) in the order of ``header``.
        header: dtype and shape of every tensor, known beforehand.
    """
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, (dtype, shape) in header.items():
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
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
        for (expected, (dtype, shape)), (name, array) in zip(header.items(), tensors, strict=True):
            if name != expected or array.dtype != dtype or array.shape != shape:
                raise ValueError(f"{name} {array.dtype}{array.shape} is not {expected} {dtype}{shape}")
            # Python's buffers know no bfloat16: the bytes are written as such.
            file.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
