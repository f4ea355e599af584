"""What a result came from: the revision, versions, devices, command, and hashes of the data."""

from __future__ import annotations

import hashlib
import platform
import subprocess
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("xltjax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "transformers", "numpy")

_command: list[str] = []


def remember_command(words: Sequence[str]) -> None:
    """Say what the user can type to run this command again; ``provenance`` records it."""
    _command[:] = words


def provenance(data_files: Iterable[Path] = ()) -> dict[str, Any]:
    """A record for a JSON file: command, time, revision, versions, devices, and hashes of ``data_files``.

    It starts JAX, to name the devices.
    """
    import jax

    return {
        "command": _command or sys.argv,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "git": _git(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {name: installed_version(name) for name in PACKAGES},
        "devices": [str(device.device_kind) for device in jax.devices()],
        "data": {str(path): sha256(path) for path in data_files},
    }


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def installed_version(package: str) -> str | None:
    """The version of a package that is installed; None for one that is not."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git() -> dict[str, Any] | None:
    """Revision of the checkout that this code runs from, and whether it has uncommitted changes.

    None when the code is an installed package.
    """
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        revision = _run(root, "rev-parse", "HEAD")
        return {"revision": revision, "dirty": bool(_run(root, "status", "--porcelain"))}
    except (OSError, subprocess.CalledProcessError):
        return None


def _run(root: Path, *arguments: str) -> str:
    # A lock would be in the way of the user's own git, and stays behind where this process is killed.
    command = ["git", "--no-optional-locks", "-C", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
