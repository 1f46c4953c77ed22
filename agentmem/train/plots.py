"""The metrics of a training run as plots: some that every run is watched by, and one for each further group."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

WINDOW = 10
"""Iterations in the running mean."""
NOISY = 2 * WINDOW
"""With more points than these a line is drawn thin, and its running mean over it."""

_DRAWABLE = 1e100
"""Axes overflow on larger ones; the table of the page shows them."""
_PALETTE = ("#0b6e4f", "#f58518", "#4c78a8", "#b279a2", "#9c755f", "#e45756", "#72b7b2", "#8a8f98", "#d4a72c")
_QUIET, _GRID = "#65717e", "#e5e8ec"
_WIDTH, _HEIGHT, _DPI = 6.4, 2.9, 130  # inches, inches, dots an inch


class Plot(NamedTuple):
    """One picture."""

    name: str
    """Of its file, without ending."""
    title: str
    png: bytes


class _View(NamedTuple):
    """What one of the plots of every run shows."""

    name: str
    title: str
    metrics: str
    """Regular expression of the names; they share one axis, so they have one unit."""
    unit: str
    top: float | None = None
    level: float | None = None
    """A value to compare with, drawn dashed: chance."""


_VIEWS = (
    _View("reward", "Reward of a trajectory", r"reward/(mean|median|best|worst|max|min)", "reward"),
    _View("reward-parts", "Parts of the reward, each before its weight", r"reward/part/.+", "reward"),
    _View("kl", "KL divergence from the reference policy", r"policy/kl", "nats a token"),
    _View("pair-accuracy", "Pair accuracy of the process reward model; dashed: chance", r"prm/pair_accuracy",
          "share of pairs", 1.0, 0.5),
    _View("loss", "Loss on examples", r"(sft|dpo)/(eval_)?loss", "nats"),
    _View("preferred", "Pairs whose chosen answer won against the reference; dashed: chance", r"dpo/(eval_)?accuracy",
          "share of pairs", 1.0, 0.5),
    _View("answers", "Log-probability of chosen and rejected answers", r"dpo/(eval_)?(chosen|rejected)_logp",
          "nats an answer"),
    _View("edits", "Edits a turn", r"rollout/edits", "edits"),
    _View("memory", "Size of the memory", r"rollout/memory_tokens", "tokens"),
    _View("tokens-per-second", "Tokens per second", r"speed/tokens_per_second", "tokens/s"),
)  # fmt: skip


def plots_of(rows: Sequence[Mapping[str, float]]) -> list[Plot]:
    """Draw all metrics; a metric without any number is left out, and so is a plot without any metric.

    Args:
        rows: as `read_metrics` gives them. NaN leaves a gap in its line; an iteration without the metric does not.
    """
    lines = _lines_of(rows)
    span = (rows[0]["iteration"], rows[-1]["iteration"]) if rows else (0.0, 0.0)
    plots = []
    for view in _VIEWS:
        own = {name: line for name, line in lines.items() if re.fullmatch(view.metrics, name)}
        if own:
            plots.append(Plot(view.name, view.title, _together(view, own, span)))
    groups: dict[str, dict[str, _Line]] = {}
    for name, line in lines.items():
        if not any(re.fullmatch(view.metrics, name) for view in _VIEWS):
            group = name.partition("/")[0] if "/" in name else "other"
            groups.setdefault(group, {})[name.removeprefix(f"{group}/")] = line
    for group, own in groups.items():
        title = f"Further metrics: {group}"
        plots.append(Plot("more-" + re.sub(r"[^\w-]+", "-", group), title, _apart(title, own, span)))
    return plots


# -- lines ----------------------------------------------------------------------------------------------------------


class _Line(NamedTuple):
    """One metric; both lists have one entry for each iteration that has the metric."""

    at: list[float]
    values: list[float]


def _lines_of(rows: Sequence[Mapping[str, float]]) -> dict[str, _Line]:
    lines: dict[str, _Line] = {}
    for row in rows:
        for name, value in row.items():
            if name != "iteration":
                line = lines.setdefault(name, _Line([], []))
                line.at.append(row["iteration"])
                line.values.append(value if abs(value) < _DRAWABLE else math.nan)
    return {name: line for name, line in lines.items() if any(math.isfinite(value) for value in line.values)}


def running_mean(values: Sequence[float], window: int = WINDOW) -> list[float]:
    """Mean of each value and those before it, `window` at most; NaN where the value is, and out of every mean."""
    means = []
    for end, value in enumerate(values, start=1):
        known = [one for one in values[max(0, end - window) : end] if math.isfinite(one)]
        means.append(math.fsum(one / len(known) for one in known) if math.isfinite(value) else math.nan)
    return means


# -- drawing --------------------------------------------------------------------------------------------------------


def _together(view: _View, lines: Mapping[str, _Line], span: tuple[float, float]) -> bytes:
    """Lines of one unit in one axis, with a legend when there are several."""
    figure = _figure(view.title, _HEIGHT)
    axes = figure.subplots()
    if view.level is not None:
        axes.axhline(view.level, color=_QUIET, linewidth=0.9, linestyle=(0, (4, 3)))
    for place, (name, line) in enumerate(lines.items()):
        _draw(axes, line, _PALETTE[place % len(_PALETTE)], name.rpartition("/")[2].replace("_", " "))
    low, high = _range(lines.values())
    axes.set_ylim(*_limits(low, max(high, view.top or high), from_zero=True))
    axes.set_ylabel(view.unit, fontsize=9, color=_QUIET)
    _finish(axes, span)
    if len(lines) > 1:
        axes.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return _png(figure)


def _apart(title: str, lines: Mapping[str, _Line], span: tuple[float, float]) -> bytes:
    """Metrics of unlike units: an axis each, two in a row."""
    columns = min(2, len(lines))
    rows = math.ceil(len(lines) / columns)
    figure = _figure(title, 0.5 + 1.9 * rows)
    grid = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes, (name, line) in zip(grid, lines.items(), strict=False):
        _draw(axes, line, _PALETTE[2], None)
        axes.set_ylim(*_limits(*_range([line]), from_zero=False))
        axes.set_title(name.replace("_", " "), fontsize=9, loc="left", color=_QUIET)
        _finish(axes, span)
    for axes in grid[len(lines) :]:
        axes.set_visible(False)
    return _png(figure)


def _draw(axes: Any, line: _Line, color: str, label: str | None) -> None:
    if len(line.at) > NOISY:
        axes.plot(line.at, line.values, color=color, alpha=0.3, linewidth=0.9)
        axes.plot(line.at, running_mean(line.values), color=color, linewidth=1.8, label=label)
    else:
        axes.plot(line.at, line.values, color=color, linewidth=1.5, marker="o", markersize=3, label=label)


def _range(lines: Iterable[_Line]) -> tuple[float, float]:
    known = [value for line in lines for value in line.values if math.isfinite(value)]
    return min(known), max(known)


def _limits(low: float, high: float, from_zero: bool) -> tuple[float, float]:
    """Of the axis of values: with some room, and from 0 if that is asked for or near."""
    if low == high:  # else the axis of a constant would zoom in on nothing
        return (0, 2 * low) if low > 0 else (2 * low, 0) if low < 0 else (-1, 1)
    room = 0.06 * (high - low)
    return (0 if low >= 0 and (from_zero or low < high / 2) else low - room), high + room


def _finish(axes: Any, span: tuple[float, float]) -> None:
    """The same span of iterations in all plots, so that they can be read together."""
    from matplotlib.ticker import MaxNLocator

    room = max(0.02 * (span[1] - span[0]), 0.5)
    axes.set_xlim(span[0] - room, span[1] + room)
    axes.set_xlabel("iteration", fontsize=8, color=_QUIET)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))
    axes.ticklabel_format(axis="y", useOffset=False, scilimits=(-3, 5))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color=_GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8)
    axes.yaxis.offsetText.set_fontsize(8)


def _figure(title: str, height: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((_WIDTH, height), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")
    return figure


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
