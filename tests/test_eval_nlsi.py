from __future__ import annotations

import json
from pathlib import Path

import pytest

from agentmem.models.fake import FakeChatModel
from eval.benchmarks.nlsi import NLSI, asked
from eval.benchmarks.nlsi_calls import Call, call_scores, read_calls, set_scores
from eval.errors import DataError
from eval.harness import evaluate
from eval.settings import Settings
from eval.systems import SystemSpec
from eval.values import Report

DATA = Path(__file__).parent / "eval_data" / "nlsi"
REAL = Path(__file__).parent.parent.parent / "shared" / "data"


def run(tmp_path: Path, system: str, embedder: str = "hash", **settings) -> Report:
    settings = {"data": DATA / "ours", **settings}
    return evaluate(NLSI(), SystemSpec(label=system, embedder=embedder), Settings(**settings), tmp_path / "out.json")


def values(report: Report) -> dict[str, float | None]:
    return {name: metric.value for name, metric in report.metrics.items()}


# -- scoring, by hand -----------------------------------------------------------------------------------------------


def test_sets_are_compared_without_case_and_punctuation():
    assert set_scores(["Use rye, please!"], ["use rye please"]) == (1, 1, 1, 1)


def test_half_right():
    # one of two predicted is right, one of three gold is found: P 1/2, R 1/3, F1 = 2/(2+3)
    assert set_scores(["a", "x"], ["a", "b", "c"]) == (0, pytest.approx(0.4), 0.5, pytest.approx(1 / 3))


def test_nothing_right_and_nothing_predicted():
    assert set_scores(["x"], ["a"]) == (0, 0, 0, 0)
    assert set_scores([], ["a"]) == (0, 0, 0, 0)
    assert set_scores(["x"], []) == (0, 0, 0, 0)


def test_an_empty_gold_set_has_no_precision_as_officially():
    assert set_scores([], []) == (1, 1, 0, 0)


def test_calls_are_read_from_the_lines_that_begin_with_get():
    lines = ["Calls:", ' GetFerries(origin="Livorno", cabin=True, speed="")', "GetCinemas()", "nothing"]
    assert read_calls(lines) == [Call("Ferries", {"origin": "Livorno", "cabin": "True"}), Call("", {})]


def test_calls_equal_as_sets_of_slots_but_as_many_calls():
    gold = read_calls(['GetA(x="1", y="2")'])
    assert call_scores(read_calls(['GetA(y="2", x="1")']), gold) == (1, 1, 1, 1)
    split = read_calls(['GetA(x="1")', 'GetA(y="2")'])
    assert call_scores(split, gold) == (0, 1, 1, 1)
    # one of two gold slots, and one wrong domain
    assert call_scores(read_calls(['GetA(x="1")', 'GetB(y="2")']), gold) == (0, 0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("predicted", "gold", "em"),
    [
        ('GetE(name="Reds versus Blues")', 'GetE(name="Reds vs Blues")', 1),
        ('GetE(name="Reds vs Blues")', 'GetE(name="Reds Blues")', 0),  # no gold value of that form
        ('GetE(date="next Friday")', 'GetE(date="next week Friday")', 1),  # lacks one word
        ('GetE(date="in March")', 'GetE(date="on the 3rd in March")', 1),  # a part of it
        ('GetE(date="Friday")', 'GetE(date="next Friday")', 0),  # a single word is not corrected
        ('GetE(city="next Friday")', 'GetE(city="next week Friday")', 0),  # neither a time nor a date
        ('GetE(event_type="Music")', 'GetE(category="Music")', 1),
        ('GetE(category="Music")', 'GetE(event_type="Music")', 1),
        ('GetE(category="Music")', 'GetE(event_type="Music", subcategory="Jazz")', 0),
        ('GetF(date="next Friday")', 'GetE(date="next week Friday")', 0),  # another domain
    ],
)
def test_the_authors_corrections(predicted: str, gold: str, em: float):
    assert call_scores(read_calls([predicted]), read_calls([gold])).em == em


def test_only_the_users_words_are_asked():
    assert asked("User: One ticket.") == "One ticket."
    assert asked("User: A film?\nAgent: Where?\nUser: In Lucca,\nplease.\n") == "A film?\nIn Lucca,\nplease."
    assert asked("no marks") == "no marks"


# -- loading --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["ours", "upstream_repository", "upstream_splits"])
def test_the_layouts_hold_the_same_examples(layout: str):
    units = NLSI().load(Settings(data=DATA / layout))
    cases = [unit.cases[0] for unit in units]
    assert [case.stratum for case in cases] == ["Conflict", "Plain", "NoneApplicable", "MultiDomain"]
    assert [case.group for case in cases] == ["d1", "d2", "d3", "d4"]
    assert cases[0].gold["applicable"] == ["If I ask for ferries, I sail from Livorno."]
    assert len({unit.id for unit in units}) == 4
    assert "Ferries: date, destination, origin, speed" in cases[3].input.slots.splitlines()


def test_what_is_missing_is_named(tmp_path: Path):
    with pytest.raises(DataError, match=r"examples\.jsonl nor .*huggingface"):
        NLSI().load(Settings(data=tmp_path))
    rows = [json.loads(line) for line in (DATA / "ours/examples.jsonl").read_text().splitlines()]
    del rows[1]["all_standing_instructions"]
    (tmp_path / "examples.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    with pytest.raises(DataError, match=r"examples\.jsonl:2: field all_standing_instructions is missing"):
        NLSI().load(Settings(data=tmp_path))


def test_a_split_that_is_no_list(tmp_path: Path):
    (tmp_path / "test.json").write_text("{}")
    with pytest.raises(DataError, match=r"test\.json: not a list"):
        NLSI().load(Settings(data=tmp_path))


# -- running --------------------------------------------------------------------------------------------------------


def test_nothing_and_everything_selected(tmp_path: Path):
    none = values(run(tmp_path, "no-memory"))
    assert (none["em"], none["f1"], none["p"], none["r"]) == (0.25, 0.25, 0, 0)
    assert none["em_NoneApplicable"] == 1
    everything = values(run(tmp_path / "all", "full-context"))
    # golds of 1/3, 1/3, 0/2 and 3/4 of the profiles
    assert everything["p"] == pytest.approx((1 / 3 + 1 / 3 + 0 + 3 / 4) / 4)
    assert everything["r"] == 0.75
    assert everything["f1"] == pytest.approx((0.5 + 0.5 + 0 + 6 / 7) / 4)


@pytest.mark.slow
def test_agentmem_selects(tmp_path: Path):
    report = run(tmp_path, "agentmem", "minilm")
    assert report.metrics["r"].unscored == 0
    assert (report.metrics["r"].value or 0) > 0.3


def test_a_system_that_cannot_select_is_unscored(tmp_path: Path):
    report = run(tmp_path, "tests.test_eval_nlsi:Forgetful")
    assert report.metrics["em"] == report.metrics["em"].model_copy(update={"value": None, "n": 0, "unscored": 4})


class Forgetful:
    name, config = "forgetful", {}

    def open(self, folder: Path):
        from eval.systems import UserMemory

        return UserMemory()


def test_calls_are_written_by_the_reader_from_what_was_selected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def reply(messages) -> str:
        asked_for = str(messages[-1].content).rsplit("Dialogue:", 1)[1]
        return 'GetBakeries(area="harbour")' if "bakery" in asked_for else '- GetFerries(origin="Livorno")'

    model = FakeChatModel(reply)
    monkeypatch.setattr("eval.answers.get_chat_model", lambda name, **options: model)
    report = run(tmp_path, "bm25", generate=True)
    found = values(report)
    assert found["api_em"] == 0.25
    assert found["api_em_NoneApplicable"] == 1
    # origin is one of three slots; none of four; the one; one of three and none of the other call's
    assert found["api_r"] == pytest.approx((1 / 3 + 0 + 1 + 1 / 4) / 4)
    assert found["api_p"] == 0.75
    assert report.cost.prompt_tokens > 0
    prompt = str(model.calls[0][-1].content)
    assert "- If I ask for ferries, I" in prompt.rsplit("Standing instructions:", 1)[1]


def test_a_reader_that_cannot_be_had_leaves_the_calls_unscored(tmp_path: Path):
    report = run(tmp_path, "bm25", generate=True, reader="nobody:nothing")
    assert report.metrics["api_em"].unscored == 4
    assert report.metrics["em"].n == 4


def test_shuffled_golds_drop_the_scores(tmp_path: Path):
    right = values(run(tmp_path, "full-context"))
    wrong = values(run(tmp_path / "shuffled", "full-context", shuffle_gold=True))
    assert (wrong["f1"] or 0) < (right["f1"] or 0)


@pytest.mark.skipif(not (REAL / "nlsi").is_dir(), reason="needs the real data beside the repository: shared/data/nlsi")
def test_the_real_data(tmp_path: Path):
    none = values(run(tmp_path, "no-memory", data=REAL))
    assert [round(none[name] or 0, 3) for name in ("em", "f1", "p", "r")] == [0.053, 0.053, 0, 0]
    everything = values(run(tmp_path / "all", "full-context", data=REAL))
    assert [round(everything[name] or 0, 3) for name in ("em", "f1", "p", "r")] == [0, 0.248, 0.148, 0.947]
    shuffled = values(run(tmp_path / "shuffled", "bm25", data=REAL, shuffle_gold=True))
    # what is left are empty golds that meet empty answers
    assert (shuffled["em"] or 0) < 0.03
