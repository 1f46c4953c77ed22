from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest

from agentmem.memory import Source
from agentmem.models.fake import FakeChatModel
from eval.benchmarks.locomo import LoCoMo, evidence_recall, fused
from eval.benchmarks.locomo_answers import answer_score, token_f1
from eval.errors import DataError
from eval.harness import evaluate
from eval.runs import read_outcomes
from eval.settings import Settings
from eval.systems import SystemSpec
from eval.values import Report

DATA = Path(__file__).parent / "eval_data" / "locomo"
REAL = Path(__file__).parent.parent.parent / "shared" / "data"


def run(tmp_path: Path, system: str, **settings) -> Report:
    settings = {"data": DATA / "upstream", **settings}
    return evaluate(LoCoMo(), SystemSpec(label=system, embedder="hash"), Settings(**settings), tmp_path / "o.json")


def place(turn: int) -> Source:
    return Source(session="session_1", turn=turn)


# -- scoring, by hand -----------------------------------------------------------------------------------------------


def test_rank_fusion():
    # 0 has 1/61 + 1/62, 1 has 1/62 + 1/61 (a tie: the first speaker's order), 2 has 1/63, 3 has 1/63
    assert fused([[place(0), place(1), place(2)], [place(1), place(0), place(3)]]) == [place(n) for n in range(4)]
    assert fused([[place(0)], [place(1), place(0)]]) == [place(0), place(1)]


def test_evidence_recall():
    assert evidence_recall(["D1:1", "D1:2", "D1:3"], ["D1:3", "D1:1"], 2) == 0.5
    assert evidence_recall(["D1:1"], ["D1:1", "D"], 5) == 0.5  # an id that no message has is never found
    assert evidence_recall([], [], 5) == 1  # as officially


def test_token_f1_over_stems():
    assert token_f1("the running dogs", "A dog runs.") == 1
    # "red", "shoe" against "shoe", "box": P 1/2, R 1/2
    assert token_f1("red shoes", "shoe and box") == 0.5
    assert token_f1("19 April, 2021", "19 April 2021") == 1
    assert token_f1("", "shoe") == token_f1("shoe", "and the") == 0


@pytest.mark.parametrize(
    ("answer", "gold", "category", "score"),
    [
        ("goldfish, a cat", "parrot, goldfish", 1, 0.5),  # one of two parts
        ("goldfish, a cat", "parrot, goldfish", 4, 0.5),  # P 1/2, R 1/2
        ("Yes", "Yes; she bakes", 3, 1),
        ("Yes", "Yes; she bakes", 4, 0.5),
        ("There is No information available here", "", 5, 1),
        ("It is not mentioned.", "", 5, 1),
        ("rhubarb cake", "", 5, 0),
    ],
)
def test_each_category_is_scored_in_its_way(answer: str, gold: str, category: int, score: float):
    assert answer_score(answer, gold, category) == pytest.approx(score)


# -- loading --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["upstream", "ours"])
def test_both_names_of_the_file(layout: str):
    (unit,) = LoCoMo().load(Settings(data=DATA / layout))
    assert [case.stratum for case in unit.cases] == [
        "single_hop", "temporal", "multi_hop", "open_domain", "adversarial", "single_hop",
    ]  # fmt: skip
    assert unit.cases[5].gold["answer"] == "3"
    assert {case.group for case in unit.cases} == {"conv-x"}


def test_each_speaker_is_the_user_of_a_memory():
    (unit,) = LoCoMo().load(Settings(data=DATA / "upstream"))
    first, second = unit.history.seen_by("Otto")
    assert (first.date, second.date) == (date(2021, 3, 3), date(2021, 4, 20))
    assert [(message.role, message.content) for message in first.messages][:2] == [
        ("assistant", "Mara: Hello Otto! I adopted a parrot called Biscuit."),
        ("user", "Lovely! I only keep goldfish. [shares a bowl with three goldfish]"),
    ]
    assert unit.history.line_of(Source(session="session_2", turn=1)) == "D2:2"


def test_what_is_wrong_is_named(tmp_path: Path):
    with pytest.raises(DataError, match=r"locomo10\.json nor .*snap-research"):
        LoCoMo().load(Settings(data=tmp_path))
    value = json.loads((DATA / "upstream/locomo10.json").read_text())
    target = tmp_path / "locomo10.json"
    value[0]["qa"][1]["category"] = 7
    target.write_text(json.dumps(value))
    with pytest.raises(DataError, match=r"locomo10\.json: \[0\]: qa\[1\]: field category is 7"):
        LoCoMo().load(Settings(data=tmp_path))
    value[0]["conversation"]["session_1_date_time"] = "in March"
    value[0]["qa"] = []
    target.write_text(json.dumps(value))
    with pytest.raises(DataError, match="session_1_date_time: 'in March' is no time"):
        LoCoMo().load(Settings(data=tmp_path))


# -- running --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("system", ["bm25", "agentmem"])
def test_evidence_is_found(tmp_path: Path, system: str):
    report = run(tmp_path, system)
    values = {name: metric.value for name, metric in report.metrics.items()}
    # 5 messages in all: only the id that does not exist is missed
    assert values["recall@25_turns"] == pytest.approx((5 + 0.5) / 6)
    assert values["recall@25"] == pytest.approx((5 + 0.5) / 6)
    assert values["recall@5_open_domain"] == 1
    assert report.metrics["recall@5_single_hop"].n == 2
    if system == "agentmem":
        assert (values["recall@25_memory"] or 0) > 1 / 6  # more than the question without evidence
    found = {one.case: one.detail["found"] for one in read_outcomes(tmp_path / "o.json")}
    assert found["conv-x#001"][0] == "D2:1"


def test_without_a_memory_only_the_question_without_evidence_counts(tmp_path: Path):
    assert run(tmp_path, "no-memory").metrics["recall@5"].value == pytest.approx(1 / 6)


def test_a_system_that_ranks_nothing_is_unscored(tmp_path: Path):
    report = run(tmp_path, "full-context")
    assert report.metrics["recall@5"].unscored == 6
    assert report.metrics["recall@5_multi_hop"].unscored == 1


def test_answers_of_the_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def reply(messages) -> str:
        prompt = str(messages[-1].content)
        assert "# Mara and what was said to Mara" in prompt
        return "19 April" if "violin?" in prompt else "No information available"

    model = FakeChatModel(reply)
    monkeypatch.setattr("eval.answers.get_chat_model", lambda name, **options: model)
    report = run(tmp_path, "full-context", generate=True)
    assert report.metrics["abstention"].value == 1
    assert report.metrics["abstention"].n == 1
    # P 1, R 2/3 for one of the five others
    assert report.metrics["f1_temporal"].value == pytest.approx(0.8)
    assert report.metrics["f1"].value == pytest.approx(0.8 / 5)
    assert report.cost.prompt_tokens > 0


def test_shuffled_golds_drop_the_scores(tmp_path: Path):
    # on the small conversation every second message is among five; the first found tells
    right, wrong = (
        [one.detail for one in read_outcomes(tmp_path / name / "o.json")]
        for name in ("right", "wrong")
        if run(tmp_path / name, "bm25", shuffle_gold=name == "wrong")
    )
    first = [sum(one["found"][:1] == one["gold"]["evidence"][:1] for one in own) for own in (right, wrong)]
    assert first[0] >= 3 > first[1]


@pytest.mark.skipif(not (REAL / "locomo").is_dir(), reason="needs the real data beside the repository: shared/data")
def test_the_real_data(tmp_path: Path):
    units = LoCoMo().load(Settings(data=REAL))
    assert (len(units), sum(len(unit.cases) for unit in units)) == (7, 1352)
    (tmp_path / "locomo_dev.json").write_text(
        json.dumps(json.loads((REAL / "locomo/locomo_dev.json").read_text("utf-8"))[:1])
    )
    right = run(tmp_path / "right", "bm25", data=tmp_path).metrics["recall@5"].value or 0
    wrong = run(tmp_path / "wrong", "bm25", data=tmp_path, shuffle_gold=True).metrics["recall@5"].value or 0
    assert right > 0.4
    assert wrong < 0.05
