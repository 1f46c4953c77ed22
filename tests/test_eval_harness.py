"""The harness: subsets, resuming, failures that stay failures, controls; on real systems and the shipped tiny set."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from agentmem.errors import ConfigError
from agentmem.memory import Hit, Memory
from agentmem.models.chat import get_chat_model
from agentmem.session import Session, make_session
from eval.benchmarks import NAMES, get_benchmark
from eval.benchmarks.tiny import Tiny
from eval.errors import DataError
from eval.harness import Benchmark, Run, chosen, evaluate, scored
from eval.runs import fingerprint, read_outcomes, read_report
from eval.settings import Settings
from eval.systems import SystemSpec, UserMemory, turn_hit
from eval.values import Case, Outcome, Score, Unit

BM25 = SystemSpec(label="bm25")


def unit(id: str, *cases: tuple[str, str, object]) -> Unit:
    return Unit(
        id=id, cases=tuple(Case(id=name, group=id, stratum=stratum, gold=gold) for name, stratum, gold in cases)
    )


# -- choosing cases


def test_a_subset_keeps_the_proportions_of_the_strata_and_is_seeded() -> None:
    units = [unit(f"u{n}", (f"u{n}/a", "often", 0), (f"u{n}/b", "often", 0), (f"u{n}/c", "rare", 0)) for n in range(40)]
    kept = [case for one in chosen(units, Settings(limit=30, seed=1)) for case in one.cases]
    assert Counter(case.stratum for case in kept) == {"often": 20, "rare": 10}
    assert kept == [case for one in chosen(units, Settings(limit=30, seed=1)) for case in one.cases]
    assert kept != [case for one in chosen(units, Settings(limit=30, seed=2)) for case in one.cases]
    larger = {case.id for one in chosen(units, Settings(limit=60, seed=1)) for case in one.cases}
    assert {case.id for case in kept} <= larger  # a run can be extended


def test_a_choice_of_groups_bounds_what_is_observed() -> None:
    units = [unit(f"u{n}", (f"u{n}/a", "", 0), (f"u{n}/b", "", 0)) for n in range(9)]
    kept = [one.id for one in chosen(units, Settings(groups=3, seed=1))]
    assert len(kept) == 3 and kept == [one.id for one in chosen(units, Settings(groups=3, seed=1))]
    assert kept != [one.id for one in chosen(units, Settings(groups=3, seed=2))]
    assert len(chosen(units, Settings(groups=20))) == 9


def test_shuffled_golds_stay_within_a_unit_and_none_keeps_its_place() -> None:
    units = [unit("many", ("a", "", 1), ("b", "", 2), ("c", "", 3)), unit("x", ("x", "", 8)), unit("y", ("y", "", 9))]
    golds = {case.id: case.gold for one in chosen(units, Settings(shuffle_gold=True)) for case in one.cases}
    assert sorted(golds[id] for id in "abc") == [1, 2, 3]
    assert all(golds[id] != gold for id, gold in zip("abc", (1, 2, 3), strict=True))
    assert (golds["x"], golds["y"]) == (9, 8)


def test_shuffled_golds_bring_the_score_to_chance(tmp_path: Path) -> None:
    """27 user and assistant turns of one's own in a haystack of 37: five of them by chance are a seventh."""
    hybrid = SystemSpec(label="hybrid", embedder="hash")  # its questions share few telling words with the answers
    real = evaluate(Tiny(), hybrid, Settings(), tmp_path / "real.json").metrics["recall@5"].value
    shuffled = evaluate(Tiny(), hybrid, Settings(shuffle_gold=True), tmp_path / "s.json").metrics["recall@5"].value
    assert real is not None and shuffled is not None
    assert real > 0.3
    assert shuffled <= 0.15


# -- running


def test_a_report_has_the_documented_form(tmp_path: Path) -> None:
    evaluate(Tiny(), BM25, Settings(limit=6), tmp_path / "run.json")
    report = json.loads((tmp_path / "run.json").read_text())
    assert list(report) == ["benchmark", "system", "n", "seed", "metrics", "cost", "config"]
    assert (report["benchmark"], report["system"], report["n"], report["seed"]) == ("tiny", "bm25", 6, 0)
    for metric in report["metrics"].values():
        assert list(metric) == ["value", "ci95", "n", "unscored"]
    assert list(report["cost"]) == ["seconds", "prompt_tokens", "completion_tokens"]
    assert read_report(tmp_path / "run.json").n == 6


def test_processes_give_what_one_process_gives(tmp_path: Path) -> None:
    one = evaluate(Tiny(), BM25, Settings(), tmp_path / "one.json", jobs=1)
    two = evaluate(Tiny(), BM25, Settings(), tmp_path / "two.json", jobs=2)
    assert one.metrics == two.metrics
    detail = [
        sorted((o.case, str(o.detail)) for o in read_outcomes(tmp_path / f"{name}.json")) for name in ("one", "two")
    ]
    assert detail[0] == detail[1]


def test_a_stopped_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    whole = evaluate(Tiny(), BM25, Settings(), tmp_path / "whole.json")
    evaluate(Tiny(), BM25, Settings(), tmp_path / "run.json")
    lines = (tmp_path / "run.jsonl").read_text().splitlines()
    (tmp_path / "run.jsonl").write_text("\n".join(lines[:5]) + "\n" + lines[5][:20])  # killed while it wrote
    (tmp_path / "run.json").unlink()
    seen: list[tuple[int, int]] = []
    again = evaluate(
        Tiny(), BM25, Settings(), tmp_path / "run.json", progress=lambda done, total: seen.append((done, total))
    )
    assert seen[0] == (4, 24)  # the head line and four cases had been written whole
    assert again.metrics == whole.metrics


def test_a_larger_limit_takes_over_the_cases_of_a_smaller_one(tmp_path: Path) -> None:
    evaluate(Tiny(), BM25, Settings(limit=5), tmp_path / "run.json")
    seen: list[tuple[int, int]] = []
    evaluate(Tiny(), BM25, Settings(), tmp_path / "run.json", progress=lambda done, total: seen.append((done, total)))
    assert seen[0] == (5, 24)


def test_other_settings_are_not_mixed_into_a_run(tmp_path: Path) -> None:
    evaluate(Tiny(), BM25, Settings(limit=3), tmp_path / "run.json")
    with pytest.raises(ConfigError, match="other settings, data or code; give another --out, or --fresh"):
        evaluate(Tiny(), BM25, Settings(limit=3, seed=1), tmp_path / "run.json")
    assert evaluate(Tiny(), BM25, Settings(limit=3, seed=1), tmp_path / "run.json", fresh=True).seed == 1


class Failing(UserMemory):
    """Fails on one user, cannot list what it remembers."""

    name = "failing"

    def __init__(self) -> None:
        self.sessions: list[Session] = []

    def observe(self, session: Session) -> None:
        if session.id.startswith("bruno"):
            raise RuntimeError("disk on fire\nand more")
        self.sessions.append(session)

    def search(self, query: str, k: int, **asked: object) -> Sequence[Hit]:
        return [turn_hit(session, 0, 1.0) for session in self.sessions][:k]


class FailingSystem:
    name = "failing"
    config: dict[str, object] = {}  # noqa: RUF012

    def open(self, folder: Path) -> UserMemory:
        return Failing()


def test_a_failure_is_never_a_number(tmp_path: Path) -> None:
    spec = SystemSpec(label="tests.test_eval_harness:FailingSystem")
    report = evaluate(Tiny(), spec, Settings(), tmp_path / "run.json")
    assert (report.metrics["recall@5"].n, report.metrics["recall@5"].unscored) == (21, 3)
    assert report.metrics["value_recall"].value is None
    assert (report.metrics["value_recall"].n, report.metrics["value_recall"].unscored) == (0, 24)
    broken = [one for one in read_outcomes(tmp_path / "run.json") if one.group == "bruno"]
    assert {one.scores["recall@5"].reason for one in broken} == {"failing: observe: disk on fire"}
    assert "RuntimeError: disk on fire" in broken[0].detail["traceback"]
    fine = next(one for one in read_outcomes(tmp_path / "run.json") if one.group == "ada")
    assert fine.scores["value_recall"].reason == "failing writes no memories that can be listed"


class Forgetful(Benchmark):
    """A benchmark with a bug: it gives no outcome for a case."""

    name = "forgetful"
    metrics = ("m",)

    def load(self, settings: Settings) -> list[Unit]:
        return [unit("u", ("a", "", 1), ("b", "", 2))]

    def run(self, unit: Unit, run: Run) -> Iterator[Outcome]:
        yield Outcome(case="a", group="u", scores={"m": Score(value=1)})


def test_a_case_without_an_outcome_is_a_bug_and_not_a_gap(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="forgetful: no outcome for b"):
        evaluate(Forgetful(), BM25, Settings(), tmp_path / "run.json")


# -- names and files


def test_wrong_names_say_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="choose one of personabench"):
        get_benchmark("persona")
    with pytest.raises(ConfigError, match="system 'bm52': choose one of agentmem"):
        evaluate(Tiny(), SystemSpec(label="bm52"), Settings(limit=1), tmp_path / "run.json")
    with pytest.raises(ConfigError, match="no.such.module"):
        evaluate(Tiny(), SystemSpec(label="no.such.module:X"), Settings(limit=1), tmp_path / "run.json")
    with pytest.raises(ConfigError, match="has no method open"):
        evaluate(Tiny(), SystemSpec(label="collections:Counter"), Settings(limit=1), tmp_path / "run.json")


def test_files_that_are_no_reports_are_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_report(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(DataError, match="not a report"):
        read_report(tmp_path / "bad.json")
    with pytest.raises(DataError, match=r"bad.jsonl: not there"):
        read_outcomes(tmp_path / "bad.json")
    (tmp_path / "bad.jsonl").write_text('{"no": "outcome"}\n')
    with pytest.raises(DataError, match=r"bad.jsonl:1: not a line of a run"):
        read_outcomes(tmp_path / "bad.json")


@pytest.mark.parametrize("name", NAMES)
def test_every_benchmark_says_what_it_is_and_what_is_missing(name: str, tmp_path: Path) -> None:
    benchmark = get_benchmark(name)
    assert benchmark.name == name and benchmark.about
    if name not in ("tiny", "elicit", "dialogues"):  # their data ships
        with pytest.raises(DataError) as missing:
            benchmark.load(Settings(data=tmp_path))
        assert str(tmp_path) in str(missing.value) and benchmark.source in str(missing.value)


def test_a_turn_stands_for_itself() -> None:
    hit = turn_hit(make_session([{"role": "user", "content": "Hello"}], id="s"), 0, 0.5, "why")
    assert (hit.id, hit.text, hit.sources[0].session, hit.sources[0].turn) == ("s#0", "Hello", "s", 0)


class Flaky(UserMemory):
    """Fails as long as the environment says so."""

    name = "flaky"

    def observe(self, session: Session) -> None:
        if os.environ.get("FLAKY"):
            raise RuntimeError("no connection")

    def search(self, query: str, k: int, **asked: object) -> Sequence[Hit]:
        return []


class FlakySystem(FailingSystem):
    name = "flaky"

    def open(self, folder: Path) -> UserMemory:
        return Flaky()


def test_what_failed_is_tried_again_and_what_cannot_be_done_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = SystemSpec(label="tests.test_eval_harness:FlakySystem")
    monkeypatch.setenv("FLAKY", "1")
    assert evaluate(Tiny(), spec, Settings(limit=6), tmp_path / "run.json").metrics["recall@5"].unscored == 6
    monkeypatch.delenv("FLAKY")
    again = evaluate(Tiny(), spec, Settings(limit=6), tmp_path / "run.json")
    assert (again.metrics["recall@5"].n, again.metrics["recall@5"].unscored) == (6, 0)
    seen: list[tuple[int, int]] = []
    evaluate(
        Tiny(), spec, Settings(limit=6), tmp_path / "run.json", progress=lambda done, total: seen.append((done, total))
    )
    assert seen[0] == (6, 6)  # value_recall cannot be had of it, however often it is asked


class Wrong(Flaky):
    def memories(self) -> Sequence[Memory]:
        return ["a string"]  # type: ignore[list-item]


class WrongSystem(FailingSystem):
    def open(self, folder: Path) -> UserMemory:
        return Wrong()


def test_a_system_that_gives_something_else_is_told_what_was_expected(tmp_path: Path) -> None:
    spec = SystemSpec(label="tests.test_eval_harness:WrongSystem")
    evaluate(Tiny(), spec, Settings(limit=1), tmp_path / "run.json")
    reason = read_outcomes(tmp_path / "run.json")[0].scores["value_recall"].reason
    assert reason == "failing: memories: gave a str, not a Hit or a memory of agentmem.memory"


def test_a_changed_system_of_ones_own_is_not_mixed_with_its_old_cases(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "mine"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "own.py").write_text("from tests.test_eval_harness import FlakySystem as Mine\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    spec = SystemSpec(label="mine.own:Mine")
    before = fingerprint("tiny", spec, Settings())
    assert fingerprint("tiny", spec, Settings()) == before
    (package / "own.py").write_text("from tests.test_eval_harness import FailingSystem as Mine\n")
    assert fingerprint("tiny", spec, Settings()) != before


def test_other_data_is_other_data(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "rows.jsonl").write_text("{}\n")
    before = fingerprint("forget", BM25, Settings(data=tmp_path))
    (tmp_path / "deep" / "rows.jsonl").write_text("{ }\n")
    assert fingerprint("forget", BM25, Settings(data=tmp_path)) != before


def test_a_wrong_setting_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="OPENAI_API_KEY"):
        evaluate(NeedsReader(), BM25, Settings(reader="openai:nothing"), tmp_path / "run.json")


class NeedsReader(Forgetful):
    name = "needs-reader"

    def run(self, unit: Unit, run: Run) -> Iterator[Outcome]:
        for case in unit.cases:
            yield Outcome(case=case.id, group="u", scores=scored(["m"], lambda: {"m": Score(value=len(_reader(run)))}))


def _reader(run: Run) -> str:
    return str(get_chat_model(run.settings.reader))
