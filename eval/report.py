"""Reports side by side: one HTML page with tables and plots, and Markdown tables for the documents."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from eval.errors import DataError
from eval.runs import read_report
from eval.values import Metric, Report

HEADLINES: dict[str, tuple[str, ...]] = {
    "personabench": ("recall@5", "ndcg@5", "value_recall", "outdated_active"),
    "prefeval-retrieval": ("recall@5_explicit_300", "recall@5_choice_300", "recall@5_persona_300"),
    "prefeval-implicit": ("identification@1_choice", "identification@1_persona", "false_memories"),
    "prefeval-mcq": ("accuracy_none", "accuracy_memory", "accuracy_gold", "gain_share", "tokens_memory"),
    "personamem": ("accuracy_none", "accuracy_memory", "accuracy_full", "gain_share", "tokens_memory"),
    "stale": ("chain_correct", "current_active", "stale_closed", "overclosed", "point_in_time", "premise"),
    "nlsi": ("em", "f1", "p", "r"),
    "locomo": ("recall@5", "recall@10", "recall@25"),
    "longmemeval": ("recall@5", "recall@10"),
    "convomem": ("router_accuracy", "best_accuracy", "recall@5"),
    "router": (
        "told_prefeval_10",
        "tokens_prefeval_10",
        "told_prefeval_300",
        "tokens_prefeval_300",
        "told_locomo_19",
        "tokens_locomo_19",
    ),
    "elicit": ("accuracy", "asks", "silent"),
    "dialogues": ("edit_f1", "edit_precision", "edit_recall", "op_f1", "specificity", "sensitivity"),
    "forget": ("traces", "forgotten", "kept"),
    "tiny": ("recall@5", "value_recall", "memory_tokens", "false_memories"),
}
"""What a benchmark is read for first; the other metrics are folded away."""

LOWER_IS_BETTER = re.compile(
    r"^(false_memories|outdated_active|overclosed|traces|tokens|cut_share|spread|union_gap|memory_tokens)"
)

_SHARE = re.compile(r"^(?!tokens|false_memories|outdated_active|traces|memory_tokens|memories)")

BEGIN, END = "<!-- results -->", "<!-- end -->"


def headline(benchmark: str) -> tuple[str, ...]:
    """The metrics that a benchmark is read for first."""
    return HEADLINES.get(benchmark, ())


def shown(value: float | None) -> str:
    """A number as people read it; "–" for what could not be scored."""
    if value is None:
        return "–"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:,.0f}"


def read_reports(folder: Path) -> list[Report]:
    """All reports of a folder, by benchmark. Raises DataError when there is none."""
    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise DataError(f"{folder}: no reports; `python -m eval run` writes them")
    order = list(HEADLINES)
    reports = [read_report(path) for path in paths]
    return sorted(reports, key=lambda one: (order.index(one.benchmark) if one.benchmark in order else 99, _rank(one)))


def label_of(report: Report) -> str:
    """Short name of a system: of the user's own the class, without its module."""
    module, _, name = report.system.partition(":")
    return name if "." in module else report.system


def _rank(report: Report) -> tuple[int, str]:
    """agentmem first, then its variants, the peers, the baselines."""
    baselines = ("no-memory", "full-context", "grep", "bm25", "minilm", "hybrid", "close-everything")
    place = baselines.index(report.system) + 10 if report.system in baselines else 5
    return (
        0 if report.system == "agentmem" else 1 if report.system.startswith(("agentmem", "without")) else place,
        report.system,
    )


# -- tables ---------------------------------------------------------------------------------------------------------


class Cell(NamedTuple):
    """One number of a table."""

    value: str
    ci: str
    best: bool
    note: str = ""


class Row(NamedTuple):
    """One metric, a cell a system."""

    name: str
    cells: list[Cell]
    headline: bool


class _Table(NamedTuple):
    title: str
    rows: list[Row]
    folded: bool


def rows_of(reports: Sequence[Report], names: Iterable[str]) -> list[Row]:
    """A row for each metric; the best value of a row is marked where systems differ."""
    first = headline(reports[0].benchmark)
    return [Row(name, _cells([report.metrics.get(name) for report in reports], name), name in first) for name in names]


def _cells(metrics: Sequence[Metric | None], name: str) -> list[Cell]:
    values = [metric.value for metric in metrics if metric and metric.value is not None]
    pick = min if LOWER_IS_BETTER.match(name) else max
    best = pick(values) if len(set(values)) > 1 else None
    return [_cell(metric, best) for metric in metrics]


def _cell(metric: Metric | None, best: float | None) -> Cell:
    if metric is None:
        return Cell("", "", False)
    ci = "" if metric.ci95 is None else f"{shown(metric.ci95[0])}–{shown(metric.ci95[1])}"
    note = f"{metric.unscored:,} unscored" if metric.unscored else ""
    return Cell(shown(metric.value), ci, best is not None and metric.value == best, note)


def _names(reports: Sequence[Report]) -> list[str]:
    """All metrics of some reports: the headline ones first, then in the order of their first appearance."""
    met = dict.fromkeys(name for report in reports for name in report.metrics)
    first = [name for name in headline(reports[0].benchmark) if name in met]
    return first + [name for name in met if name not in first]


def _subset(reports: Sequence[Report]) -> str:
    counts = sorted({report.n for report in reports})
    dates = sorted({str(report.config.get("date", "")) for report in reports})
    cases = " to ".join(f"{count:,}" for count in (counts[:1] + counts[-1:] if len(counts) > 1 else counts))
    seconds = sum(report.cost.seconds for report in reports)
    return (
        f"{cases} cases, seed {reports[0].seed}, {' to '.join(dates[:1] + dates[1:][-1:])}, {seconds:,.0f} s together."
    )


def write_tables(reports: Sequence[Report], path: Path) -> None:
    """Put the headline tables between the two marks of a Markdown file. Raises DataError when the marks are missing."""
    text = path.read_text("utf-8")
    if BEGIN not in text or END not in text.split(BEGIN, 1)[1]:
        raise DataError(f"{path}: has no marks {BEGIN} and {END} to write between")
    before, rest = text.split(BEGIN, 1)
    path.write_text(f"{before}{BEGIN}\n{markdown(reports)}\n{END}{rest.split(END, 1)[1]}", "utf-8")


def markdown(reports: Sequence[Report]) -> str:
    """The headline metrics of each benchmark as a Markdown table, a line a system."""
    parts = []
    for name, own in _by_benchmark(reports):
        names = [metric for metric in _names(own) if metric in headline(name)]
        head = f"| system | {' | '.join(names)} | s | tokens read |\n| --- |{' ---: |' * (len(names) + 2)}"
        table = rows_of(own, names)
        most = max(report.n for report in own)
        lines = []
        for place, report in enumerate(own):
            subset = f" ({report.n} cases)" if report.n < most else ""
            cells = " | ".join(_markdown(row.cells[place]) for row in table)
            cost = f"{report.cost.seconds:,.0f} | {report.cost.prompt_tokens:,}"
            lines.append(f"| {label_of(report)}{subset} | {cells} | {cost} |")
        parts.append(f"### {name}\n\n{_subset(own)}\n\n{head}\n" + "\n".join(lines))
    return "\n\n".join(parts)


def _markdown(cell: Cell) -> str:
    value = f"**{cell.value}**" if cell.best else cell.value
    notes = "; ".join(filter(None, (cell.ci, cell.note)))
    return f"{value} ({notes})" if notes else value


def _by_benchmark(reports: Sequence[Report]) -> list[tuple[str, list[Report]]]:
    names = dict.fromkeys(report.benchmark for report in reports)
    return [(name, [report for report in reports if report.benchmark == name]) for name in names]


# -- the page -------------------------------------------------------------------------------------------------------


def write_html(reports: Sequence[Report], path: Path) -> None:
    """One page, readable without a network: tables, and plots as SVG within it."""
    import jinja2

    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True, trim_blocks=True
    )
    sections = [_section(name, own) for name, own in _by_benchmark(reports)]
    page = templates.get_template("report.html").render(sections=sections, count=len(reports))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, "utf-8")


def _section(name: str, reports: Sequence[Report]) -> dict[str, Any]:
    from eval.benchmarks import NAMES, get_benchmark

    names = _names(reports)
    first = [metric for metric in names if metric in headline(name)]
    rest = [metric for metric in names if metric not in first]
    tables = [_Table("", rows_of(reports, first), False)]
    if rest:
        tables.append(_Table(f"all metrics ({len(rest)} more)", rows_of(reports, rest), True))
    bars = [metric for metric in first if _SHARE.match(metric)]
    return {
        "name": name,
        "about": get_benchmark(name).about if name in NAMES else "",
        "subset": _subset(reports),
        "systems": [label_of(report) for report in reports],
        "tables": tables,
        "plots": [_bars(reports, bars)] * bool(bars) + [_lines(reports, *curve) for curve in _curves(names)],
    }


def _curves(names: Sequence[str]) -> list[tuple[str, list[tuple[int, str]]]]:
    """Metrics that differ only by a number at their end: (stem, [(number, name)]), three points at least."""
    curves: dict[str, list[tuple[int, str]]] = {}
    for name in names:
        if found := re.fullmatch(r"(.+)_(\d+)", name):
            curves.setdefault(found[1], []).append((int(found[2]), name))
    return [(stem, sorted(points)) for stem, points in curves.items() if len(points) >= 3]


def _bars(reports: Sequence[Report], names: Sequence[str]) -> str:
    figure, axes = _figure(max(6.0, 1.1 + 0.23 * len(reports) * len(names)), 3.2)
    width = 0.82 / len(reports)
    for place, report in enumerate(reports):
        for column, name in enumerate(names):
            metric = report.metrics.get(name)
            if metric is None or metric.value is None:
                continue
            at = column + (place - (len(reports) - 1) / 2) * width
            axes.bar(at, metric.value, width * 0.92, color=_color(place, report.system))
            if metric.ci95 is not None:
                axes.plot([at, at], metric.ci95, color="#333", linewidth=0.9)
    axes.set_xticks(range(len(names)), names)
    _legend(axes, reports)
    return _svg(figure)


def _lines(reports: Sequence[Report], stem: str, points: Sequence[tuple[int, str]]) -> str:
    figure, axes = _figure(6.0, 3.0)
    for place, report in enumerate(reports):
        known = [(number, report.metrics[name]) for number, name in points if name in report.metrics]
        known = [(number, metric) for number, metric in known if metric.value is not None]
        if not known:
            continue
        numbers, color = [number for number, _ in known], _color(place, report.system)
        axes.plot(numbers, [metric.value for _, metric in known], marker="o", markersize=4, color=color)
        if all(metric.ci95 for _, metric in known):
            low, high = zip(*(metric.ci95 or (0, 0) for _, metric in known), strict=True)
            axes.fill_between(numbers, low, high, color=color, alpha=0.08, linewidth=0)
    axes.set_xscale("log")
    axes.set_xticks([number for number, _ in points], [str(number) for number, _ in points])
    axes.minorticks_off()
    axes.set_title(stem, fontsize=10, loc="left")
    _legend(axes, reports)
    return _svg(figure)


def _figure(width: float, height: float) -> tuple[Any, Any]:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams["svg.hashsalt"] = "agentmem"  # the same reports give the same page
    figure = Figure((width, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e5e8ec", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=9)
    return figure, axes


def _color(place: int, system: str) -> str:
    if system == "agentmem":
        return "#0b6e4f"
    palette = ("#4c78a8", "#f58518", "#b279a2", "#9c755f", "#72b7b2", "#e45756", "#8a8f98", "#d4a72c", "#76b041")
    return palette[(place - 1) % len(palette)]


def _legend(axes: Any, reports: Sequence[Report]) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(color=_color(place, one.system), label=label_of(one)) for place, one in enumerate(reports)]
    axes.legend(handles=handles, fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _svg(figure: Any) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
