"""The command line of the evaluations."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from pydantic import BaseModel, ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from agentmem.errors import ConfigError
from agentmem.train.histories import Examples, write_examples
from agentmem.train.leaks import leaks
from eval.benchmarks import NAMES, get_benchmark
from eval.convert import CONVERTERS
from eval.convert import convert as convert_benchmark
from eval.harness import evaluate
from eval.report import headline, read_reports, shown, write_html, write_tables
from eval.runs import read_outcomes, read_report
from eval.settings import Settings
from eval.stats import differences
from eval.suite import SUITES, run_suite
from eval.systems import SYSTEMS, SystemSpec
from eval.values import Report

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, rich_markup_mode=None)

RUNS = Path("runs/eval")

CORES = os.cpu_count() or 1

LEAKS = 10
"""So many of the leaks of converted data are said one by one."""

M = TypeVar("M", bound=BaseModel)

_console, _error = Console(highlight=False), Console(stderr=True, highlight=False)

Out = Annotated[Path | None, typer.Option(help="Where the JSON goes; a line a case beside it. [default: runs/eval/…]")]
Jobs = Annotated[int, typer.Option(min=1, help="Processes.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Throw away what an earlier run left, instead of going on.")]


def _with_options(*models: type[BaseModel]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command an option for each field of these models, with the field's description as its help."""

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        own = [one for one in inspect.signature(function, eval_str=True).parameters.values()
               if one.kind is not inspect.Parameter.VAR_KEYWORD]  # fmt: skip
        named = {one.name for one in own}
        parameters = [*own]
        for model in models:
            for name, field in model.model_fields.items():
                if name in named or name == "label":
                    continue
                default = ... if field.is_required() else field.default
                kind = str if "Literal" in str(field.annotation) else field.annotation
                help = " ".join((field.description or "").split())
                option = typer.Option(f"--{name.replace('_', '-')}", help=help)
                parameters.append(inspect.Parameter(
                    name, inspect.Parameter.KEYWORD_ONLY, annotation=Annotated[kind, option],
                    **({} if default is ... else {"default": default}),
                ))  # fmt: skip
        parameters = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in parameters]
        function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        function.__annotations__ = {one.name: one.annotation for one in parameters}
        return function

    return decorate


@app.command()
@_with_options(Settings, SystemSpec)
def run(
    benchmark: Annotated[str, typer.Argument(help="One of `python -m eval list`.", show_default=False)],
    system: Annotated[str, typer.Option(help="A system of `list`, or your own as pkg.module:Name.")] = "agentmem",
    out: Out = None,
    jobs: Jobs = CORES,
    fresh: Fresh = False,
    **options: Any,
) -> None:
    """Run a benchmark over a system. Started again with the same settings, a run goes on where it stopped."""
    settings, spec = _parsed(Settings, options), _parsed(SystemSpec, {**options, "label": system})
    path = out or RUNS / f"{benchmark}--{system.replace(':', '-')}.json"
    try:
        with _progress(f"{benchmark} {system}") as progress:
            report = evaluate(get_benchmark(benchmark), spec, settings, path, jobs=jobs, fresh=fresh, progress=progress)
    except KeyboardInterrupt:
        _error.print(f"Stopped; the cases done are kept in {path.with_suffix('.jsonl')}: the same command goes on.")
        raise typer.Exit(130) from None
    print_report(report, path)


def _parsed(model: type[M], options: dict[str, Any]) -> M:
    try:
        return model.model_validate({name: options[name] for name in model.model_fields if name in options})
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"--{str(first['loc'][0]).replace('_', '-')}: {first['msg']}") from error


@app.command("list")
def list_all(
    data: Annotated[Path | None, typer.Option(help="Also say which of them this folder has the data of.")] = None,
) -> None:
    """The benchmarks and the systems."""
    table = Table("benchmark", "what it measures", "data and licence", *(["here"] if data else []), show_lines=True)
    for name in NAMES:
        benchmark = get_benchmark(name)
        here = [_here(name, data)] if data else []
        table.add_row(name, benchmark.about, benchmark.source, *here)
    _console.print(table)
    systems = Table("system", "what it is")
    for name, (_, about) in SYSTEMS.items():
        systems.add_row(name, about)
    systems.add_row("pkg.module:Name", "your own: a class with open(folder); examples/evaluate_your_system.py")
    _console.print(systems)


def _here(name: str, data: Path) -> str:
    from eval.errors import DataError

    try:
        units = get_benchmark(name).load(Settings(data=data))
    except DataError as error:
        return f"no: {str(error).split('. ')[0]}"
    return f"{sum(len(unit.cases) for unit in units):,} cases"


@app.command()
def compare(
    a: Annotated[Path, typer.Argument(help="A report.")],
    b: Annotated[Path, typer.Argument(help="Another of the same benchmark.")],
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
) -> None:
    """The difference B − A of each metric, paired by case, with its 95 % bootstrap interval."""
    first, second = read_report(a), read_report(b)
    if first.benchmark != second.benchmark:
        raise ConfigError(f"{a} is of {first.benchmark}, {b} of {second.benchmark}: nothing to pair")
    benchmark = get_benchmark(first.benchmark)
    found = differences(
        read_outcomes(a), read_outcomes(b), counts=benchmark.counts, guarded=benchmark.guarded, seed=seed
    )
    table = Table("metric", f"A: {first.system}", f"B: {second.system}", "B − A", "95 %", "cases",
                  title=f"{first.benchmark}, the cases that both scored")  # fmt: skip
    for name, one in found.items():
        interval = "–" if one.ci95 is None else f"{one.ci95[0]:+.3f} … {one.ci95[1]:+.3f}"
        clear = one.ci95 is not None and (one.ci95[0] > 0 or one.ci95[1] < 0)
        table.add_row(name, shown(one.a), shown(one.b), "–" if one.difference is None else f"{one.difference:+.3f}",
                      interval, str(one.n), style="bold" if clear else "")  # fmt: skip
    _console.print(table)
    if not found:
        raise ConfigError(f"{a} and {b} have no scored case in common")


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="Folder of reports.")],
    html: Annotated[Path, typer.Option(help="The page to write.")] = RUNS / "report.html",
) -> None:
    """One page with tables and plots of all reports in a folder; it needs no network."""
    write_html(read_reports(folder), html)
    _console.print(f"wrote {html}")


@app.command()
def table(
    folder: Annotated[Path, typer.Argument(help="Folder of reports.")],
    into: Annotated[Path, typer.Option(help="A Markdown file with the marks <!-- results --> and <!-- end -->.")],
) -> None:
    """Write the tables of a folder of reports into a Markdown file."""
    write_tables(read_reports(folder), into)
    _console.print(f"wrote the tables into {into}")


@app.command()
def suite(
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(SUITES)}.")],
    data: Annotated[Path, typer.Option(help="Folder with one folder a benchmark.")],
    out: Annotated[Path, typer.Option(help="Folder of the reports.")] = RUNS,
    jobs: Jobs = CORES,
    only: Annotated[str, typer.Option(help="Only benchmarks whose name holds this.")] = "",
    fresh: Fresh = False,
) -> None:
    """Run a fixed list of benchmarks, subsets and systems; resumable. Data that is not there is skipped and said."""
    failed = run_suite(name, data, out, jobs=jobs, only=only, fresh=fresh, progress=_progress, say=_error.print)
    reports = read_reports(out)
    write_html(reports, out / "report.html")
    _console.print(f"{len(reports)} reports in {out}; read {out / 'report.html'}")
    if failed:
        raise typer.Exit(1)


@app.command()
def convert(
    benchmark: Annotated[str, typer.Argument(help=f"One of {', '.join(CONVERTERS)}.")],
    data: Annotated[Path, typer.Option(help="Folder of the benchmark's data, as of `run`.")],
    out: Annotated[Path, typer.Option(help="The JSONL file to write.")],
    seed: Annotated[int, typer.Option(help="Shuffles options.")] = 0,
) -> None:
    """Make training data of a benchmark, in the format of docs/training-data.md; what leaks in it is said."""
    converted = convert_benchmark(benchmark, Settings(data=data, seed=seed))
    examples = Examples(converted.histories)
    write_examples(out, examples)
    users = {history.user for history in converted.histories}
    probes = sum(len(history.probes) for history in converted.histories)
    made = f"{out}: {len(converted.histories):,} histories of {len(users):,} users, {probes:,} probes"
    _console.print(made, converted.licence, sep="\n", soft_wrap=True, markup=False)
    found = leaks(examples)
    for line in [*converted.notes, *map(str, found[:LEAKS])]:
        _error.print(line, soft_wrap=True, markup=False)
    if len(found) > LEAKS:
        _error.print(f"and {len(found) - LEAKS:,} leaks more: agentmem.train.leaks lists them")


@contextmanager
def _progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error; where nobody watches, a line every tenth of the way."""
    if not _error.is_terminal:
        said = [-1]

        def line(done: int, total: int) -> None:
            tenth = 10 * done // max(1, total)
            if tenth > said[0]:
                said[0] = tenth
                _error.print(f"{what}: {done:,} of {total:,} cases")

        yield line
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=_error, transient=True) as bars:
        task = bars.add_task(what, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


def print_report(report: Report, path: Path) -> None:
    """The metrics of a run as a table, and where its files are."""
    title = f"{report.benchmark}, {report.system}, {report.n:,} cases, {report.cost.seconds:,.0f} s"
    result = Table("metric", "value", "95 %", "n", "unscored", title=title)
    first = headline(report.benchmark)
    for name, metric in report.metrics.items():
        interval = "–" if metric.ci95 is None else f"{metric.ci95[0]:.3f} … {metric.ci95[1]:.3f}"
        result.add_row(name, shown(metric.value), interval, str(metric.n), str(metric.unscored or ""),
                       style="bold" if name in first else "")  # fmt: skip
    _console.print(result)
    if any(metric.unscored for metric in report.metrics.values()):
        for reason, count in _reasons(path).items():
            _error.print(f"unscored {count:,} times: {reason}")
    _console.print(f"{path}; case by case: {path.with_suffix('.jsonl')}")


def _reasons(path: Path) -> dict[str, int]:
    """Why scores are missing, the commonest reason first."""
    counts: dict[str, int] = {}
    for outcome in read_outcomes(path):
        for score in outcome.scores.values():
            if score.value is None:
                counts[score.reason] = counts.get(score.reason, 0) + 1
    return dict(sorted(counts.items(), key=lambda one: -one[1])[:5])
