"""The page of a training run: one file that needs nothing beside it, for a look at how the run goes."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from agentmem.train.plots import NOISY, WINDOW, Plot
from agentmem.train.settings import flat


class Row(NamedTuple):
    """One metric in the table, as text."""

    name: str
    last: str
    mean: str
    low: str
    high: str
    note: str
    """The iteration of the last value, when that is not the newest."""


def html(
    title: str,
    config: Mapping[str, Any],
    rows: Sequence[Mapping[str, float]],
    plots: Sequence[Plot],
    *,
    samples: Sequence[str],
    checkpoints: Sequence[str],
) -> str:
    """The whole page; the plots are in it.

    Args:
        title: the name of the run.
        config: as config.json holds it.
        rows: as `read_metrics` gives them.
        plots: in the order to show them.
        samples: the files of trajectories, relative to the page.
        checkpoints: their names.
    """
    import jinja2

    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True, trim_blocks=True
    )
    resumed = config.get("resumed", [])
    return templates.get_template("run.html").render(
        title=title,
        config=config,
        settings=[(name, _setting(value)) for name, value in flat(config.get("settings", {}))],
        versions=_versions([config.get("versions", {}), *(one.get("versions", {}) for one in resumed)]),
        iteration=int(rows[-1]["iteration"]) if rows else None,
        metrics=table(rows),
        plots=[(plot.title, base64.b64encode(plot.png).decode()) for plot in plots],
        samples=[(path, f"iteration {int(Path(path).stem.rpartition('-')[2]):,}") for path in samples],
        checkpoints=checkpoints,
        window=WINDOW,
        noisy=NOISY,
    )


def table(rows: Sequence[Mapping[str, float]]) -> list[Row]:
    """Every metric, in the order of its first appearance: its last value, the mean of the last ones, its range."""
    names = dict.fromkeys(name for row in rows for name in row if name != "iteration")
    return [_row(name, [(int(row["iteration"]), row[name]) for row in rows if name in row], rows) for name in names]


def _row(name: str, values: Sequence[tuple[int, float]], rows: Sequence[Mapping[str, float]]) -> Row:
    at, last = values[-1]
    known = [value for _, value in values if math.isfinite(value)]
    newest = [value for _, value in values[-WINDOW:] if math.isfinite(value)]
    mean = math.fsum(value / len(newest) for value in newest) if newest else math.nan
    low, high = (min(known), max(known)) if known else (math.nan, math.nan)
    note = "" if at == rows[-1]["iteration"] else f"iteration {at:,}"
    return Row(name, shown(last), shown(mean), shown(low), shown(high), note)


def shown(value: float) -> str:
    """A number as people read it, with four digits that count; "–" for none."""
    if not math.isfinite(value):
        return "–"
    if value == 0 or 0.001 <= abs(value) < 10:
        return f"{value:.4f}"
    return f"{value:,.1f}" if 10 <= abs(value) < 1e7 else f"{value:.3e}"


def _setting(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _versions(starts: Sequence[Mapping[str, str]]) -> list[tuple[str, str]]:
    """By package; several, when the run was resumed with others."""
    names = dict.fromkeys(name for start in starts for name in start)
    return [(name, ", then ".join(dict.fromkeys(start.get(name, "–") for start in starts))) for name in names]
