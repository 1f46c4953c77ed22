from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from agentmem.models.embed import Embedder
from eval.benchmarks.forget import Forget, clause, own_words, traces_in
from eval.errors import DataError
from eval.harness import evaluate
from eval.runs import read_outcomes
from eval.settings import Settings
from eval.systems import SystemSpec
from eval.values import Report

DATA = Path(__file__).parent / "eval_data"
REAL = Path(__file__).parent.parent.parent / "shared" / "data"


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fixtures of both benchmarks in our layout."""
    data = tmp_path_factory.mktemp("both")
    shutil.copytree(DATA / "prefeval" / "ours" / "prefeval", data / "prefeval")
    shutil.copytree(DATA / "stale" / "ours", data / "stale_chain")
    return data


def run(system: str, data: Path, out: Path, embedder: str = "hash", **settings: Any) -> Report:
    spec = SystemSpec(label=system, embedder=embedder)
    return evaluate(Forget(), spec, Settings(data=data, **settings), out / "out.json", fresh=True)


def values(report: Report) -> dict[str, float | None]:
    return {name: metric.value for name, metric in report.metrics.items()}


def test_a_preference_becomes_a_clause():
    assert clause("I never eat fish.") == "I never eat fish"
    assert clause("My knees hurt. I avoid stairs.") == "my knees hurt"
    assert clause('"I\'m not fond of dust."') == "I'm not fond of dust"
    assert clause("Due to asthma, I avoid dust!") == "due to asthma, I avoid dust"


def test_the_words_that_tell_stand_nowhere_else():
    # "avoid" stands elsewhere, "cats" has four letters, "about" is common, "allergen" is a part of "allergens"
    assert own_words("I avoid cats about the house: allergen", ["I avoid allergens."]) == ("house",)


def test_traces_are_whole_words_in_text_and_anything_in_bytes():
    assert traces_in(["A Horse, tired."], ["horse", "tire"]) == ["horse"]
    assert traces_in([b"\x00seaHORSEs\xff"], ["horse", "cow"]) == ["horse"]
    assert traces_in([], ["horse"]) == []


def test_a_store_of_turns_forgets_nothing_and_loses_nothing(both: Path, tmp_path: Path):
    report = run("bm25", both, tmp_path)
    found, items = values(report), report.n
    assert items > 4
    assert (found["known"], found["forgotten"], found["kept"]) == (1, 0, 1)
    assert found["traces"] == found["traces_memories"] == found["traces_search"] == report.metrics["known"].n
    assert found["traces_files"] is None  # it has no files
    assert found["forgotten_stale"] == found["forgotten_explicit"] == 0


def test_who_knows_nothing_cannot_forget(both: Path, tmp_path: Path):
    report = run("no-memory", both, tmp_path)
    assert values(report)["known"] == 0
    assert values(report)["forgotten"] is None
    assert report.metrics["forgotten"].unscored == report.n


def test_shuffled_golds_are_not_known(both: Path, tmp_path: Path):
    report = run("bm25", both, tmp_path, shuffle_gold=True)
    # the words of another item are said only where it is one of the talks that come after
    assert (values(report)["known"] or 0) < 0.5


def test_agentmem_leaves_no_trace_of_a_statement_in_its_files(both: Path, tmp_path: Path, minilm: Embedder):
    report = run("agentmem", both, tmp_path, embedder="minilm", limit=4)
    assert values(report)["known"] == 1
    assert report.metrics["traces_files"].n == report.metrics["known"].n
    for outcome in read_outcomes(tmp_path / "out.json"):
        assert "request" in outcome.detail
        traces = outcome.detail.get("traces", {})
        # whoever still has it in a memory has it in the files too
        assert set(traces.get("traces_memories", [])) <= set(traces.get("traces_files", []))


def test_one_of_the_two_benchmarks_is_enough(both: Path, tmp_path: Path):
    shutil.copytree(both / "prefeval", tmp_path / "prefeval")
    assert {unit.cases[0].stratum for unit in Forget().load(Settings(data=tmp_path))} == {"explicit"}
    assert {unit.cases[0].stratum for unit in Forget().load(Settings(data=both))} == {"explicit", "stale"}


def test_without_data_both_sources_are_named(tmp_path: Path):
    with pytest.raises(DataError, match=r"neither PrefEval nor STALE.*amazon-science/PrefEval.*qvf_withcontroller"):
        Forget().load(Settings(data=tmp_path))


@pytest.mark.skipif(not (REAL / "prefeval").is_dir(), reason="PrefEval is not in ../shared/data")
def test_requests_and_words_of_the_real_data():
    units = Forget().load(Settings(data=REAL))
    explicit = [unit.cases[0] for unit in units if unit.cases[0].stratum == "explicit"]
    assert len(explicit) == 688
    assert sum(bool(case.gold) for case in explicit) > 600
    for case in explicit[::40]:
        said = " ".join(message.content.lower() for session in case.input.told[:1] for message in session.messages)
        assert all(word in said for word in case.gold)
        assert not any(word in session.id for word in case.gold for session in (*case.input.before, *case.input.told))
