"""Duplicates, contradictions, dates and what is never kept; pairs with the real embedder, laws with the fake one."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest

from agentmem.memory import Add, Close, Evidence, Fact, Forget, Memory, Preference, StandingInstruction, Update
from agentmem.models.embed import Embedder, get_embedder
from agentmem.reconcile import reconcile, relate

PAIRS = [json.loads(line) for line in (Path(__file__).parent / "data/reconcile_pairs.jsonl").read_text().splitlines()]
TODAY = date(2026, 6, 1)
HASHED = get_embedder("hash")


def fact(text: str, day: date | None = date(2026, 1, 1), id: str = "f23456", **more: object) -> Fact:
    return Fact(id=id, text=text, valid_at=day, evidence=(Evidence(quote=text, session="old", turn=0),), **more)  # type: ignore[arg-type]


def said(text: str, day: date = date(2026, 5, 1), **more: object) -> Add:
    quote = Evidence(quote=text, session="new", turn=2)
    return Add(memory=Fact(id="f99999", text=text, valid_at=day, evidence=(quote,), **more))  # type: ignore[arg-type]


def settle(op: object, *known: Memory) -> tuple[list, list[str]]:
    ops, refused = reconcile([op], known, embedder=HASHED, today=TODAY)  # type: ignore[list-item]
    return ops, [refusal.reason for refusal in refused]


@pytest.mark.parametrize("part", [0, 1], ids=["development", "test"])
def test_pairs_are_told_apart(minilm: Embedder, part: int) -> None:
    """The even rows set the thresholds, the odd ones are the test. A false contradiction closes what is true."""
    rows = PAIRS[part::2]
    told = [relate(fact(row["new"]), [fact(row["old"])], minilm)[0] for row in rows]
    right = sum(found == row["relation"] for found, row in zip(told, rows, strict=True))
    wronged = [
        row for found, row in zip(told, rows, strict=True) if row["relation"] == "unrelated" and found != "unrelated"
    ]
    assert right / len(rows) >= 0.9
    assert not wronged


def test_what_is_known_becomes_more_evidence() -> None:
    [update], refused = settle(said("I live in Lyon."), fact("Lives in Lyon.", confidence=0.7, basis="inferred"))
    assert isinstance(update, Update) and not refused
    assert update.replaces == (update.memory.id,) == ("f23456",)
    assert [evidence.session for evidence in update.memory.evidence] == ["old", "new"]
    assert (update.memory.text, update.memory.basis) == ("Lives in Lyon.", "stated")
    assert update.memory.confidence == 1.0
    assert update.memory.valid_at == date(2026, 1, 1)


def test_the_same_evidence_again_changes_nothing() -> None:
    known = fact("Lives in Lyon.")
    ops, reasons = settle(Add(memory=known.model_copy(update={"id": "f99999"})), known)
    assert (ops, reasons) == ([], ["known already (f23456)"])


def test_a_line_the_person_wrote_is_left_alone() -> None:
    ops, reasons = settle(said("I live in Lyon"), fact("Lives in Lyon.", edited_at=date(2026, 2, 2)))
    assert ops == [] and "person's own words" in reasons[0]


def test_a_newer_contradiction_succeeds_the_older() -> None:
    [update], _ = settle(said("I moved to Porto last week"), fact("Lives in Lyon."), fact("Likes jazz.", id="f33333"))
    assert isinstance(update, Update)
    assert (update.replaces, update.memory.id) == (("f23456",), "f99999")


def test_words_of_change_and_of_time_are_no_common_topic() -> None:
    """Near by the fake embedder, which counts common words."""
    known = fact("I finally switched over to night trains last week")
    other = said("I finally switched over to decaf last week")
    assert settle(other, known)[0] == [other]


def test_what_would_contradict_many_memories_contradicts_none() -> None:
    homes = [
        fact(f"Lives in {town}.", id=id) for town, id in (("Lyon", "f22222"), ("Ghent", "f33333"), ("Rome", "f44444"))
    ]
    moved = said("I moved to Porto")
    assert settle(moved, *homes)[0] == [moved]
    [update], _ = settle(moved, *homes[:2])
    assert isinstance(update, Update) and update.replaces == ("f22222", "f33333")


def test_an_older_statement_that_comes_late_goes_to_the_history() -> None:
    late = said("I live in Lyon", day=date(2025, 3, 3))
    [add], _ = settle(late, fact("Lives in Porto.", day=date(2026, 1, 1)))
    assert isinstance(add, Add)
    assert (add.memory.status, add.memory.valid_at, add.memory.invalid_at) == (
        "closed",
        date(2025, 3, 3),
        date(2026, 1, 1),
    )


def test_two_ops_of_one_conversation_are_settled_in_order() -> None:
    first = said("I live in Lyon")
    second = said("Actually I moved to Porto")
    second = second.model_copy(update={"memory": second.memory.model_copy(update={"id": "f88888"})})
    ops, refused = reconcile([first, second], [], embedder=HASHED, today=TODAY)
    assert not refused
    assert isinstance(ops[0], Add) and isinstance(ops[1], Update)
    assert ops[1].replaces == ("f99999",)


def test_instructions_with_one_condition_succeed_only_when_they_regulate_the_same() -> None:
    def instruction(text: str, id: str, when: str = "always") -> StandingInstruction:
        return StandingInstruction(id=id, when=when, text=text, valid_at=date(2026, 1, 1))

    french, brief = instruction("Answer in French.", "i22222"), instruction("Keep it brief.", "i33333")
    german = Add(memory=instruction("Answer in German.", "i44444"))
    ops, _ = settle(german, french, brief)
    assert isinstance(ops[0], Update) and ops[0].replaces == ("i22222",)
    other = Add(memory=instruction("Use euros.", "i55555"))
    assert settle(other, french, brief)[0] == [other]


@pytest.mark.parametrize(
    ("op", "reason"),
    [
        (said("I live in Lyon", day=date(2026, 7, 1)), "2026-07-01 is in the future"),
        (said("the password of my mail is hunter2"), "a password is never kept"),
        (said("Has diabetes.", basis="inferred"), "health is kept only when the user states it"),
        (Close(id="f77777", on=TODAY, because="x"), "no active memory has the id f77777"),
        (Close(id="f23456", on=date(2020, 1, 1), because="x"), "older (2020-01-01) than what it would change"),
        (
            Update(replaces=("f23456",), memory=fact("Lives in Ghent.", date(2020, 1, 1), "f99999")),
            "older (2020-01-01)",
        ),
        (Forget(id="f77777"), "no active memory has the id f77777"),
    ],
)
def test_what_is_refused_and_why(op: object, reason: str) -> None:
    ops, [said_] = settle(op, fact("Likes jazz."))
    assert ops == []
    assert reason in said_


def test_what_is_stated_for_use_is_kept() -> None:
    diabetic = said("I have diabetes, so keep the recipes low in sugar")
    assert settle(diabetic)[0] == [diabetic]
    forget = Forget(id=None, evidence=Evidence(quote="forget it", session="s", turn=0))
    assert settle(forget)[0] == [forget]


def test_preference_and_fact_are_compared_since_policies_waver() -> None:
    known = Preference(id="p23456", text="Is vegetarian.", valid_at=date(2026, 1, 1))
    [update], _ = settle(said("I'm vegetarian"), known)
    assert isinstance(update, Update) and update.memory.kind == "preference"
