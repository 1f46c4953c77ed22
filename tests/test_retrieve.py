"""Recall: fusion of four rankings, no repetition, as-of dates."""

import re
from datetime import date

import numpy as np
import pytest

from agentmem.index import MemoryIndex
from agentmem.memory import Evidence, Fact, Memory, Preference, Source, StandingInstruction
from agentmem.models.fake import FakeEmbedder
from agentmem.retrieve import READ, recall
from agentmem.session import Message, Session

SEAT = Preference(id="paaaaa", text="Prefers window seats.", valid_at=date(2024, 3, 1),
                  evidence=(Evidence(quote="a window seat, always", session="trip", turn=0),))  # fmt: skip
LYON = Fact(id="faaaaa", text="Lives in Lyon.", valid_at=date(2024, 1, 1))
PORTO = Fact(id="fbbbbb", text="Lives in Porto.", valid_at=date(2020, 1, 1), invalid_at=date(2024, 1, 1))
EUROS = StandingInstruction(id="iaaaaa", text="Use euros.", when="converting amounts")
MEMORIES: tuple[Memory, ...] = (SEAT, LYON, PORTO, EUROS)
TRIP = Session(id="trip", date=date(2024, 3, 1), messages=(
    Message(role="user", content="Book me a window seat, always window seats."),
    Message(role="assistant", content="Done: seat 12A."),
    Message(role="user", content="And a hotel near the harbour of Marseille."),
))  # fmt: skip
LONG = Session(id="long", date=date(2025, 1, 1), messages=(
    Message(role="user", content="The garden is big. " * 60 + "My orchids need rain water. " + "So it is. " * 60),
))  # fmt: skip


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    with MemoryIndex(tmp_path_factory.mktemp("index"), FakeEmbedder(256)) as index:
        index.sync(MEMORIES, [TRIP, LONG], 1)
        yield index


def test_both_kinds_are_found_with_their_sources_and_why(index):
    first, *rest = recall(index, "prefers window seats", 3)
    assert (first.kind, first.id, first.sources) == ("memory", "paaaaa", (Source(session="trip", turn=0),))
    assert re.fullmatch(r"meaning [01]\.\d\d \(#1\) \+ words #1", first.why)
    assert any(hit.kind == "turn" for hit in rest)
    assert all(hit.text in message.content for hit in rest if hit.kind == "turn"
               for session in (TRIP, LONG) if session.id == hit.sources[0].session
               for message in [session.messages[hit.sources[0].turn]])  # fmt: skip


def test_scores_fall_and_k_is_kept(index):
    hits = recall(index, "seat in Marseille or Lyon", 4)
    assert len(hits) == 4
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert len({hit.id for hit in hits}) == 4


def test_a_turn_that_only_repeats_a_memory_is_left_out(index):
    assert "trip#0" not in [hit.id for hit in recall(index, "window seats", 9)]


def test_but_not_when_it_says_more_of_what_was_asked(index):
    ids = [hit.id for hit in recall(index, "did I book window seats", 9)]
    assert {"paaaaa", "trip#0"} <= set(ids), "only the turn says that it was booked"


def test_a_long_turn_is_one_hit_with_its_best_piece(index):
    hits = [hit for hit in recall(index, "water for my orchids", 9) if hit.sources == (Source(session="long", turn=0),)]
    assert len(hits) == 1 and hits[0].id == "long#0"
    assert "orchids" in hits[0].text and len(hits[0].text) <= 1000


def test_as_of_a_day(index):
    then = recall(index, "where do I live: Lyon or Porto", 9, at=date(2023, 1, 1))
    assert [hit.id for hit in then if hit.kind == "memory"] == ["fbbbbb", "iaaaaa"], "no start given counts as always"
    assert not [hit for hit in then if hit.kind == "turn"], "nothing had been said yet"
    now = [hit.id for hit in recall(index, "where do I live: Lyon or Porto", 9)]
    assert "faaaaa" in now and "fbbbbb" not in now


def test_the_conversation_at_hand_can_be_left_out(index):
    hits = recall(index, "hotel in Marseille", 9, without={"trip"})
    assert hits and all(hit.sources[0].session != "trip" for hit in hits if hit.kind == "turn")


@pytest.mark.parametrize(("query", "k"), [("", 5), (" \n", 5), ("window", 0)])
def test_nothing_asked_finds_nothing(index, query, k):
    assert recall(index, query, k) == []


def test_the_query_is_embedded_once(index):
    calls = []

    class Once(FakeEmbedder):
        def encode(self, texts, /):
            calls.append(texts)
            return super().encode(texts)

    with MemoryIndex(index.folder, Once(256)) as same:
        recall(same, "window seats", 3)
    assert calls == [["window seats"]]


def test_a_memory_is_found_by_its_turn_too(tmp_path):
    """The words stand only in the turn; what is shown is the memory, with its lead over mere turns."""
    said = Session(id="said", messages=(
        Message(role="user", content="Nine hours over the Atlantic and my knees were in my ears."),
        Message(role="user", content="The Atlantic is wide."),
    ))  # fmt: skip
    room = Preference(id="pccccc", text="Needs leg room.", basis="inferred",
                      evidence=(Evidence(quote="my knees were in my ears", session="said", turn=0),))  # fmt: skip
    with MemoryIndex(tmp_path, FakeEmbedder(256)) as index:
        index.sync((room,), [said], 1)
        first, second, third = recall(index, "hours over the Atlantic", 5)
        assert (first.id, second.id, third.id) == ("pccccc", "said#0", "said#1")
        assert first.why.startswith("its turn: meaning")
        assert [hit.id for hit in recall(index, "hours over the Atlantic", 5, kinds=["turn"])] == ["said#0", "said#1"]


# -- with a reranker ---------------------------------------------------------------------------------------------------


class Longest:
    """Only a long text answers."""

    def __init__(self):
        self.read = []

    def scores(self, query, texts):
        self.read.append((query, list(texts)))
        return np.array([40 if len(text) > 300 else -40 for text in texts], np.float32)


def test_a_reranker_reads_the_best_and_moves_them(index):
    judge = Longest()
    plain = recall(index, "window seats or Lyon", 9)
    read = recall(index, "window seats or Lyon", 9, reranker=judge)
    [(query, texts)] = judge.read
    assert query == "window seats or Lyon" and len(texts) == len(plain) <= READ
    assert {hit.id for hit in read} == {hit.id for hit in plain} and read[0].id == "long#0"
    assert [hit.score for hit in read] == sorted((hit.score for hit in read), reverse=True)
    assert all("read" in hit.why for hit in read)


def test_a_memory_is_read_as_the_turn_it_rests_on(index):
    judge = Longest()
    recall(index, "prefers window seats", 9, reranker=judge)
    assert "Book me a window seat, always window seats." in judge.read[0][1]
    assert "Prefers window seats." not in judge.read[0][1]


def test_what_is_not_read_keeps_its_place_behind(index, monkeypatch):
    monkeypatch.setattr("agentmem.retrieve.READ", 2)
    plain = recall(index, "window seats or Lyon", 9)
    read = recall(index, "window seats or Lyon", 9, reranker=Longest())
    assert {hit.id for hit in read[:2]} == {hit.id for hit in plain[:2]}
    assert [hit.id for hit in read[2:]] == [hit.id for hit in plain[2:]]
