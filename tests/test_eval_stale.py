from __future__ import annotations

import json
from collections.abc import Collection
from datetime import date
from pathlib import Path

import pytest

from agentmem.memory import Evidence, Fact, Hit, HitKind, Memory
from agentmem.session import Session
from eval.benchmarks.stale import (
    LABELS,
    OF_SEARCH,
    Stale,
    State,
    chain_scores,
    overclosed,
    says_value,
    state_of,
)
from eval.errors import DataError
from eval.harness import evaluate
from eval.settings import Settings
from eval.systems import BOTH, SystemSpec, UserMemory
from eval.systems.base import numbered_id
from eval.values import Report, Score

DATA = Path(__file__).parent / "eval_data" / "stale"
REAL = Path(__file__).parent.parent.parent / "shared" / "data"

CHAIN = (
    State(value="Ruby", date=date(2025, 1, 10)),
    State(value="Fortran", date=date(2025, 5, 10)),
    State(value="Go", date=date(2025, 9, 10)),
)


def run(tmp_path: Path, system: str, **settings) -> Report:
    settings = {"data": DATA / "ours", **settings}
    spec = SystemSpec(label=system, embedder="hash")
    return evaluate(Stale(), spec, Settings(**settings), tmp_path / "out.json", fresh=True)


def values(report: Report) -> dict[str, float | None]:
    return {name: metric.value for name, metric in report.metrics.items()}


def fact(letter: str, text: str, start: str, end: str | None = None, *said: tuple[str, int]) -> Memory:
    return Fact(
        id="f" + letter * 5,
        text=text,
        valid_at=date.fromisoformat(start),
        invalid_at=date.fromisoformat(end) if end else None,
        evidence=tuple(Evidence(quote="…", session=session, turn=turn) for session, turn in said),
    )


# -- scoring, by hand -----------------------------------------------------------------------------------------------


def test_a_value_is_whole_words_and_a_name_keeps_its_capital():
    assert says_value("Writes Go at work.", "Go")
    assert not says_value("Wants to go home", "Go")
    assert not says_value("Google", "Go")
    assert says_value("learns the TENOR  saxophone", "tenor saxophone")
    assert says_value("bought a Nothing Phone (3a), the white one", "Nothing Phone (3a)")


def test_a_text_tells_the_last_value_that_it_says():
    assert state_of("Switched from Ruby to Go", CHAIN) == 2
    assert state_of("Uses Ruby", CHAIN) == 0
    assert state_of("Bakes", CHAIN) is None


def test_all_right():
    memories = [
        fact("a", "Uses Ruby", "2025-01-10", "2025-05-10"),
        fact("b", "Uses Fortran", "2025-05-10", "2025-09-10"),
        fact("c", "Moved from Fortran to Go", "2025-09-10"),
    ]
    assert chain_scores(memories, CHAIN, 2000) == {
        "current_active": Score(value=1),
        "stale_closed": Score(value=2, weight=2),
        "chain_correct": Score(value=1),
    }


@pytest.mark.parametrize(
    ("earlier", "closed"),
    [
        ([], 0),  # never stored
        ([("2025-01-10", None)], 0),  # still active
        ([("2025-01-10", "2025-03-01")], 0),  # closed before its successor was known
        ([("2025-01-10", "2025-03-01"), ("2025-03-01", "2025-06-01")], 1),  # reworded, and closed later
        ([("2025-01-10", "2025-06-01"), ("2025-03-01", None)], 0),  # one of two is left
    ],
)
def test_an_earlier_value_is_closed_after_it_was_stored(earlier: list[tuple[str, str | None]], closed: int):
    memories = [fact("ab"[place], "Uses Ruby", *dates) for place, dates in enumerate(earlier)]
    memories.append(fact("c", "Uses Go", "2025-09-10"))
    scores = chain_scores(memories, (CHAIN[0], CHAIN[1]), 2000)
    assert scores["stale_closed"] == Score(value=closed, weight=1)
    scores = chain_scores(memories, (CHAIN[0], CHAIN[2].model_copy(update={"date": date(2025, 5, 10)})), 2000)
    assert scores["chain_correct"].value == closed


def test_closing_before_the_next_value_was_said_is_a_mistake():
    old, new = fact("a", "Uses Ruby", "2025-01-10", "2025-05-03"), fact("b", "Uses Fortran", "2025-05-10")
    assert chain_scores([old, new], CHAIN[:2], 2000)["stale_closed"].value == 0
    in_time = fact("a", "Uses Ruby", "2025-01-10", "2025-05-10")
    assert chain_scores([in_time, new], CHAIN[:2], 2000)["stale_closed"].value == 1


def test_the_last_value_must_be_active_within_the_budget():
    memories = [fact("a", "Uses Go", "2025-09-10"), fact("b", "x" * 380, "2025-12-01")]
    assert chain_scores(memories, CHAIN, 2000)["current_active"].value == 1
    assert chain_scores(memories, CHAIN, 100)["current_active"].value == 0  # 99 tokens of newer memory come first
    closed = [fact("a", "Uses Go", "2025-09-10", "2025-10-10")]
    assert chain_scores(closed, CHAIN, 2000)["current_active"].value == 0


def test_overclosed_counts_what_rests_on_labelled_turns():
    memories = [
        fact("a", "Keeps bees", "2025-01-05", "2025-06-15", ("s00", 0)),  # lost
        fact("b", "Has a roof", "2025-01-05", None, ("s00", 0)),
        fact("c", "Jogs", "2025-01-05", "2025-02-01", ("s01", 2)),  # its evidence went into the next one
        fact("d", "Jogs and swims", "2025-02-01", None, ("s01", 2), ("s02", 0)),
        fact("e", "Sails", "2025-01-05", "2025-02-01", ("s03", 0)),  # not labelled
    ]
    assert overclosed(memories, [(0, 0), (1, 2)]) == Score(value=1, weight=4)  # an older twin has not taken over
    merged = [memories[0], memories[1].model_copy(update={"valid_at": date(2025, 6, 15)}), *memories[2:]]
    assert overclosed(merged, [(0, 0), (1, 2)]) == Score(value=0, weight=4)
    assert overclosed(memories, [(9, 9)]).value is None
    told_apart = memories[0].model_copy(update={"evidence": (Evidence(quote="bees", session="s00", turn=0),)})
    assert overclosed([told_apart, *memories[1:]], [(0, 0), (1, 2)]) == Score(value=1, weight=4)


# -- loading --------------------------------------------------------------------------------------------------------


def test_both_layouts_hold_the_same():
    ours = Stale().load(Settings(data=DATA / "ours"))
    assert ours == Stale().load(Settings(data=DATA / "upstream")) == Stale().load(Settings(data=DATA / "upstream/data"))
    unit = ours[0]
    case = unit.cases[0]
    assert (unit.id, case.id, case.group, case.stratum) == (
        "chain000-0a0a0a0a", "chain000-0a0a0a0a", "tea house", "chain")  # fmt: skip
    assert case.input["point_in_time"].at == date(2025, 6, 1) and case.input["premise"].at is None
    assert case.gold.answers == {
        "current": "Quiet Kettle", "premise": "Quiet Kettle", "point_in_time": "Lantern & Leaf"}  # fmt: skip
    assert [session.id for session in unit.history] == [f"s0{place}" for place in range(5)]
    assert [session.date for session in unit.history] == sorted(
        session.date for session in unit.history if session.date
    )


def test_upstream_turns_are_read_back_from_python_text():
    [unit, _] = Stale().load(Settings(data=DATA / "upstream"))
    bees, roofs = unit.history[0].messages
    assert (bees.role, bees.content) == ("user", 'I keep bees on my roof, it\'s "quiet" up there.')
    assert roofs.role == "assistant" and roofs.content.startswith("Bees like\nroofs. ")
    assert len(roofs.content) < 400
    assert [message.content for message in unit.history[1].messages] == [
        "My regular tea house is Saltmarsh Rooms.", "Any tips for oolong?"]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "read"),
    [
        ("'It\\'s caf\\u00e9'}", "It's café"),
        ("'a\\\\nb'}", "a\\nb"),
        ("'cut in an escape \\", "cut in an escape "),
        ("'cut \\u20", "cut "),
        ("'whole backslash \\\\", "whole backslash \\"),
    ],
)
def test_escapes_of_python_text(tmp_path: Path, content: str, read: str):
    row = json.loads((DATA / "upstream/data/stale_chain_full.json").read_text())
    row[0]["sessions"][0]["turns"] = ["{'role': 'user', 'content': " + content]
    (tmp_path / "stale_chain_full.json").write_text(json.dumps(row))
    assert Stale().load(Settings(data=tmp_path))[0].history[0].messages[0].content == read


def test_what_is_missing_or_wrong_is_named(tmp_path: Path):
    with pytest.raises(DataError, match=r"chains\.jsonl nor data/stale_chain_.*qvf_withcontroller"):
        Stale().load(Settings(data=tmp_path))
    (tmp_path / "stale_chain_other.json").write_text("[]")
    with pytest.raises(DataError, match=r"none of stale_chain_\{full,confirm\}\.json"):
        Stale().load(Settings(data=tmp_path))
    (tmp_path / "stale_chain_full.json").write_text("{}")
    with pytest.raises(DataError, match=r"stale_chain_full\.json: not a list"):
        Stale().load(Settings(data=tmp_path))
    rows = [json.loads(line) for line in (DATA / "ours/chains.jsonl").read_text().splitlines()]
    rows[1]["sessions"][2]["date"] = "March"
    (tmp_path / "chains.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    with pytest.raises(DataError, match=r"chains\.jsonl:2: sessions\[2\]: field date is \"March\", not like"):
        Stale().load(Settings(data=tmp_path))


# -- running --------------------------------------------------------------------------------------------------------


def test_store_everything_has_the_last_value_and_closes_nothing(tmp_path: Path):
    report = values(run(tmp_path, "bm25"))
    assert (report["current_active"], report["stale_closed"], report["chain_correct"]) == (1, 0, 0)
    assert (report["memory_tokens"] or 0) > 0
    assert report["point_in_time"] is not None and report["premise"] is not None


def test_close_everything_is_wrong_too(tmp_path: Path):
    report = run(tmp_path, "close-everything")
    assert report.metrics["chain_correct"].value == 0
    assert report.metrics["premise"].unscored == 2  # it ranks nothing


def test_point_in_time_asks_as_of_the_day(tmp_path: Path):
    """Turns said later cannot be found, so that on 2025-03-03 only Fortran had been said."""
    run(tmp_path, "bm25", limit=2)
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    [found] = [line for line in lines if line.get("case") == "confirm001-0b0b0b0b"]
    assert found["scores"]["point_in_time"]["value"] == 1
    assert "Fortran" in found["detail"]["point_in_time"]["found"][0]


def test_a_system_that_fails_is_unscored(tmp_path: Path):
    report = run(tmp_path, "tests.test_eval_personabench:Broken")
    assert {metric.unscored for metric in report.metrics.values()} == {2}


def test_agentmem_runs(tmp_path: Path):
    report = run(tmp_path, "agentmem")
    assert all(metric.unscored == 0 for metric in report.metrics.values())


class Keeper:
    """A system that understands one sentence: my regular tea house is …"""

    name, config = "keeper", {}

    def open(self, folder: Path) -> UserMemory:
        return Kept()


class Kept(UserMemory):
    def __init__(self) -> None:
        self._kept: list[Fact] = []

    def observe(self, session: Session) -> None:
        for turn, message in enumerate(session.messages):
            if message.content.startswith("My regular"):
                if self._kept:
                    self._kept[-1] = self._kept[-1].model_copy(update={"invalid_at": session.date})
                id, said = numbered_id("f", len(self._kept)), Evidence(quote="…", session=session.id, turn=turn)
                self._kept.append(Fact(id=id, text=message.content, valid_at=session.date, evidence=(said,)))

    def search(self, query: str, k: int, *, kinds: Collection[HitKind] = BOTH, at: date | None = None) -> list[Hit]:
        held = [one for one in self._kept if one.holds_on(at or date.max)]
        return [Hit(kind="memory", id=one.id, text=one.text, score=1, why="holds") for one in held][:k]

    def memories(self) -> list[Memory]:
        return list(self._kept)


def test_shuffled_golds_drop_to_chance(tmp_path: Path):
    """Twenty chains with values of their own: a system that is right about all of them is right about no other's."""
    [row, _] = [json.loads(line) for line in (DATA / "ours/chains.jsonl").read_text().splitlines()]
    text = json.dumps(row)
    for number in range(20):
        own = text.replace("000-0a0a0a0a", f"{number:03}-0a0a0a0a")
        for name in ("Saltmarsh Rooms", "Lantern & Leaf", "Quiet Kettle"):
            own = own.replace(name, f"{name} {number}")
        with (tmp_path / "chains.jsonl").open("a") as file:
            file.write(own + "\n")
    names = (*OF_SEARCH, "current_active", "stale_closed", "chain_correct")
    right = values(run(tmp_path / "right", "tests.test_eval_stale:Keeper", data=tmp_path))
    wrong = values(run(tmp_path / "wrong", "tests.test_eval_stale:Keeper", data=tmp_path, shuffle_gold=True))
    assert [right[name] for name in names] == [1] * 6
    assert [wrong[name] for name in names] == [0] * 6


def test_the_labels_hold_no_text():
    labels = json.loads(LABELS.read_text())
    assert set(labels) == {"note", "turns"}
    turns = [tuple(turn) for own in labels["turns"].values() for turn in own]
    assert all(len(turn) == 2 and all(isinstance(number, int) for number in turn) for turn in turns)
    assert sum(len(set(map(tuple, own))) for own in labels["turns"].values()) == len(turns) == 144


@pytest.mark.skipif(not (REAL / "stale_chain").is_dir(), reason="needs the real data: shared/data/stale_chain")
def test_the_real_data(tmp_path: Path):
    units = Stale().load(Settings(data=REAL))
    assert len(units) == 81 and sum(len(unit.cases[0].gold.chain) for unit in units) == 297
    labelled = [unit for unit in units if unit.cases[0].gold.lasting]
    assert len(labelled) == len({unit.cases[0].group for unit in labelled}) == 12
    for unit in labelled:
        for session, turn in unit.cases[0].gold.lasting:
            assert unit.history[session].messages[turn].role == "user"
    everything = values(run(tmp_path, "bm25", data=REAL, limit=6))
    assert (everything["stale_closed"], everything["chain_correct"]) == (0, 0)
    nothing = values(run(tmp_path / "closed", "close-everything", data=REAL, limit=6))
    assert (nothing["current_active"] or 0) < 0.2 and nothing["chain_correct"] == 0
