"""router and elicit: what a prompt costs and tells as the history grows; and whether a question is asked first."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentmem.session import Session
from eval.benchmarks import router
from eval.benchmarks.elicit import Elicit
from eval.benchmarks.router import Router
from eval.harness import evaluate
from eval.runs import read_outcomes
from eval.settings import Settings
from eval.systems import SystemSpec, UserMemory, make_system
from eval.values import Report

DATA = Path(__file__).parent / "eval_data"


# pyright: reportOptionalOperand=false, reportOperatorIssue=false


def run(tmp_path: Path, system: str, data: str) -> Report:
    settings = Settings(data=DATA / data)
    return evaluate(Router(), SystemSpec(label=system, embedder="hash"), settings, tmp_path / "o.json")


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(router, "FILLERS", (1, 3))
    monkeypatch.setattr(router, "SESSIONS", (1, 2))


@pytest.mark.parametrize("system", ["agentmem:full_history", "full-context"])
def test_a_full_history_tells_everything_and_costs_more_the_longer_it_is(tmp_path, system):
    told = run(tmp_path, system, "prefeval/ours").metrics
    assert told["told_prefeval_1"].value == told["told_prefeval_3"].value == 1
    assert told["tokens_prefeval_1"].value < told["tokens_prefeval_3"].value


def test_no_memory_costs_nothing_and_tells_nothing(tmp_path):
    metrics = run(tmp_path, "no-memory", "prefeval/ours").metrics
    assert {metric.value for metric in metrics.values()} == {0}


def test_a_written_memory_tells_for_less(tmp_path):
    whole = run(tmp_path / "whole", "agentmem:whole_memory", "prefeval/ours").metrics
    full = run(tmp_path / "full", "agentmem:full_history", "prefeval/ours").metrics
    assert whole["told_prefeval_3"].value > 0
    assert whole["tokens_prefeval_3"].value < full["tokens_prefeval_3"].value


def test_a_question_counts_once_all_that_it_needs_has_been_said(tmp_path):
    report = run(tmp_path, "full-context", "locomo/ours")
    outcomes = list(read_outcomes(tmp_path / "o.jsonl"))
    assert any(not outcome.scores for outcome in outcomes) or len(outcomes) == report.metrics["told_locomo_2"].n
    assert report.metrics["told_locomo_2"].value == 1


# -- elicit ----------------------------------------------------------------------------------------------------------


class Asks(UserMemory):
    """Asks for no reason."""

    name = "asks"

    def observe(self, session: Session) -> None:
        raise AssertionError("nothing is observed")

    def asks(self, known, request) -> bool:
        return len(request) % 2 == 0


class System:
    name, config = "asks", {}

    def open(self, folder: Path) -> UserMemory:
        return Asks()


def test_elicit_scores_both_ways(tmp_path, monkeypatch):
    monkeypatch.setattr("eval.harness.make_system", lambda spec: System())
    report = evaluate(Elicit(), SystemSpec(label="asks"), Settings(data=DATA), tmp_path / "o.json")
    asks, silent = report.metrics["asks"], report.metrics["silent"]
    assert asks.n + silent.n == report.metrics["accuracy"].n >= 60
    assert 0 < asks.value < 1 and 0 < silent.value < 1
    right = asks.value * asks.n + silent.value * silent.n
    assert report.metrics["accuracy"].value == pytest.approx(right / (asks.n + silent.n))


def test_the_trivial_controls(tmp_path):
    for name, asks in (("no-memory", False), ("full-context", True)):
        assert make_system(SystemSpec(label=name)).open(tmp_path / name).asks([], "Plan a dinner") is asks
