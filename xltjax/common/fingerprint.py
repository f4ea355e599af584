"""Which weights a run began with: a hash that tells two models of the same shape apart within a second."""

from __future__ import annotations

import hashlib
from pathlib import Path

WHOLE = 1 << 26  # files up to this many bytes are hashed whole
STRIDE, BLOCK = 1 << 22, 1 << 12  # of larger ones, the first BLOCK bytes in every STRIDE


def fingerprint(directory: Path) -> str:
    """Hex digest of the weights in ``directory``: names, sizes, and contents of its files.

    Weight files too large to read at every start are sampled; any training changes every sample.

    Args:
        directory: of safetensors (its index and config count too), or a checkpoint of ours.
    """
    files = sorted(path for path in directory.glob("*.safetensors*") if path.is_file())
    if files:
        files.append(directory / "config.json")
    else:
        files = sorted(path for path in directory.rglob("*") if path.is_file())
    digest = hashlib.sha256()
    for path in files:
        size = path.stat().st_size
        digest.update(f"{path.relative_to(directory)} {size}\n".encode())
        with path.open("rb") as file:
            if size <= WHOLE:
                digest.update(file.read())
                continue
            for start in range(0, size, STRIDE):
                file.seek(start)
                digest.update(file.read(BLOCK))
    return digest.hexdigest()
