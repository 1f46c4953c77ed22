"""The files of one user on the disk: names, lock, atomic writes. Knows nothing of what they say."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from agentmem.errors import ConfigError, MarkdownError, StoreError

MEMORY, HISTORY, JOURNAL, SESSIONS, INDEX, LOCK = (
    "memory.md", "history.md", "journal.jsonl", "sessions", ".index", ".lock",
)  # fmt: skip
LOCK_SECONDS = 10.0

_USER = re.compile(r"[A-Za-z0-9_@+-][A-Za-z0-9._@+-]{0,99}")
_DEVICE = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?", re.IGNORECASE)

crash_hook: Callable[[str], None] = lambda step: None  # noqa: E731
"""Called before each step of a write with its name; tests raise here to see that nothing is lost."""


def is_user(name: str) -> bool:
    """Whether a user id can be the name of a folder on every system."""
    return bool(_USER.fullmatch(name)) and not _DEVICE.fullmatch(name) and not name.endswith(".")


def check_user(user: str) -> str:
    """The user id itself. Raises ConfigError naming the rule when it cannot be a folder's name."""
    if not is_user(user):
        shown = repr(user if len(user) <= 40 else user[:37] + "...")
        raise ConfigError(
            f"user {shown}: use 1 to 100 of the letters a-z and A-Z, digits and . _ - @ +, "
            "neither starting nor ending with a dot, and no device name such as con"
        )
    return user


@contextmanager
def disk_errors(what: Path) -> Iterator[None]:
    """Say what the disk's refusal means and how to mend it, in one StoreError."""
    try:
        yield
    except OSError as error:
        fixes = {
            errno.ENOSPC: "the disk is full; free some space and try again",
            errno.EDQUOT: "the disk quota is used up; free some space and try again",
            errno.EACCES: "no permission to write; change the permissions of the folder",
            errno.EPERM: "no permission to write; change the permissions of the folder",
            errno.EROFS: "the file system is read-only; choose another root",
            errno.ENOTDIR: "a file stands where a folder should be; move it away",
            errno.EISDIR: "a folder stands where a file should be; move it away",
        }
        raise StoreError(f"{what}: {fixes.get(error.errno or 0, str(error))}") from error


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the user's lock. Raises StoreError when it is not free in LOCK_SECONDS, or the disk is read-only."""
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK, timeout=LOCK_SECONDS)
        try:
            lock.acquire()
        except Timeout as error:
            raise StoreError(
                f"{folder}: another process has been writing for {LOCK_SECONDS:g} s; wait for it, then try again"
            ) from error
    try:
        yield
    finally:
        lock.release()


def sha(data: bytes | None) -> str | None:
    return None if data is None else hashlib.sha256(data).hexdigest()


def read(path: Path) -> bytes | None:
    """The bytes of a file, None when there is none. Raises StoreError."""
    try:
        with disk_errors(path):
            return path.read_bytes()
    except StoreError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return None
        raise


def decode(data: bytes, where: Path) -> str:
    """The text of a file. Raises MarkdownError naming the line that is not UTF-8."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise MarkdownError(f"{where}:{line}: not UTF-8 text; save the file as UTF-8") from error


def stamp(path: Path) -> tuple[int, int, int] | None:
    """What tells a changed file from an unchanged one, without reading it."""
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino)


def temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.tmp")


def prepare(contents: Mapping[Path, bytes]) -> None:
    """Write each file's new bytes beside it, safe on the disk; on failure nothing is left there. Raises StoreError."""
    try:
        for path, data in contents.items():
            crash_hook(f"prepare {path.name}")
            with disk_errors(path), temporary(path).open("wb") as file:
                if path.exists() and hasattr(os, "fchmod"):
                    os.fchmod(file.fileno(), stat.S_IMODE(path.stat().st_mode))
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
    except StoreError:
        discard(contents)
        raise


def discard(paths: Mapping[Path, bytes]) -> None:
    for path in paths:
        with disk_errors(path):
            temporary(path).unlink(missing_ok=True)


def put_in_place(contents: Mapping[Path, bytes]) -> None:
    """Rename the prepared files into place, in order. Raises StoreError."""
    for path in contents:
        crash_hook(f"rename {path.name}")
        with disk_errors(path):
            temporary(path).replace(path)
    for folder in {path.parent for path in contents}:
        sync_folder(folder)


def replace_file(path: Path, data: bytes) -> None:
    """Write one file so that a reader sees the old bytes or the new ones. Raises StoreError."""
    prepare({path: data})
    put_in_place({path: data})


def append(path: Path, data: bytes, end: int) -> None:
    """Cut a file to `end` bytes (what follows is a torn line) and add `data`, safe on the disk.

    Raises StoreError, with the file cut back to `end`.
    """
    with disk_errors(path):
        new = not path.exists()
        with path.open("a+b") as file:
            try:
                file.truncate(end)
                file.seek(max(end - 1, 0))
                file.write(data if not data or file.read(1) in (b"\n", b"") else b"\n" + data)
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                os.truncate(path, end)
                raise
        if new:
            sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames in a folder last; a system whose folders cannot be opened does so by itself."""
    if os.name == "nt":
        return
    with disk_errors(folder):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
