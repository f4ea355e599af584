"""Directories that appear under their final name only when they are complete."""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from xltjax.common.errors import UserError
from xltjax.common.locks import LOCK, lock_directory, lock_file

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
QUIET = 0.5  # seconds for which a removed directory must not come back
LONGEST_REMOVAL = 15.0  # seconds after which we stop trying to remove it


def refuse_existing(target: Path, overwrite: bool) -> None:
    """Refuse to write to a place that is taken.

    Raises:
        UserError: when ``target`` is a file, or a directory that is not empty and ``overwrite`` is not given.
    """
    if target.exists() and not target.is_dir():
        raise UserError(f"{target} is a file; give a directory")
    if target.is_dir() and any(path.name != LOCK for path in target.iterdir()) and not overwrite:
        raise UserError(f"{target} is not empty; give --overwrite to replace it")


@contextlib.contextmanager
def new_directory(target: Path, overwrite: bool) -> Iterator[Path]:
    """A new directory beside ``target``, which is renamed to ``target`` at the end of the block.

    When the block fails, the new directory is removed and what ``target`` held before is still there.

    Raises:
        UserError: as ``refuse_existing`` does; when the disk is full, or a quota or the largest file size
            is reached; when ``target`` cannot be replaced.
    """
    refuse_existing(target, overwrite)
    target = target.resolve()
    staging = target.parent / f".{target.name}.{os.getpid()}.tmp"
    with contextlib.ExitStack() as locks:
        locks.enter_context(lock_file(target))
        if target.is_dir():
            locks.enter_context(lock_directory(target))  # a training may be writing into it
        with _removed_unless_moved(staging, target):
            for left in target.parent.glob(f".{glob.escape(target.name)}.[0-9]*.tmp"):
                shutil.rmtree(left, ignore_errors=True)  # of a process that was killed: the lock is ours
            staging.mkdir()
            yield staging
            refuse_existing(target, overwrite)  # it may have appeared meanwhile
            _move(staging, target)


@contextlib.contextmanager
def _removed_unless_moved(staging: Path, target: Path) -> Iterator[None]:
    try:
        yield
    except Exception as problem:  # Orbax raises errors of the disk under other types
        reasons = [os.strerror(code) for code in FULL if os.strerror(code) in str(problem)]
        if not reasons:
            raise
        raise UserError(f"{target} could not be written: {reasons[0]}; nothing was left there") from None
    finally:
        if staging.exists():
            _remove(staging)


def _move(staging: Path, target: Path) -> None:
    replaced = staging.with_suffix(".old")
    try:
        if target.exists():
            target.rename(replaced)
        staging.rename(target)
    except OSError as problem:
        if replaced.exists() and not target.exists():
            replaced.rename(target)
        raise UserError(f"{target} cannot be replaced: {problem.strerror}") from None
    shutil.rmtree(replaced, ignore_errors=True)


def _remove(directory: Path) -> None:
    """Remove ``directory`` until it does not come back.

    After one thread of Orbax has failed, others continue writing for a while and create it again.
    """
    gone_since = None
    deadline = time.monotonic() + LONGEST_REMOVAL
    while (now := time.monotonic()) < deadline:
        shutil.rmtree(directory, ignore_errors=True)
        if directory.exists():
            gone_since = None
        elif gone_since is None:
            gone_since = now
        elif now - gone_since > QUIET:
            return
        time.sleep(0.05)
