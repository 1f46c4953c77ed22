"""The index on real files: incremental sync, search, generations, broken and foreign indexes, two processes."""

import json
import logging
import random
import shutil
import subprocess
import sys
import threading
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import agentmem.index as index_module
from agentmem.errors import SearchError
from agentmem.index import MemoryIndex, open_index
from agentmem.index import generation as generation_module
from agentmem.index.entries import chunks, entries_of, match_of
from agentmem.memory import Evidence, Fact, Memory, Preference, StandingInstruction
from agentmem.models.fake import FakeEmbedder
from agentmem.session import Message, Session

TEA = Preference(id="paaaaa", text="Likes green tea.", evidence=(Evidence(quote="green tea", session="s1", turn=0),))
LYON = Fact(id="faaaaa", text="Lives in Lyon.", valid_at=date(2024, 1, 1))
PORTO = Fact(id="fbbbbb", text="Lives in Porto.", valid_at=date(2020, 1, 1), invalid_at=date(2024, 1, 1))
EUROS = StandingInstruction(id="iaaaaa", text="Use euros.", when="converting amounts")
ALL: tuple[Memory, ...] = (TEA, LYON, PORTO, EUROS)


class Counting(FakeEmbedder):
    """Counts the texts that were embedded."""

    def __init__(self, dim: int = 64) -> None:
        super().__init__(dim)
        self.texts: list[str] = []

    def encode(self, texts: Sequence[str], /) -> np.ndarray:
        self.texts += texts
        return super().encode(texts)


def talk(id: str, *said: str, day: date | None = None) -> Session:
    roles = ("user", "assistant")
    return Session(id=id, date=day, messages=tuple(Message(role=roles[i % 2], content=t) for i, t in enumerate(said)))


TALK = talk("s1", "I'd love some green tea.", "Here is a list of teas.", day=date(2024, 3, 1))


@pytest.fixture
def embedder():
    return Counting()


@pytest.fixture
def index(tmp_path, embedder):
    with MemoryIndex(tmp_path / "ann" / ".index", embedder) as index:
        yield index


def ids(ranking):
    return [entry.id for entry, _ in ranking]


def test_finds_memories_by_meaning_and_by_words(index):
    index.sync(ALL, [TALK], 1)
    found = index.search_memories("where is Lyon", 2)
    assert ids(found.dense)[0] == "faaaaa" and ids(found.lexical) == ["faaaaa"]
    assert found.dense[0][1] > found.dense[1][1]


def test_closed_memories_are_found_only_as_of_a_day_on_which_they_held(index):
    index.sync(ALL, [TALK], 1)
    assert "fbbbbb" not in ids(index.search_memories("lives in Porto", 9).dense)
    then = index.search_memories("lives in", 9, at=date(2022, 5, 5))
    assert ids(then.lexical) == ["fbbbbb"] and set(ids(then.dense)) == {"fbbbbb", "paaaaa", "iaaaaa"}
    assert "fbbbbb" not in ids(index.search_memories("lives in", 9, at=date(2024, 1, 1)).dense)


def test_turns_up_to_a_day(index):
    index.sync((), [TALK, talk("s2", "Green tea again", day=date(2025, 1, 1))], 1)
    assert set(ids(index.search_turns("green tea", 9).lexical)) == {"s1#0", "s1#1", "s2#0"}
    assert ids(index.search_turns("green tea", 9, at=date(2024, 12, 31)).lexical) == ["s1#0", "s1#1"]


@pytest.mark.parametrize("query", [
    "", "  \n", "🍵", '" OR NOT (', "tea* NEAR(", "text:tea", "-tea", "'; DROP", "tea " * 2500,
    "\x00", "e\u0301t\u00e9", "茶"])  # fmt: skip
def test_any_text_is_a_query(index, query):
    index.sync(ALL, [TALK], 1)
    for found in (index.search_memories(query, 3), index.search_turns(query, 3, at=date(2024, 4, 1))):
        assert len(found.dense) <= 3 and len(found.lexical) <= 3
    assert bool(index.search_memories(query, 3).dense) == bool(query.strip())


@given(st.text(max_size=80))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_query_is_an_fts_error(index, query):
    if not index.folder.exists():
        index.sync(ALL, [TALK], 1)
    found = index.search_memories(query, 3)
    assert len(found.dense) <= 3 and len(found.lexical) <= 3


def test_unchanged_embeds_nothing_and_opens_nothing(index, embedder):
    index.sync(ALL, [TALK], 1)
    index.close()
    embedder.texts.clear()
    assert index.sync(ALL, [TALK], 1) == 0
    assert embedder.texts == [] and index._generation is None


def test_only_what_is_new_is_embedded(index, embedder):
    index.sync(ALL, [TALK], 1)
    embedder.texts.clear()
    longer = TALK.model_copy(update={"messages": (*TALK.messages, Message(role="user", content="And coffee?"))})
    cat = Fact(id="fccccc", text="Has a cat.")
    assert index.sync((*ALL, cat), [longer], 2) == 2
    assert sorted(embedder.texts) == ["And coffee?", "Has a cat."]


def test_a_closed_memory_moves_without_being_embedded_again(index, embedder):
    index.sync(ALL, [], 1)
    embedder.texts.clear()
    moved = LYON.model_copy(update={"invalid_at": date(2025, 1, 1)})
    assert index.sync((TEA, moved, PORTO, EUROS), [], 2) == 1
    assert embedder.texts == [] and index.check((TEA, moved, PORTO, EUROS), []) == []
    assert "faaaaa" not in ids(index.search_memories("Lyon", 9).dense)


def test_known_vectors_are_not_computed_again(index, embedder):
    index.sync((TEA,), [], 1, known={TEA.text: np.eye(64, dtype=np.float32)[3]})
    assert embedder.texts == []
    assert index.search_memories("x", 1, vector=np.eye(64, dtype=np.float32)[3]).dense[0][1] == pytest.approx(1)


def test_a_changed_text_is_found_by_its_new_words_only(index):
    index.sync((TEA,), [], 1)
    index.sync((TEA.model_copy(update={"text": "Likes black coffee."}),), [], 2)
    assert ids(index.search_memories("coffee", 3).lexical) == ["paaaaa"]
    assert not index.search_memories("green", 3).lexical


def bytes_under(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("what", ["memory", "turn"])
def test_nothing_stays_of_what_vanished(index, embedder, what):
    secret = Fact(id="fsssss", text="Has zanzibaritis.")
    heard = talk("s9", "I have zanzibaritis", "Oh")
    index.sync((*ALL, secret) if what == "memory" else ALL, [TALK, heard] if what == "turn" else [TALK], 1)
    assert b"zanzibaritis" in bytes_under(index.folder)
    embedder.texts.clear()
    redacted = talk("s9", "[forgotten]", "Oh")
    index.sync(ALL, [TALK, redacted] if what == "turn" else [TALK], 2)
    left = bytes_under(index.folder).lower()
    assert b"zanzibar" not in left and b"fsssss" not in left
    assert embedder.texts == ["[forgotten]"] * (what == "turn"), "the vectors of what stays are kept"
    assert ids(index.search_memories("Lyon", 1).lexical) == ["faaaaa"]


def test_rebuild_trusts_nothing(index, embedder):
    index.sync(ALL, [TALK], 1)
    before = {path.name for path in index.folder.iterdir()}
    embedder.texts.clear()
    seen = []
    index.rebuild(ALL, [TALK], 1, progress=lambda done, of: seen.append((done, of)))
    assert len(embedder.texts) == 6 and seen == [(6, 6)]
    assert before - {path.name for path in index.folder.iterdir()} == {"1"}
    assert index.check(ALL, [TALK]) == []


def test_deleting_it_loses_nothing(index):
    index.sync(ALL, [TALK], 1)
    shutil.rmtree(index.folder)
    with pytest.raises(SearchError, match="no index yet"):
        index.search_memories("Lyon", 1)
    index.sync(ALL, [TALK], 1)
    assert ids(index.search_memories("Lyon", 1).lexical) == ["faaaaa"]


def test_another_embedders_index_is_made_anew(tmp_path, caplog):
    with MemoryIndex(tmp_path, Counting(64)) as old:
        old.sync(ALL, [], 1)
    with MemoryIndex(tmp_path, Counting(32)) as new:
        with pytest.raises(SearchError, match="hash-64"):
            new.search_memories("Lyon", 1)
        with caplog.at_level(logging.WARNING, "agentmem"):
            assert new.sync(ALL, [], 1) == 4
        assert "made anew" in caplog.text and len(caplog.records) == 1
        assert ids(new.search_memories("Lyon", 1).dense) == ["faaaaa"]


BREAKS = {
    "no texts": lambda folder: next(folder.rglob("texts.sqlite")).unlink(),
    "garbled texts": lambda folder: next(folder.rglob("texts.sqlite")).write_bytes(b"garbage" * 999),
    "empty texts": lambda folder: next(folder.rglob("texts.sqlite")).write_bytes(b""),
    "no vectors": lambda folder: shutil.rmtree(next(folder.rglob("chroma"))),
    "garbled vectors": lambda folder: next(folder.rglob("chroma.sqlite3")).write_bytes(b"garbage" * 999),
    "garbled state": lambda folder: (folder / "state.json").write_text("{"),
    "state of another shape": lambda folder: (folder / "state.json").write_text('{"format": 0}'),
    "no generation": lambda folder: shutil.rmtree(folder / "1"),
}


@pytest.mark.parametrize("how", BREAKS)
def test_a_broken_index_is_made_anew_and_never_answers_wrongly(index, how, caplog):
    index.sync(ALL, [TALK], 1)
    index.close()
    BREAKS[how](index.folder)
    assert index.check(ALL, [TALK]), "doctor sees it"
    try:
        assert ids(index.search_memories("Lyon", 1).lexical) == ["faaaaa"]
    except SearchError as error:
        assert len(str(error).splitlines()) == 1
        index.sync(ALL, [TALK], 1)
    else:
        index.sync((*ALL, Fact(id="fddddd", text="Has a dog.")), [TALK], 2)
        index.sync(ALL, [TALK], 3)
    assert ids(index.search_memories("Lyon", 1).lexical) == ["faaaaa"] and index.check(ALL, [TALK]) == []


def test_check_names_each_difference(index):
    index.sync((TEA, LYON, EUROS), [], 1)
    changed = LYON.model_copy(update={"text": "Lives in Nice."})
    problems = index.check((TEA, changed, PORTO), [])
    assert problems == ["faaaaa: stale", "fbbbbb: missing", "iaaaaa: not in the files any more"]


def test_an_interrupted_sync_is_taken_up(index, embedder, monkeypatch):
    monkeypatch.setattr(index_module, "BATCH", 2)

    def stop(done: int, of: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    index.sync((TEA,), [], 1)
    with pytest.raises(KeyboardInterrupt):
        index.sync(ALL, [TALK], 2, progress=stop)
    index.close()
    embedder.texts.clear()
    index.sync(ALL, [TALK], 2)
    assert len(embedder.texts) == 3 and index.check(ALL, [TALK]) == []


def test_a_stop_between_the_two_files_costs_no_embedding(index, embedder, monkeypatch, caplog):
    index.sync((TEA, LYON), [], 1)

    def stop(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(generation_module.Generation, "_insert_rows", stop)
        index.sync((TEA, LYON, EUROS), [], 2)
    index.close()
    embedder.texts.clear()
    index.sync((TEA, LYON), [], 3)  # EUROS was given up meanwhile; only its vector was written
    assert embedder.texts == [] and index.check((TEA, LYON), []) == []
    assert "made anew" in caplog.text


def test_a_stopped_rebuild_leaves_the_old_index_and_is_swept(index):
    index.sync(ALL, [TALK], 1)

    def stop(done: int, of: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index.rebuild(ALL, [TALK], 1, progress=stop)
    assert ids(index.search_memories("Lyon", 1).lexical) == ["faaaaa"]
    assert any("old generation" in line for line in index.check(ALL, [TALK]))
    index.sync(ALL, [TALK], 1)
    assert index.check(ALL, [TALK]) == []


def test_large_shelves_are_searched_by_chroma_and_small_ones_exactly_alike(tmp_path, embedder, monkeypatch):
    rng = random.Random(3)
    nouns = ["tea", "chess", "rowing", "opera", "cats", "jazz", "sushi", "hiking", "maps", "trains"]
    many = [Preference(id=f"p{n:05d}", text=f"Likes {' '.join(rng.sample(nouns, 3))} on day {n}.",
                       valid_at=date(2020 + n % 3, 1, 1)) for n in range(150)]  # fmt: skip
    vector = embedder.encode(["jazz and trains on day 7"])[0]
    found = {}
    for limit in (1000, 10):
        monkeypatch.setattr(generation_module, "EXACT_LIMIT", limit)
        with MemoryIndex(tmp_path / str(limit), embedder) as index:
            index.sync(many, [], 1)
            index.close()
            found[limit] = [
                index.search_memories("x", 10, vector=vector, at=at).dense for at in (None, date(2020, 6, 1))
            ]
            held = index._generation
            assert held is not None
            assert (held._client is not None) == (limit == 10), "Chroma is opened only where it is needed"
    for exact, chroma in zip(found[1000], found[10], strict=True):
        assert [score for _, score in exact] == pytest.approx([score for _, score in chroma], abs=1e-4)
    assert all(entry.since == "2020-01-01" for entry, _ in found[10][1])


def test_another_process_is_seen_both_ways(index, tmp_path):
    index.sync(ALL, [TALK], 1)
    assert not index.search_memories("cat", 1).lexical
    script = f"""
from pathlib import Path
from agentmem.index import MemoryIndex
from agentmem.memory import Fact, MEMORY
from agentmem.models.fake import FakeEmbedder
memories = [MEMORY.validate_json(line) for line in {[m.model_dump_json() for m in ALL]!r}]
with MemoryIndex(Path({str(index.folder)!r}), FakeEmbedder(64)) as index:
    print(index.search_memories("Lyon", 1).lexical[0][0].id)
    index.sync([*memories, Fact(id="fccccc", text="Has a cat.")], [], 2)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "faaaaa"
    assert ids(index.search_memories("cat", 1).lexical) == ["fccccc"]
    assert ids(index.search_memories("cat", 1).dense) == ["fccccc"]


def test_a_generation_erased_under_a_reader_is_not_an_error(index, embedder):
    """Another process renews between our look at state.json and the opening of the files."""
    index.sync(ALL, [TALK], 1)
    index.close()
    current, other = index._current, MemoryIndex(index.folder, embedder)

    def renewed_meanwhile():
        generation = current()
        if not other._state:
            other.sync(ALL[1:], [TALK], 2)
        return generation

    index._current = renewed_meanwhile
    assert ids(index.search_memories("Lyon", 1).lexical) == ["faaaaa"]
    other.close()


def test_threads_share_an_index(index):
    index.sync(ALL, [TALK], 1)
    wrong = []

    def work(n: int) -> None:
        for step in range(5):
            if n == 0:
                index.sync(
                    (*ALL, *(Fact(id=f"fzzz0{i}", text=f"Owns boat {i}.") for i in range(step))), [TALK], 2 + step
                )
            elif ids(index.search_memories("Lyon", 1).lexical) != ["faaaaa"]:
                wrong.append(n)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert not wrong and len(index.search_memories("boat", 9).lexical) == 4


def test_open_indexes_are_shared_and_bounded(tmp_path, embedder):
    first = open_index(tmp_path / "u0", embedder)
    first.sync(ALL, [], 1)
    first.search_memories("Lyon", 1)
    assert open_index(tmp_path / "u0", embedder) is first
    for user in range(1, index_module.MAX_OPEN + 1):
        open_index(tmp_path / f"u{user}", embedder)
    assert first._generation is None, "pushed out and closed"
    assert ids(first.search_memories("Lyon", 1).lexical) == ["faaaaa"], "but still good"
    first.close()


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path, embedder):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SearchError, match="cannot write") as error:
        MemoryIndex(tmp_path / "file" / ".index", embedder).sync(ALL, [], 1)
    assert len(str(error.value).splitlines()) == 1


MEMORIES = st.dictionaries(
    st.sampled_from(["p22222", "f33333", "i44444"]),
    st.tuples(st.sampled_from(["tea", "a cat", "blue boats"]), st.booleans()),
)


@given(steps=st.lists(st.tuples(MEMORIES, st.integers(0, 3)), min_size=1, max_size=4))
@settings(max_examples=6, deadline=None)
def test_incremental_sync_equals_a_rebuild(steps, tmp_path_factory):
    """Whatever the path of changes, the index holds exactly what a new one would."""
    folder = tmp_path_factory.mktemp("law")
    memories, sessions, held = [], [], {}
    with MemoryIndex(folder, FakeEmbedder(64)) as index:
        for version, (wanted, turns) in enumerate(steps, start=1):
            memories = [_of(id, *value) for id, value in wanted.items()]
            sessions = [talk("s", *[f"turn {n}" for n in range(turns)])] if turns else []
            index.sync(memories, sessions, version)
            assert index.check(memories, sessions) == []
            held = index._current().entries()
        index.rebuild(memories, sessions, len(steps))
        assert index._current().entries() == held == entries_of(memories, sessions)


def _of(id: str, text: str, closed: bool) -> Memory:
    kind = {"p": Preference, "f": Fact, "i": StandingInstruction}[id[0]]
    return kind(id=id, text=text, invalid_at=date(2024, 1, 1) if closed else None)


@given(st.text(alphabet=st.sampled_from("ab .!?\n。é"), max_size=300), st.integers(5, 40))
def test_chunks_lose_only_blanks(text, limit):
    pieces = chunks(text, limit)
    assert "".join("".join(pieces).split()) == "".join(text.split())
    assert all(0 < len(piece) <= limit for piece in pieces)


def test_chunks_end_at_sentences():
    assert chunks("One two. Three four. Five six.", 22) == ["One two. Three four.", "Five six."]


def test_turn_ids_are_unambiguous_with_any_session_id():
    long = "Word. " * 400
    entries = entries_of((), [talk("a", "x", long), talk("a#1", "x", "y", "z"), talk("a#1.0", "x")])
    assert len(entries) == 2 + len(chunks(long)) - 1 + 3 + 1
    assert json.loads(entries["a#1.0"].sources) == [["a", 1]]


def test_stop_words_count_only_when_there_is_nothing_else():
    assert match_of("what is the tea") == '"tea"'
    assert match_of("who am I") == '"who" OR "am" OR "i"'


def test_chromas_files_hold_nothing_beyond_their_content(tmp_path: Path) -> None:
    """Chroma leaves pieces of its heap there, which may be anybody's text; here a marked piece stands for them."""
    index = MemoryIndex(tmp_path / ".index", FakeEmbedder())
    with index:
        index.sync(_facts(30), [], 1)
    sized_ahead = [path for path in tmp_path.rglob("*.bin") if path.name in ("data_level0.bin", "length.bin")]
    assert len(sized_ahead) == 2  # of the one collection that was written to
    for path in sized_ahead:
        path.write_bytes(b"somebody's".ljust(path.stat().st_size, b"\0"))
    with index:
        index.sync(_facts(31), [], 2)
        assert not any(any(path.read_bytes()) for path in sized_ahead)  # so few entries wait in SQLite: no content yet
        assert len(index.search_memories("thing 30", 40).dense) == 31


def _facts(count: int) -> list[Memory]:
    letters = "23456789ab"
    return [Fact(id="f" + "".join(letters[int(d)] for d in f"{n:05d}"), text=f"Likes thing {n}.") for n in range(count)]
