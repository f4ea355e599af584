"""Locks that keep two commands from writing to one place; a process that is killed leaves its lock open."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from xltjax.common.errors import UserError
from xltjax.common.files import make_output_directory

log = logging.getLogger("xltjax")

LOCK = ".lock"  # the name of the lock in a directory

# What systems say when a file system has no locks.
WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)
ATTEMPTS = 100  # of creating the lock before its directory counts as one where no file can be


@contextlib.contextmanager
def lock_directory(directory: Path) -> Iterator[None]:
    """Let no other command write to ``directory`` during the block; it is created when it is missing.

    Raises:
        UserError: when another command holds it, or it cannot be created.
    """
    with _lock(directory / LOCK, directory):
        yield


@contextlib.contextmanager
def lock_file(path: Path) -> Iterator[None]:
    """Let no other command write to the file or directory ``path`` during the block; the lock is beside it.

    Raises:
        UserError: when another command holds it, or the directory around it cannot be created.
    """
    with _lock(path.with_name(f".{path.name}.lock"), path):
        yield


@contextlib.contextmanager
def _lock(file: Path, held: Path) -> Iterator[None]:
    """Hold the lock ``file``, whose end removes it and those of its directories that it had to create."""
    # An absolute path, since the command may change its directory meanwhile.
    file = file.absolute()
    created = [place for place in file.parents if not place.exists()]
    handle = _open(file, held)
    try:
        yield
    finally:
        # The file is removed before the lock is, and `_open` finds out that it was.
        with contextlib.suppress(OSError):
            if _is_still(file, handle):  # the directory may have been replaced by another one
                file.unlink()
        os.close(handle)
        with contextlib.suppress(OSError):
            for place in created:
                place.rmdir()  # fails where there is something in it by now


def _open(file: Path, held: Path) -> int:
    """A handle of the lock ``file`` that has the lock."""
    for attempt in itertools.count(1):
        make_output_directory(file.parent)
        try:
            # Not inherited by the programs that this one starts: the lock ends with this process.
            handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as problem:
            # Its directory may have been removed at this moment by the command that had created it.
            if problem.errno == errno.ENOENT and attempt < ATTEMPTS:
                continue
            raise UserError(f"{held} cannot be written: {problem.strerror}; choose another path") from None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as problem:
            holder = _holder(handle)
            if problem.errno in WITHOUT_LOCKS:
                log.warning(
                    "notice: the file system of %s has no locks; start no second command with it", held
                )
                return handle
            os.close(handle)
            if problem.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            raise UserError(
                f"{held} is being written by another command{holder}; wait until it ends, or choose another path"
            ) from None
        except BaseException:
            os.close(handle)
            raise
        if _is_still(file, handle):
            with contextlib.suppress(OSError):  # a full disk; the name is only for messages
                os.ftruncate(handle, 0)
                os.write(handle, f"process {os.getpid()} on {socket.gethostname()}".encode())
            return handle
        os.close(handle)  # the command that held it has removed the file meanwhile
    raise AssertionError


def _holder(handle: int) -> str:
    with contextlib.suppress(OSError):
        name = os.pread(handle, 200, 0).decode("utf-8", "replace").strip()
        return f" ({name})" if name else ""
    return ""


def _is_still(file: Path, handle: int) -> bool:
    """Whether ``file`` is the file that ``handle`` has open."""
    try:
        return os.path.samestat(os.stat(file), os.fstat(handle))
    except FileNotFoundError:
        return False


def holder(file: Path) -> str:
    """Which process holds the lock ``file``; empty when none does. The lock is only looked at."""
    try:
        handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as problem:
        return "" if problem.errno in WITHOUT_LOCKS else _holder(handle).strip(" ()") or "another command"
    finally:
        os.close(handle)
    return ""


_used: dict[str, int] = {}  # handles of the directories that this process uses


def use_directory(directory: Path) -> bool:
    """Let ``unused`` know until this process ends that ``directory`` is in use.

    Returns:
        Whether it is still there: it may be removed at this moment.
    """
    if str(directory) in _used and _is_still(directory, _used[str(directory)]):
        return True
    try:
        handle = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    with contextlib.suppress(OSError):  # a file system without locks
        fcntl.flock(handle, fcntl.LOCK_SH)
    if not _is_still(directory, handle):
        os.close(handle)
        return False
    _used[str(directory)] = handle  # the lock ends when the process does
    return True


@contextlib.contextmanager
def unused(directory: Path) -> Iterator[bool]:
    """Whether no process uses ``directory``; when none does, none begins to during the block."""
    handle = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as problem:
            if problem.errno not in WITHOUT_LOCKS:
                yield False
                return
        yield True
    finally:
        os.close(handle)
