from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from eval.benchmarks.convomem import ConvoMem, _among, found_share
from eval.benchmarks.convomem_router import read_points, route_at, stands_for
from eval.errors import DataError
from eval.harness import evaluate
from eval.reading import Row
from eval.runs import read_outcomes
from eval.settings import Settings
from eval.systems import SystemSpec
from eval.values import Report

DATA = Path(__file__).parent / "eval_data" / "convomem"
REAL = Path(__file__).parent.parent.parent / "shared" / "data"


def run(tmp_path: Path, data: str | Path, system: str, **settings) -> Report:
    return evaluate(
        ConvoMem(),
        SystemSpec(label=system, embedder="hash"),
        Settings(data=DATA / data, **settings),
        tmp_path / "o.json",
    )


def values(report: Report) -> dict[str, float | None]:
    return {name: metric.value for name, metric in report.metrics.items()}


# -- recall ---------------------------------------------------------------------------------------------------------


def test_evidence_is_compared_without_case_and_blanks():
    assert found_share(["well: I  moved\nto Rome.", "x"], ["i moved to rome.", "gone"]) == 0.5
    assert found_share([], ["gone"]) == 0


@pytest.mark.parametrize("system", ["bm25", "agentmem"])
def test_recall_of_the_published_test_cases(tmp_path: Path, system: str):
    report = run(tmp_path, "upstream_mixed", system)
    found = values(report)
    assert report.n == 2  # the item without evidence is left out
    assert found["recall@5_3"] == found["recall@5_5"] == found["recall@10_changing"] == found["recall@5"] == 1
    assert "router_accuracy" not in found


def test_recall_is_cut_at_k(tmp_path: Path):
    run(tmp_path, "upstream_mixed", "bm25")
    changing = next(one for one in read_outcomes(tmp_path / "o.json") if "changing" in one.case)
    assert set(changing.detail["found"][:2]) == set(changing.detail["gold"])


def test_nothing_is_found_without_a_memory_and_full_context_is_unscored(tmp_path: Path):
    assert values(run(tmp_path, "upstream_mixed", "no-memory"))["recall@5"] == 0
    assert run(tmp_path / "full", "upstream_mixed", "full-context").metrics["recall@5"].unscored == 2


def test_evidence_is_mixed_with_fillers_as_far_as_they_go():
    units = ConvoMem().load(Settings(data=DATA / "upstream_evidence"))
    assert [len(unit.history) for unit in units] == [2, 10]  # 12 fillers do not make 50 conversations
    said = [session.messages[0].content for session in units[1].history]
    tuesday, friday = (next(place for place, text in enumerate(said) if day in text) for day in ("Tuesdays", "Fridays"))
    assert tuesday < friday
    assert len(set(said)) == 10


def test_the_order_of_evidence_is_kept():
    own, others = ([Row({"n": n}, "") for n in range(start, start + 6)] for start in (0, 10))
    mixed = [row.value["n"] for row in _among(own, others, 9, random.Random(0))]
    assert [n for n in mixed if n < 10] == list(range(6))
    assert len({n for n in mixed if n >= 10}) == 3


def test_shuffled_golds_drop_the_scores(tmp_path: Path):
    assert values(run(tmp_path, "upstream_mixed", "bm25", shuffle_gold=True))["recall@10"] == 0


# -- the router -----------------------------------------------------------------------------------------------------


def test_the_route_at_a_size():
    full = route_at(2, 4000, memory_budget=2000, history_budget=5000)
    assert (full.name, stands_for(full)) == ("full_history", "long_context")
    written = route_at(2, 4000, memory_budget=2000, history_budget=3000)
    assert (written.name, stands_for(written)) == ("whole_memory", "mem0")
    # 20 conversations leave about 3000 tokens of memory
    assert route_at(20, 40_000, memory_budget=2000, history_budget=10**6).name == "retrieve"
    assert route_at(20, 40_000, memory_budget=4000, history_budget=39_000).name == "whole_memory"


@pytest.mark.parametrize("data", ["ours", "upstream_results"])
def test_published_points_are_those_of_both_systems(data: str):
    points = read_points(DATA / data, "")
    assert [(point.series, point.size, point.tokens) for point in points] == [
        ("preferences m1 1", 1, 200),
        ("preferences m1 1", 2, 4000),
        ("preferences m1 1", 50, 100_000),
    ]
    assert points[2].accuracy == {"long_context": 0.7, "mem0": 0.75}


@pytest.mark.parametrize("data", ["ours", "upstream_results"])
def test_the_router_is_read_off_the_curve(tmp_path: Path, data: str):
    report = run(tmp_path, data, "agentmem", limit=1)
    found = values(report)
    # a history budget of 300 tokens takes long context at size 1 alone, one of 8,000 at sizes 1 and 2
    assert found["router_accuracy"] == pytest.approx((0.9 + 0.4 + 0.75) / 3)
    assert found["router_accuracy_8000"] == pytest.approx((0.9 + 0.8 + 0.75) / 3)
    assert found["router_accuracy_128000"] == pytest.approx((0.9 + 0.8 + 0.7) / 3)
    assert found["best_accuracy"] == pytest.approx((0.9 + 0.8 + 0.75) / 3)
    assert found["long_context_accuracy_preferences"] == pytest.approx(0.8)
    assert found["mem0_accuracy"] == pytest.approx((0.5 + 0.4 + 0.75) / 3)
    assert (report.metrics["recall@5"].value, report.metrics["recall@5"].unscored) == (None, 1)
    curve = [one.detail for one in read_outcomes(tmp_path / "o.json") if "routes" in one.detail]
    assert [(one["size"], one["routes"]["router_accuracy"]) for one in curve] == [
        (1, "full_history"), (2, "whole_memory"), (50, "retrieve"),
    ]  # fmt: skip


def test_a_route_that_was_chosen_for_it_is_followed(tmp_path: Path):
    spec = SystemSpec(label="agentmem:full_history", embedder="hash")
    report = evaluate(ConvoMem(), spec, Settings(data=DATA / "ours"), tmp_path / "o.json")
    assert report.metrics["router_accuracy"].value == report.metrics["long_context_accuracy"].value


def test_a_system_without_a_router_is_unscored(tmp_path: Path):
    report = run(tmp_path, "ours", "bm25")
    assert (report.metrics["router_accuracy"].value, report.metrics["router_accuracy"].unscored) == (None, 3)
    assert report.metrics["best_accuracy"].n == 3


# -- what is wrong --------------------------------------------------------------------------------------------------


def test_what_is_wrong_is_named(tmp_path: Path):
    with pytest.raises(DataError, match=r"pre_mixed_testcases.*Salesforce/ConvoMem"):
        ConvoMem().load(Settings(data=tmp_path))
    case = tmp_path / "core_benchmark/pre_mixed_testcases/user_evidence/1_evidence/batched_000.json"
    case.parent.mkdir(parents=True)
    case.write_text("{}")
    with pytest.raises(DataError, match=r"batched_000\.json: not a list"):
        ConvoMem().load(Settings(data=tmp_path))
    case.write_text(json.dumps([{"conversations": [{"messages": [{"speaker": "cat", "text": "?"}]}]}]))
    with pytest.raises(DataError, match=r"\[0\]: conversations\[0\]: message 1: role 'cat'"):
        ConvoMem().load(Settings(data=tmp_path))
    case.write_text(json.dumps([{"conversations": [], "evidenceItems": [{"answer": "a"}]}]))
    with pytest.raises(DataError, match=r"\[0\]: evidenceItems\[0\]: field question is missing"):
        ConvoMem().load(Settings(data=tmp_path))


def test_wrong_numbers_are_named(tmp_path: Path):
    wrong = json.loads((DATA / "ours/published_results.json").read_text())
    wrong["results"][0]["by_context_size"][0][1] = "ninety"
    (tmp_path / "published_results.json").write_text(json.dumps(wrong))
    with pytest.raises(DataError, match=r"results\[0\]: by_context_size: field 1 is \"ninety\", not a number"):
        ConvoMem().load(Settings(data=tmp_path))
    results = tmp_path / "src/main/resources/evaluation_results/preferences/mem0/m1/1_evidence.csv"
    results.parent.mkdir(parents=True)
    results.write_text("context_size,success_rate_percent,avg_input_tokens\n1,fifty,3\n")
    (tmp_path / "published_results.json").unlink()
    with pytest.raises(DataError, match=r"1_evidence\.csv:2: field success_rate_percent is 'fifty', not a number"):
        ConvoMem().load(Settings(data=tmp_path))


@pytest.mark.skipif(not (REAL / "convomem").is_dir(), reason="needs the real data in ../shared/data")
def test_the_real_numbers(tmp_path: Path):
    report = run(tmp_path, REAL, "agentmem")
    assert report.metrics["best_accuracy"].n == 130
    preferences = {
        one.detail.get("size"): one for one in read_outcomes(tmp_path / "o.json") if "preferences" in one.case
    }
    assert preferences[100].detail["published"] == {"long_context": 0.783, "mem0": 0.435}
