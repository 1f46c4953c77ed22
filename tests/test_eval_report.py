"""The command line, the page and the tables, over real runs of the shipped tiny set."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from eval.benchmarks.tiny import Tiny
from eval.cli import app
from eval.errors import DataError
from eval.harness import evaluate
from eval.report import markdown, read_reports, shown, write_html, write_tables
from eval.runs import read_report
from eval.settings import Settings
from eval.systems import SystemSpec
from eval.values import Cost, Metric, Report


def invoke(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "160", "TERM": "dumb"})
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for system in ("bm25", "grep", "full-context", "no-memory"):
        evaluate(Tiny(), SystemSpec(label=system), Settings(), folder / f"tiny--{system}.json")
    return folder


def report(system: str, **metrics: float | None) -> Report:
    made = {
        name: Metric(value=value, ci95=None, n=3, unscored=0 if value is not None else 3)
        for name, value in metrics.items()
    }
    return Report(
        benchmark="nlsi", system=system, n=3, seed=0, metrics=made, cost=Cost(seconds=1), config={"date": "2026-01-01"}
    )


def test_run_prints_the_metrics_and_writes_the_files(tmp_path: Path) -> None:
    out = tmp_path / "mine.json"
    printed = invoke("run", "tiny", "--system", "bm25", "--limit", "6", "--seed", "3", "--out", str(out), "--jobs", "1")
    assert "recall@5" in printed and "mine.jsonl" in printed.replace("\n", "")
    assert json.loads(out.read_text())["seed"] == 3
    assert sum("case" in json.loads(line) for line in out.with_suffix(".jsonl").read_text().splitlines()) == 6


def test_what_is_unscored_says_why(tmp_path: Path) -> None:
    printed = invoke(
        "run", "tiny", "--system", "full-context", "--limit", "3", "--out", str(tmp_path / "r.json"), "--jobs", "1"
    )
    assert "unscored 3 times: full-context ranks nothing" in printed


def test_list_names_benchmarks_systems_and_what_is_here(tmp_path: Path) -> None:
    printed = invoke("list", "--data", str(tmp_path))
    for name in ("tiny", "bm25", "agentmem", "24 cases", "pkg.module:Name"):
        assert name in printed


def test_compare_pairs_by_case(runs: Path) -> None:
    printed = invoke("compare", str(runs / "tiny--no-memory.json"), str(runs / "tiny--bm25.json"))
    value = read_report(runs / "tiny--bm25.json").metrics["recall@5"].value
    assert value and re.search(rf"recall@5 .*0\.000 .*{value:.3f} .*\+{value:.3f}", printed)


def test_compare_of_two_benchmarks_is_refused(runs: Path, tmp_path: Path) -> None:
    other = tmp_path / "nlsi--x.json"
    other.write_text(report("x", em=0.5).model_dump_json())
    with pytest.raises(Exception, match="nothing to pair"):
        invoke("compare", str(runs / "tiny--bm25.json"), str(other))


def test_the_page_needs_no_network_and_shows_every_number(runs: Path, tmp_path: Path) -> None:
    invoke("report", str(runs), "--html", str(tmp_path / "report.html"))
    page = (tmp_path / "report.html").read_text()
    loads = re.findall(r"""(?:src|href)=["']([^"'#][^"']*)["']|url\(([^)#]+)\)|@import""", page)
    assert not [one for one in loads if any("://" in part for part in one)]
    assert page.count("<svg") >= 1 and "<script" not in page
    for one in read_reports(runs):
        for metric in one.metrics.values():
            assert f">{shown(metric.value)}<" in page


def test_the_page_is_the_same_for_the_same_reports(runs: Path, tmp_path: Path) -> None:
    for name in ("a.html", "b.html"):
        write_html(read_reports(runs), tmp_path / name)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_text_of_reports_cannot_break_the_page(tmp_path: Path) -> None:
    write_html([report("<script>alert(1)</script>", em=0.5)], tmp_path / "page.html")
    assert "<script>" not in (tmp_path / "page.html").read_text()


def test_the_best_of_a_row_is_marked_and_lower_can_be_better() -> None:
    text = markdown([report("a", em=0.25, f1=0.5), report("b", em=0.5, f1=0.5), report("c", em=None, f1=0.5)])
    lines = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("|")}
    assert "**0.500**" in lines["b"] and "**" not in lines["a"]
    assert "–" in lines["c"]
    forget = [
        one.model_copy(update={"benchmark": "forget"}) for one in (report("a", traces=3.0), report("b", traces=0.0))
    ]
    lines = {line.split("|")[1].strip(): line for line in markdown(forget).splitlines() if line.startswith("|")}
    assert "**0.000**" in lines["b"]


def test_tables_are_written_between_the_marks(runs: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- results -->\nold\n<!-- end -->\nafter\n")
    invoke("table", str(runs), "--into", str(page))
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    assert "### tiny" in text and "| bm25 |" in text
    page.write_text("no marks")
    with pytest.raises(DataError, match="has no marks"):
        write_tables(read_reports(runs), page)


def test_a_folder_without_reports_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no reports"):
        read_reports(tmp_path)


def test_numbers_as_people_read_them() -> None:
    assert [shown(value) for value in (None, 0.12345, 1234.5)] == ["–", "0.123", "1,234"]


def test_a_suite_skips_what_has_no_data_and_says_so(tmp_path: Path) -> None:
    printed = invoke(
        "suite", "quick", "--data", str(tmp_path), "--out", str(tmp_path / "out"), "--only", "tiny", "--jobs", "1"
    )
    assert "reports in" in printed
    nothing = CliRunner().invoke(
        app, ["suite", "quick", "--data", str(tmp_path), "--out", str(tmp_path / "o2"), "--only", "nlsi"]
    )
    assert "skipped nlsi" in nothing.output and isinstance(nothing.exception, DataError)
