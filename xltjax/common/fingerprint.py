"""The fingerprint of a model: a hash that tells two models of the same shape apart within a second."""

from __future__ import annotations

import hashlib
from pathlib import Path

WHOLE = 1 << 26  # files up to this many bytes are hashed whole
STRIDE, BLOCK = 1 << 22, 1 << 12  # of larger files, the first BLOCK bytes of every STRIDE are hashed


def fingerprint(directory: Path) -> str:
    """Hex digest of the weights in ``directory``: the names, sizes and contents of its files.

    Files that are too large to be read at every start are sampled, since any training changes every sample.

    Args:
        directory: a directory with safetensors files, whose index and ``config.json`` (of an adapter,
            ``adapter_config.json``) count too, or one of our checkpoints, all of whose files count.
    """
    files = sorted(path for path in directory.glob("*.safetensors*") if path.is_file())
    if files:
        names = ("config.json", "adapter_config.json")
        files += [directory / name for name in names if (directory / name).is_file()][:1]
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
