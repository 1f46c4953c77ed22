"""A training run is a folder: its settings, metrics, plots, page, sampled trajectories and checkpoints.

    config.json                         settings as given, seed, versions, and when it was taken up again
    metrics.jsonl                       a line an iteration
    tensorboard/                        the same for TensorBoard
    plots/NAME.png, index.html          drawn from metrics.jsonl; the page holds the plots itself
    trajectories/iteration-00010.md     what the policy wrote, and what it earned
    checkpoints/iteration-00010/        whatever the trainer saves there

A run may be killed at any moment: a line is on the disk once `log` returns, all other files are renamed into place.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import re
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from agentmem.errors import ConfigError
from agentmem.models.lora import adapter_config, adapter_folder
from agentmem.models.weights import WEIGHTS as BASES
from agentmem.train.settings import differences, plain, versions
from agentmem.train.values import Group

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter

CONFIG, METRICS = "config.json", "metrics.jsonl"
_NEW = ".new"
_NAME = re.compile(r"iteration-(\d{5,})")
_NEEDED = ("matplotlib", "tensorboard")


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The metrics of a run, a mapping an iteration, with the number of the iteration as "iteration".

    A torn last line is left out: the run was killed while it wrote.

    Args:
        path: the folder of a run, or its metrics.jsonl.

    Returns:
        The lines in order. NaN is what could not be written as a number.

    Raises:
        ConfigError: there is no such file, or a line is not one of a run.
    """
    file = path / METRICS if path.is_dir() else path
    try:
        lines = _whole_lines(file.read_bytes())
    except FileNotFoundError:
        raise ConfigError(f"{file}: no such file; a training run writes it") from None
    return [_metrics(file, number, line) for number, line in enumerate(lines, start=1)]


def policy_of(path: Path) -> tuple[Path, str]:
    """Where the trained policy of a run lies, and the name of its base.

    Of an adapter's folder: itself, and the base that it names, where that is one of agentmem's. Else the name is empty:
    PEFT notes paths of the machine that it ran on.

    Raises ConfigError when the run has none yet, or no adapter lies there.
    """
    config = path / CONFIG
    if not config.is_file():
        named = str(adapter_config(adapter_folder(path)).get("base_model_name_or_path") or "")
        return path, named if named.removeprefix("local:") in BASES else ""
    base = str(json.loads(config.read_text("utf-8"))["settings"].get("base", ""))
    if (path / "policy").is_dir():
        return path / "policy", base
    found = newest_checkpoint(path)
    if found is None:
        told = "was stopped before its end; --resume finishes it" if (path / "hf").is_dir() else "has no checkpoint yet"
        raise ConfigError(f"{path}: {told}")
    return found[1], base


def newest_checkpoint(path: Path) -> tuple[int, Path] | None:
    """Iteration and folder of the newest whole checkpoint of the run in `path`; None before the first."""
    there = _numbered(path / "checkpoints") if (path / "checkpoints").is_dir() else []
    found = [(at, folder) for at, folder in there if folder.is_dir() and folder.suffix != _NEW]
    return found[-1] if found else None


class RunFolder:
    """The folder of one training run.

    Iterations are numbered by the trainer. The order within one is `log`, then `checkpoint`: a resumed run goes on
    with the iteration after its checkpoint, and expects the lines up to it.
    """

    def __init__(
        self, path: Path, config: Mapping[str, object], *, resume: bool = False, may_change: Collection[str] = ()
    ) -> None:
        """Begin a run, or take it up again.

        Args:
            path: the folder; made when it is not there.
            config: all settings, nested as you like; "seed" among them.
            resume: go on with the run in the folder. Call `resume_at` before the first `log`.
            may_change: settings that may differ when a run is resumed; those of a nested one as "outer.inner", or all
                of them as "outer".

        Raises:
            ConfigError: the folder holds another run, or none to resume, or one with other settings; or a package is
                missing.
        """
        missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
        if missing:
            raise ConfigError(f"training needs {' and '.join(missing)}: pip install 'agentmem[train]'")
        self.path = path
        self._writer: SummaryWriter | None = None
        self._config = self._resumed(plain(config), may_change) if resume else self._begun(plain(config))
        for name in ("tensorboard", "plots", "trajectories", "checkpoints"):
            (path / name).mkdir(parents=True, exist_ok=True)
        _write_whole(path / CONFIG, json.dumps(self._config, indent=2, ensure_ascii=False) + "\n")
        self._cut(lambda _: True)  # a torn last line would run into the next one
        for leftover in (path / "checkpoints").glob(f"*{_NEW}"):
            shutil.rmtree(leftover)
        self._last = self._last_iteration()

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def log(self, iteration: int, metrics: Mapping[str, float | None]) -> None:
        """Add a line to metrics.jsonl, and the same to TensorBoard. NaN, infinite and None are written as null.

        Args:
            iteration: its number; higher than that of the line before.
            metrics: by name; "/" separates groups, as in "reward/part/recall". Names may differ between iterations.

        Raises:
            ValueError: the iteration has a line, or a later one has.
        """
        if self._last is not None and iteration <= self._last:
            raise ValueError(f"iteration {iteration} comes after {self._last}; a resumed run calls resume_at first")
        if "iteration" in metrics:
            raise ValueError('"iteration" is no name of a metric: it numbers the lines')
        row = {name: _number(value) for name, value in metrics.items()}
        line = json.dumps({"iteration": iteration, **row}, allow_nan=False)
        with (self.path / METRICS).open("a", encoding="utf-8") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._last = iteration
        writer = self._tensorboard()
        for name, value in row.items():
            if value is not None:
                writer.add_scalar(name, value, iteration)
        writer.flush()

    def sample(
        self,
        iteration: int,
        groups: Sequence[Group],
        advantages: Sequence[Sequence[Collection[float] | None]] | None = None,
    ) -> None:
        """Write groups of trajectories as Markdown, for people.

        Args:
            iteration: that they were rolled out in.
            groups: all of them are written; choose a few.
            advantages: [group][trajectory], in the order of the groups: a number a turn, or None where the trajectory
                was left out of training.

        Raises:
            ValueError: the advantages do not fit the groups, the trajectories or their turns.
        """
        from agentmem.train.samples import markdown

        text = markdown(iteration, groups, advantages)
        _write_whole(self.path / "trajectories" / f"{_named(iteration)}.md", text)

    def checkpoint(self, iteration: int, save: Callable[[Path], None], *, keep: int = 2) -> None:
        """Save what a run is resumed from, and remove the oldest. A checkpoint that is there already stays as it is.

        Args:
            iteration: after which it is taken; its line is logged before.
            save: writes its files into the empty folder it is given.
            keep: how many checkpoints stay, the new one included.

        Raises:
            ValueError: keep is below 1.
        """
        if keep < 1:
            raise ValueError(f"keep={keep}: one checkpoint at least has to stay")
        home = self.path / "checkpoints"
        # Both ways through a folder under another name: no checkpoint is ever half written, or half removed.
        with TemporaryDirectory(dir=home, prefix=".", suffix=_NEW) as beside:
            if not (home / _named(iteration)).exists():
                fresh = Path(beside) / _named(iteration)
                fresh.mkdir()
                save(fresh)
                _to_disk(fresh)
                fresh.replace(home / fresh.name)
            for _, old in self._checkpoints()[:-keep]:
                old.replace(Path(beside) / old.name)

    def latest(self) -> tuple[int, Path] | None:
        """Iteration and folder of the newest checkpoint; None before the first."""
        found = self._checkpoints()
        return found[-1] if found else None

    def resume_at(self, iteration: int) -> None:
        """Drop what was written after a checkpoint, so that the resumed run's files equal those of an unbroken one.

        Args:
            iteration: that of the checkpoint. Without one, a number below the first iteration: all lines go.

        Raises:
            ConfigError: there is a later checkpoint. None is removed unasked.
        """
        latest = self.latest()
        if latest is not None and latest[0] > iteration:
            raise ConfigError(
                f"{latest[1]}: a later checkpoint than iteration {iteration}; delete it to resume from there"
            )
        self.close()
        self._cut(lambda at: at <= iteration)
        for at, path in self._samples():
            if at > iteration:
                path.unlink()
        self._last = self._last_iteration()
        self._writer = self._opened(purge_step=iteration + 1)  # TensorBoard hides what it was told after it

    def draw(self) -> None:
        """Draw the plots and the page anew, from metrics.jsonl."""
        from agentmem.train.page import html
        from agentmem.train.plots import plots_of

        rows = read_metrics(self.path)
        plots = plots_of(rows)
        home = self.path / "plots"
        for path in home.glob("*.png"):
            if path.stem not in {plot.name for plot in plots}:
                path.unlink()
        for plot in plots:
            _write_whole(home / f"{plot.name}.png", plot.png)
        samples = [path.relative_to(self.path).as_posix() for _, path in self._samples()]
        checkpoints = [path.name for _, path in self._checkpoints()]
        page = html(self.path.resolve().name, self._config, rows, plots, samples=samples, checkpoints=checkpoints)
        _write_whole(self.path / "index.html", page)

    def close(self) -> None:
        """Close the files of TensorBoard. All others are closed between calls."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    # -- config.json ------------------------------------------------------------------------------------------------

    def _begun(self, settings: Any) -> dict[str, Any]:
        if self.path.exists() and not self.path.is_dir():
            raise ConfigError(f"{self.path}: is a file; a run needs a folder: another --out")
        if (self.path / CONFIG).exists():
            raise ConfigError(f"{self.path}: holds a run already; --resume or another --out")
        # The name of an unfinished config.json: the run died in its first moment.
        if self.path.is_dir() and any(one.name != CONFIG + _NEW for one in self.path.iterdir()):
            raise ConfigError(f"{self.path}: holds files of something else; another --out")
        begun = {"seed": settings.get("seed"), "settings": settings, "versions": versions(), "begun": _now()}
        return {**begun, "resumed": []}

    def _resumed(self, settings: Any, may_change: Collection[str]) -> dict[str, Any]:
        file = self.path / CONFIG
        if not file.is_file():
            raise ConfigError(f"{self.path}: no run to resume; leave --resume out, or give the --out of the run")
        try:
            config = json.loads(file.read_text("utf-8"))
            resumed = [*config["resumed"], {"at": _now(), "versions": versions()}]
            changed = differences(config["settings"], settings, may_change)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ConfigError(f"{file}: not the settings of a run; another --out") from None
        if changed:
            raise ConfigError(
                f"{self.path}: cannot resume with other settings: {'; '.join(changed)}; the same, or another --out"
            )
        return {**config, "seed": settings.get("seed"), "settings": settings, "resumed": resumed}

    # -- metrics.jsonl and TensorBoard ------------------------------------------------------------------------------

    def _cut(self, keep: Callable[[float], bool]) -> None:
        """Leave the whole lines whose iteration is to be kept, byte for byte."""
        file = self.path / METRICS
        data = file.read_bytes() if file.exists() else None
        lines = _whole_lines(data or b"")
        kept = [line for at, line in enumerate(lines, start=1) if keep(_metrics(file, at, line)["iteration"])]
        if (text := b"".join(kept)) != data:
            _write_whole(file, text)

    def _last_iteration(self) -> int | None:
        rows = read_metrics(self.path)
        return int(rows[-1]["iteration"]) if rows else None

    def _tensorboard(self) -> SummaryWriter:
        if self._writer is None:
            self._writer = self._opened()
        return self._writer

    def _opened(self, purge_step: int | None = None) -> SummaryWriter:
        from torch.utils.tensorboard.writer import SummaryWriter  # takes a second or two to load

        return SummaryWriter(str(self.path / "tensorboard"), purge_step=purge_step)

    def _checkpoints(self) -> list[tuple[int, Path]]:
        return [(at, path) for at, path in _numbered(self.path / "checkpoints") if path.is_dir()]

    def _samples(self) -> list[tuple[int, Path]]:
        return [(at, path) for at, path in _numbered(self.path / "trajectories") if path.suffix == ".md"]


def _numbered(folder: Path) -> list[tuple[int, Path]]:
    """What is named after an iteration, the oldest first."""
    found = [(_NAME.fullmatch(path.stem), path) for path in folder.iterdir()]
    return sorted((int(match[1]), path) for match, path in found if match)


def _named(iteration: int) -> str:
    return f"iteration-{iteration:05d}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _number(value: float | None) -> float | None:
    """As JSON can hold it."""
    return None if value is None or not math.isfinite(value) else float(value)


def _whole_lines(data: bytes) -> list[bytes]:
    """The lines with their ends, without a torn last one."""
    return data[: data.rfind(b"\n") + 1].splitlines(keepends=True)


def _metrics(file: Path, number: int, line: bytes) -> dict[str, float]:
    try:
        row = json.loads(line)
        return {"iteration": int(row.pop("iteration")), **{name: _read(value) for name, value in row.items()}}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ConfigError(f"{file}:{number}: not a line of a training run; mend or delete it") from None


def _read(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _write_whole(path: Path, content: str | bytes) -> None:
    """In one step: a reader sees the old file or the new one."""
    beside = path.with_name(path.name + _NEW)
    beside.write_bytes(content.encode() if isinstance(content, str) else content)
    beside.replace(path)


def _to_disk(folder: Path) -> None:
    """Before it takes the place of another: a rename may outlive a power cut that the contents do not."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
