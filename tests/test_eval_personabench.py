from __future__ import annotations

import json
import math
import shutil
from datetime import date
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentmem.memory import Fact, Memory, Preference
from eval.benchmarks.personabench import PersonaBench, best_match, tells, value_scores
from eval.errors import DataError
from eval.harness import evaluate
from eval.metrics import ndcg, recall
from eval.settings import Settings
from eval.systems import SystemSpec
from eval.values import Report, Score

DATA = Path(__file__).parent / "eval_data" / "personabench"
REAL = Path(__file__).parent.parent.parent / "shared" / "data"


def run(tmp_path: Path, system: str, unit: str = "session", **settings) -> Report:
    spec = SystemSpec(label=system, embedder="hash", unit=unit)
    settings = {"data": DATA / "ours", **settings}
    return evaluate(PersonaBench(), spec, Settings(**settings), tmp_path / "out.json", fresh=True)


def values(report: Report) -> dict[str, float | None]:
    return {name: metric.value for name, metric in report.metrics.items()}


# -- scoring, by hand -----------------------------------------------------------------------------------------------


def test_the_best_choice_of_documents():
    gold = {"tea": ["d4"], "paella": ["d3", "d9"]}
    # d4 at rank 1 and d9 at rank 3, of two wanted
    found = best_match(["d4", "d1", "d9", "d5", "d6"], gold, 5)
    assert found.recall == 1
    assert found.ndcg == pytest.approx((1 + 1 / 2) / (1 + 1 / math.log2(3)))
    assert best_match(["d1", "d3"], gold, 5).recall == 0.5
    assert best_match(["d1", "d2", "d3"], gold, 2) == (0, 0)


def test_one_document_that_tells_two_values_counts_once():
    assert best_match(["d1"], {"a": ["d1"], "b": ["d1"]}, 5) == (1, 1)


def test_each_score_has_its_own_best_choice():
    gold = {"a": ["d1"], "b": ["d1", "d5"]}
    # recall is whole either way; NDCG is whole only without d5, which stands at rank 5
    assert best_match(["d1", "x", "y", "z", "d5"], gold, 5) == (1, 1)


def test_a_value_without_documents_leaves_no_choice():
    assert best_match(["d1"], {"a": ["d1"], "b": []}, 5) == (0, 0)


DOCUMENTS = st.sampled_from([f"d{n}" for n in range(7)])


@given(
    st.lists(DOCUMENTS, max_size=6, unique=True),
    st.dictionaries(st.text("abcd", min_size=1, max_size=1), st.lists(DOCUMENTS, min_size=1, max_size=4), min_size=1),
)
def test_the_best_choice_is_that_of_all_choices(found: list[str], gold: dict[str, list[str]]):
    choices = [set(choice) for choice in product(*gold.values())]
    best = best_match(found, gold, 5)
    assert best.recall == pytest.approx(max(recall(found, choice, 5) for choice in choices))
    assert best.ndcg == pytest.approx(max(ndcg(found, choice, 5) for choice in choices))


def test_very_many_choices_are_no_trouble():
    gold = {str(value): [f"{value}-{place}" for place in range(50)] for value in range(40)}
    assert best_match(["0-7", "x", "1-9"], gold, 5).recall == 2 / 40


def preference(text: str, id: str = "paaaaa", **fields) -> Memory:
    return Preference(id=id, text=text, **fields)


@pytest.mark.parametrize(
    ("text", "value", "told"),
    [
        ("Loves salads.", ["salad"], True),
        ("Lives in Seattle, Washington", ["Seattle, Washington"], True),
        ("Lives in Seattle.", ["Seattle, Washington"], False),
        ("Likes painting", ["paint"], False),
        ("Is 44 years old", ["44"], True),
        ("Has blue eyes", ["Eye color", "Blue"], True),
        ("Likes blue", ["Eye color", "Blue"], False),
        ("Is 5’6\" tall", ["Height", "5'6\""], True),
        ("The cat is called Whiskers", ["cat", "Whiskers"], True),
        ("Reads 1984", ["1984"], True),
        ("anything", ["--"], False),
    ],
)  # fmt: skip
def test_what_tells_a_value(text: str, value: list[str], told: bool):
    assert tells(preference(text), value) is told


def test_values_held_and_outdated_ones():
    memories = [
        preference("Likes rooibos tea", "paaaaa", valid_at=date(2024, 11, 2)),
        preference("Likes sardines", "pbbbbb", valid_at=date(2024, 10, 21)),
        preference("Likes crisps", "pccccc", invalid_at=date(2024, 11, 1)),
        preference("Likes paella", "pddddd", invalid_at=date(2024, 11, 1)),
    ]
    gold = {"values": [["rooibos tea"], ["paella"]], "outdated": [["sardines"], ["crisps"], ["harp"]]}
    scores = value_scores(memories, gold, 2000)
    # paella was closed; sardines is still active, crisps is closed, harp was never stored
    assert scores == {"value_recall": Score(value=1, weight=2), "outdated_active": Score(value=1, weight=2)}
    # 9 tokens hold the newest memory alone, which costs 4 for its text and 4 for its line
    assert value_scores(memories, {"values": [["sardines"]], "outdated": []}, 9)["value_recall"].value == 0


def test_outdated_values_that_were_never_stored_are_not_counted():
    scores = value_scores([Fact(id="faaaaa", text="Sails")], {"values": [["x"]], "outdated": [["harp"]]}, 2000)
    assert "outdated_active" not in scores


# -- loading --------------------------------------------------------------------------------------------------------


def test_both_layouts_hold_the_same():
    ours = {unit.id: unit for unit in PersonaBench().load(Settings(data=DATA / "ours"))}
    theirs = {unit.id: unit for unit in PersonaBench().load(Settings(data=DATA / "upstream"))}
    inner = {unit.id: unit for unit in PersonaBench().load(Settings(data=DATA / "upstream/eval_data/eval_data_v1"))}
    assert ours == theirs == inner
    assert sorted(ours) == [f"{name}/noise{noise}" for name in ("Ines Carvalho", "Olaf Brandt") for noise in (0.0, 0.5)]


def test_documents_are_sessions_in_the_order_of_their_times():
    unit = PersonaBench().load(Settings(data=DATA / "ours"))[1]
    assert unit.id == "Ines Carvalho/noise0.5"
    assert [session.id for session in unit.history] == ["i1", "i2", "i3", "i6", "i4", "i5"]
    assert unit.history[0].date == date(2024, 10, 14)
    assert [(m.role, m.content) for m in unit.history[1].messages] == [
        ("user", "My parrot Zeca learned a new word."),
        ("assistant", "Marta Reis: I work as a glazier, did you know?"),
    ]
    assert unit.history[2].messages[1].content == "Noted, enjoy your sardines."
    [bought] = unit.history[5].messages
    assert bought.role == "user"
    assert bought.content.splitlines() == [
        "I bought:",
        "- Zither strings, set of 30, by Klang (Music, Strings)",
        "- Blank cards, by Papelo (Office)",
    ]


def test_the_person_is_found_under_another_spelling_of_the_name():
    unit = PersonaBench().load(Settings(data=DATA / "ours"))[2]
    assert [message.role for message in unit.history[0].messages] == ["assistant", "user"]
    assert unit.history[0].messages[0].content == "Dr. Pia Wolf: Still sailing?"


def test_cases():
    cases = PersonaBench().load(Settings(data=DATA / "ours"))[1].cases
    assert [case.id.rpartition("/")[2] for case in cases] == ["q1", "q2", "q3", "q4", "q5"]  # q6 is subjective
    assert {case.group for case in cases} == {"Ines Carvalho"}
    assert cases[1].gold["kind"] == "preference_hard"
    assert [case.gold["values"] for case in cases[2:4]] == [[["parrot", "Zeca"]], [["44"]]]


def test_what_is_missing_or_wrong_is_named(tmp_path: Path):
    with pytest.raises(DataError, match=r"\*_noise\*\.json nor .*eval_info_all\.json.*personabench"):
        PersonaBench().load(Settings(data=tmp_path))
    document = json.loads((DATA / "ours/Olaf_Brandt_noise0.5.json").read_text())
    path = tmp_path / "Olaf_Brandt_noise0.5.json"
    document["documents"][1]["time"] = "2 December"
    path.write_text(json.dumps(document))
    with pytest.raises(DataError, match=r"noise0.5\.json: documents\[1\]: field time is .*not like"):
        PersonaBench().load(Settings(data=tmp_path))
    document["documents"][1] |= {"time": "2024/Dec/02/08:00 AM", "type": "diary"}
    path.write_text(json.dumps(document))
    with pytest.raises(DataError, match=r"field type is \"diary\", none of"):
        PersonaBench().load(Settings(data=tmp_path))
    document["documents"] = []
    del document["qa"][0]["answer"]
    path.write_text(json.dumps(document))
    with pytest.raises(DataError, match=r"qa\[0\]: field answer is missing"):
        PersonaBench().load(Settings(data=tmp_path))


def test_a_file_that_is_missing_upstream(tmp_path: Path):
    shutil.copytree(DATA / "upstream", tmp_path, dirs_exist_ok=True)
    lost = next(tmp_path.rglob("noise_0.0/purchase_history_data_all.json"))
    lost.unlink()
    with pytest.raises(DataError, match=r"noise_0\.0/purchase_history_data_all\.json: no such file\. Get"):
        PersonaBench().load(Settings(data=tmp_path))


# -- running --------------------------------------------------------------------------------------------------------


def test_names_of_metrics(tmp_path: Path):
    report = run(tmp_path, "bm25")
    for name in ("recall@5", "ndcg@5", "value_recall", "recall@5_preference_easy", "recall@5_basic_information"):
        assert report.metrics[name].n == report.metrics[f"{name}_noise0"].n > 0
    # with as few documents as these nearly all are found, and every user turn is a memory: five of the eight values
    # stand in them as they are ("sail", "Aveiro", "accordion", "rooibos tea", "paella", "Zeca", "44", not "Glazier")
    assert report.metrics["value_recall"].value == pytest.approx(7 / 8)
    assert report.metrics["outdated_active"].value == 1


def test_what_a_system_cannot_do_is_unscored(tmp_path: Path):
    report = run(tmp_path, "full-context")
    assert report.metrics["recall@5"].n == 0 and report.metrics["recall@5_noise0"].unscored == 7
    assert report.metrics["value_recall"].n == 7


def test_a_failure_is_unscored_under_the_name_of_its_noise(tmp_path: Path):
    report = run(tmp_path, "tests.test_eval_personabench:Broken")
    assert report.metrics["recall@5"].unscored == report.metrics["recall@5_noise0"].unscored == 7
    assert report.metrics["recall@5"].value is None


class Broken:
    name, config = "broken", {}

    def open(self, folder: Path):
        from eval.systems import UserMemory

        return UserMemory()


def test_agentmem_runs(tmp_path: Path):
    report = run(tmp_path, "agentmem", limit=2)
    assert all(metric.unscored == 0 for metric in report.metrics.values())


REAL_DATA = pytest.mark.skipif(
    not (REAL / "personabench").is_dir(), reason="needs the real data beside the repository: shared/data/personabench"
)


@REAL_DATA
def test_the_real_data():
    units = PersonaBench().load(Settings(data=REAL))
    assert [len(unit.cases) for unit in units] == [42, 42, 40, 40, 39, 39, 37, 37]
    # a search that finds the right documents is scored as perfect, except where there are none to find
    for case in (case for unit in units for case in unit.cases):
        gold = [documents[0] for documents in case.gold["documents"].values()]
        assert best_match(gold, case.gold["documents"], 5) == (1, 1)


@REAL_DATA
@pytest.mark.slow
def test_the_floors_of_the_real_data(tmp_path: Path):
    """As in the data's README, which were made with another text and tokenisation of the same documents."""
    right = values(run(tmp_path, "bm25", data=REAL))
    assert right["recall@5"] == pytest.approx(0.186, abs=0.04)
    assert right["recall@5_noise0"] == pytest.approx(0.246, abs=0.04)
    wrong = values(run(tmp_path / "shuffled", "bm25", data=REAL, shuffle_gold=True))
    assert (wrong["recall@5"] or 0) < 0.06 and (wrong["ndcg@5"] or 0) < 0.06


def test_shuffled_golds_drop_to_chance(tmp_path: Path):
    """Each of 30 people says one thing of their own; the golds of others are in no document and no memory of theirs."""
    for number in range(30):
        said = {"role": "user", "content": f"I really love hobby{number:02}."}
        document = {"type": "user_ai_interaction", "segment_id": f"d{number}", "time": "2024/Oct/14/07:18 AM"}
        question = {"q_id": f"q{number}", "question": "What do I love?", "answer": f"hobby{number:02}"}
        question |= {"type": "Preference", "difficulty": "easy", "outdated_value": f"hobby{number:02}"}
        person = {"name": f"Person {number}", "noise": 0.5, "documents": [document | {"user_ai_interaction": [said]}]}
        person["qa"] = [question | {"gold_segments": {"hobby": [f"d{number}"]}}]
        (tmp_path / f"{number}_noise0.5.json").write_text(json.dumps(person))
    right = values(run(tmp_path / "right", "bm25", data=tmp_path))
    wrong = values(run(tmp_path / "wrong", "bm25", data=tmp_path, shuffle_gold=True))
    assert [right[name] for name in ("recall@5", "ndcg@5", "value_recall", "outdated_active")] == [1, 1, 1, 30]
    assert [wrong[name] for name in ("recall@5", "ndcg@5", "value_recall")] == [0, 0, 0]
    assert "outdated_active" not in wrong
