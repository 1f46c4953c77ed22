"""The files of a run: a report, and beside it a JSONL with a line a case, which an interrupted run is taken up from."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

import agentmem
from agentmem.errors import AgentMemError, ConfigError
from agentmem.policy import trained_folder
from eval.errors import DataError
from eval.settings import Settings
from eval.systems import SystemSpec
from eval.values import Outcome, Report

_SOURCES = {".py", ".md", ".json", ".jsonl", ".safetensors"}
_NO_CODE = {"results", "train", "README.md"}
"""No outcome depends on these, but on the part of train that `elicit` and `dialogues` ask about."""
_ASKED = {"elicit.jsonl", "records.py", "dialogues", "histories.py", "sft.py"}


def read_outcomes(report: Path) -> list[Outcome]:
    """The cases of a finished run, from the JSONL beside its report. Raises DataError."""
    path = report.with_suffix(".jsonl")
    if not path.is_file():
        raise DataError(f"{path}: not there; it is written beside {report.name} by `python -m eval run`")
    return list({outcome.case: outcome for outcome in RunFile(path, None, fresh=False).read()}.values())


def read_report(path: Path) -> Report:
    """A report. Raises DataError when it is missing or none."""
    try:
        return Report.model_validate_json(path.read_text("utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; `python -m eval run … --out {path}` writes it") from None
    except ValueError as error:
        raise DataError(f"{path}: not a report of `python -m eval run` ({str(error).splitlines()[0]})") from error


class RunFile:
    """The JSONL of a run: a head with its fingerprint, an outcome a line, and how long each start took."""

    def __init__(self, path: Path, fingerprint: str | None, fresh: bool) -> None:
        self._path, self._fingerprint = path, fingerprint
        self._seconds = 0.0
        self._file: TextIO | None = None
        if fresh:
            path.unlink(missing_ok=True)

    def read(self) -> list[Outcome]:
        """What is there. A torn last line (the run was killed) is left out, and will be written again."""
        outcomes: list[Outcome] = []
        for number, line in enumerate(self._kept(), start=1):
            try:
                row = json.loads(line)
                if "fingerprint" in row:
                    self._check(row["fingerprint"])
                elif "run_seconds" in row:
                    self._seconds += row["run_seconds"]
                else:
                    outcomes.append(Outcome.model_validate(row))
            except ValueError as error:
                if isinstance(error, AgentMemError):
                    raise
                raise DataError(f"{self._path}:{number}: not a line of a run; delete the file to start anew") from error
        return outcomes

    def _kept(self) -> list[str]:
        if not self._path.is_file():
            return []
        text = self._path.read_text("utf-8")
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            self._path.write_text(whole, "utf-8")
        return whole.split("\n")[:-1]  # not splitlines: a text may hold U+2028, which JSON leaves as it is

    def _check(self, fingerprint: str) -> None:
        if self._fingerprint is not None and fingerprint != self._fingerprint:
            raise ConfigError(
                f"{self._path} holds cases of a run with other settings, data or code; give another --out, or --fresh "
                "(make: FRESH=1)"
            )

    def __enter__(self) -> RunFile:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._file is not None:
            self._file.close()

    def write(self, outcomes: Sequence[Outcome]) -> None:
        """Add these outcomes; they are on the disk afterwards."""
        for outcome in outcomes:
            self._append(outcome.model_dump(mode="json", exclude_defaults=True))

    def add_seconds(self, seconds: float) -> float:
        """Note how long this start took; returns the seconds of all starts together."""
        self._append({"run_seconds": seconds})
        self._seconds += seconds
        return self._seconds

    def _append(self, row: dict[str, Any]) -> None:
        """Add a line. The file is made with the first one: a run that could not begin leaves nothing behind."""
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            new = not self._path.exists() or not self._path.stat().st_size
            self._file = self._path.open("a", encoding="utf-8")
            if new:
                self._append({"fingerprint": self._fingerprint})
        self._file.write(json.dumps(row, ensure_ascii=False) + "\n")
        self._file.flush()


def fingerprint(benchmark: str, spec: SystemSpec, settings: Settings) -> str:
    """What a run's cases depend on. The limit is not in it: a larger run takes over the cases of a smaller one."""
    facts: list[Any] = [benchmark, spec.model_dump(mode="json"), _code(), _own_code(spec), _stamps(settings.data)]
    facts.append(settings.model_dump(mode="json", exclude={"limit", "groups", "data"}))
    if adapter := trained_folder(spec.policy):  # it may be trained again
        facts.append(_stamps(adapter))
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


@functools.cache
def _code() -> str:
    """Digest of agentmem's and the evaluations' own sources, prompts and labels: others may give other outcomes."""
    digest = hashlib.sha256()
    for home in (Path(agentmem.__file__).parent, Path(__file__).parent):
        for path in sorted(home.rglob("*")):
            if path.suffix in _SOURCES and (
                {path.name, path.parent.name} & _ASKED or path.relative_to(home).parts[0] not in _NO_CODE
            ):
                digest.update(path.read_bytes())
    return digest.hexdigest()


def _own_code(spec: SystemSpec) -> str:
    """Digest of the module of a user's own system."""
    found = importlib.util.find_spec(spec.label.partition(":")[0]) if "." in spec.label.partition(":")[0] else None
    origin = Path(found.origin) if found is not None and found.origin else None
    return hashlib.sha256(origin.read_bytes()).hexdigest() if origin is not None and origin.is_file() else ""


def _stamps(data: Path) -> list[tuple[str, int, int]]:
    """Name, size and time of every file of the data, which may also be one file."""
    files = sorted(path for path in data.rglob("*") if path.is_file()) if data.is_dir() else [data]
    return [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files if path.is_file()]


def write_whole(path: Path, text: str) -> None:
    """Write a file in one step: a reader sees the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".new")
    beside.write_text(text, "utf-8")
    beside.replace(path)
