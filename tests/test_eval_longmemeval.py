from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from eval.benchmarks.longmemeval import LongMemEval, ndcg_any
from eval.errors import DataError
from eval.harness import evaluate
from eval.runs import read_outcomes
from eval.settings import Settings
from eval.systems import SystemSpec
from eval.values import Report

DATA = Path(__file__).parent / "eval_data" / "longmemeval"
REAL = Path(__file__).parent.parent.parent / "shared" / "data"


def run(tmp_path: Path, system: str, **settings) -> Report:
    settings = {"data": DATA / "upstream", **settings}
    return evaluate(LongMemEval(), SystemSpec(label=system, embedder="hash"), Settings(**settings), tmp_path / "o.json")


def test_ndcg_counts_the_second_place_like_the_first():
    assert ndcg_any(["a", "x"], {"a"}, 5) == 1
    assert ndcg_any(["x", "a"], {"a"}, 5) == 1
    assert ndcg_any(["x", "y", "a"], {"a"}, 5) == pytest.approx(1 / math.log2(3))
    assert ndcg_any(["a", "x", "b"], {"a", "b"}, 5) == pytest.approx((1 + 1 / math.log2(3)) / 2)
    assert ndcg_any(["x", "y", "a"], {"a"}, 2) == 0


def test_abstention_and_answers_of_the_assistant_are_left_out():
    units = LongMemEval().load(Settings(data=DATA / "upstream"))
    assert [unit.id for unit in units] == ["q1", "q2"]
    assert [unit.cases[0].gold for unit in units] == [["answer_a_1"], ["answer_b_1", "answer_b_2"]]
    assert [unit.cases[0].stratum for unit in units] == ["single_session_user", "multi_session"]
    assert [session.date.isoformat() for session in units[0].history.sessions if session.date] == [
        "2023-05-01",
        "2023-05-02",
        "2023-05-03",
    ]


def test_our_layout_is_the_same_form():
    assert [unit.id for unit in LongMemEval().load(Settings(data=DATA / "ours"))] == ["q1"]


@pytest.mark.parametrize("system", ["bm25", "agentmem"])
def test_the_sessions_that_answer_are_found(tmp_path: Path, system: str):
    report = run(tmp_path, system)
    values = {name: metric.value for name, metric in report.metrics.items()}
    assert values["recall@5"] == values["recall_any@5"] == 1
    assert values["recall_all@10"] == 1
    assert values["recall_any@5_multi_session"] == 1
    assert report.n == 2


def test_what_is_not_retrieved_counts_nothing(tmp_path: Path):
    report = run(tmp_path, "no-memory")
    assert {metric.value for metric in report.metrics.values()} == {0}


def test_hits_of_all_turns_become_sessions_in_their_order(tmp_path: Path):
    run(tmp_path, "grep", limit=2)
    second = next(one for one in read_outcomes(tmp_path / "o.json") if one.case == "q2")
    # "lessons", "violin" in one turn; "piano" (and "lesson" is not "lessons") in the newer one
    assert second.detail["found"][0] == "answer_b_1"
    assert second.scores["recall_all@5"].value == 1


def test_a_system_that_ranks_nothing_is_unscored(tmp_path: Path):
    report = run(tmp_path, "full-context")
    assert report.metrics["recall_any@5"].value is None
    assert report.metrics["recall_any@5"].unscored == 2


def test_shuffled_golds_drop_the_scores(tmp_path: Path):
    # the gold sessions of another question are not even in the haystack
    assert run(tmp_path, "bm25", shuffle_gold=True).metrics["recall_any@5"].value == 0


def test_what_is_wrong_is_named(tmp_path: Path):
    with pytest.raises(DataError, match=r"longmemeval_s\*\.json nor .*huggingface"):
        LongMemEval().load(Settings(data=tmp_path))
    values = json.loads((DATA / "upstream/longmemeval_s.json").read_text())
    target = tmp_path / "longmemeval_s_cleaned.json"
    values[1]["haystack_dates"][2] = "3 May"
    target.write_text(json.dumps(values))
    with pytest.raises(DataError, match=r"cleaned\.json: \[1\]: haystack_dates\[2\]: '3 May' is no time"):
        LongMemEval().load(Settings(data=tmp_path))
    values[1]["haystack_dates"].pop()
    target.write_text(json.dumps(values))
    with pytest.raises(DataError, match=r"\[1\]: 3 session ids, 2 dates and 3 sessions"):
        LongMemEval().load(Settings(data=tmp_path))
    del values[0]["haystack_sessions"][0][0]["content"]
    target.write_text(json.dumps(values))
    with pytest.raises(DataError, match=r"\[0\]: haystack_sessions\[0\]\[0\]: field content is missing"):
        LongMemEval().load(Settings(data=tmp_path))


@pytest.mark.skipif(
    not (REAL / "longmemeval").is_dir(), reason="needs the real data beside the repository: shared/data"
)
def test_the_real_instance(tmp_path: Path):
    report = run(tmp_path, "bm25", data=REAL)
    assert report.n == 1
    assert report.metrics["recall_any@5"].value == 1
