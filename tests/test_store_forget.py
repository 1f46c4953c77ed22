"""Forgetting: no byte of it is left in any file, and nothing brings it back."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from agentmem.errors import MemoryNotFoundError, StoreError
from agentmem.memory import Add, Close, Evidence, Fact, Forget, Preference, Update
from agentmem.session import Session, make_session
from agentmem.store import MemoryStore, files
from agentmem.store.content import Content, sentences

TALK = make_session(
    [
        {"role": "user", "content": "I work remotely and I was diagnosed with Crohn's disease. Any tips for lunch?"},
        {"role": "assistant", "content": "Sorry to hear about your Crohn’s disease. Soup is easy to digest!"},
        {"role": "user", "content": "Thanks. Also, I like tea."},
        {"role": "user", "content": "Please forget my diagnosis."},
    ],
    id="talk",
    date=date(2026, 3, 1),
)
LATER = make_session(
    [
        {"role": "user", "content": "Is rye bread fine with crohns? I read about a disease of rye."},
        {"role": "assistant", "content": "With Crohn's, start small.\nRye is a grain."},
    ],
    id="later",
    date=date(2026, 4, 1),
)
CROHN = Fact(
    id="fcr2hn",
    text="Has Crohn's disease.",
    evidence=(Evidence(quote="I was diagnosed with Crohn's disease", session="talk", turn=0),),
)
REMOTE = Fact(
    id="frem2t", text="Works remotely.", evidence=(Evidence(quote="I work remotely", session="talk", turn=0),)
)
SOUP = Preference(
    id="ps2up2",
    text="Prefers soup for lunch.",
    basis="inferred",
    evidence=(
        Evidence(quote="diagnosed with Crohn's disease. Any tips for lunch?", session="talk", turn=0),
        Evidence(quote="I like tea", session="talk", turn=2),
    ),
)
REQUEST = Evidence(quote="Please forget my diagnosis.", session="talk", turn=3)
WORDS = ("crohn", "diagnosed with")


def open_store(root: Path) -> MemoryStore:
    clock = lambda: datetime(2026, 5, 2, 9, 30, tzinfo=UTC)  # noqa: E731
    return MemoryStore(root, "alice", clock=clock, rng=random.Random(7))


@pytest.fixture
def store(tmp_path: Path) -> MemoryStore:
    store = open_store(tmp_path)
    for session in (TALK, LATER):
        store.save_session(session)
    store.apply([Add(memory=CROHN), Add(memory=REMOTE), Add(memory=SOUP)])
    return store


def holding(folder: Path, words: tuple[str, ...] = WORDS) -> list[str]:
    """Files in which any of these words stands in any case, plain or in UTF-16."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            data = path.read_bytes().lower()
            forms = [word.encode(code) for word in words for code in ("utf-8", "utf-16-le", "utf-16-be")]
            found += [path.name] if any(form in data for form in forms) else []
    return found


def said(session: Session) -> list[str]:
    return [message.content for message in session.messages]


def test_a_request_in_a_conversation_erases_it_everywhere(store: MemoryStore) -> None:
    assert len(holding(store.folder)) == 4  # memory.md, the journal, two conversations
    applied = store.apply([Forget(id="fcr2hn", evidence=REQUEST)])
    assert applied.refused == () and applied.snapshot == store.load()
    assert [memory.id for memory in applied.snapshot.memories] == ["ps2up2", "frem2t"]
    assert holding(store.folder, (*WORDS, "forget my diagnosis")) == []
    assert said(store.session("talk")) == [
        "I work remotely [forgotten] Any tips for lunch?",
        "[forgotten] Soup is easy to digest!",
        "Thanks. Also, I like tea.",
        "[forgotten]",
    ]
    assert said(store.session("later")) == [
        "[forgotten] I read about a disease of rye.",
        "[forgotten]\nRye is a grain.",
    ]
    assert store.verify_forgotten(["Crohn's disease"]) == [] and store.doctor() == []


def test_other_memories_stay_without_the_evidence_that_says_it(store: MemoryStore) -> None:
    store.forget(["fcr2hn"])
    soup, remote = store.load().active
    assert remote == REMOTE and soup == SOUP.model_copy(update={"evidence": SOUP.evidence[1:]})
    for memory in (soup, remote):
        for item in memory.evidence:
            assert item.quote in said(store.session(item.session))[item.turn]


def test_every_earlier_wording_and_a_memory_that_only_repeats_it_go_too(store: MemoryStore) -> None:
    better = CROHN.model_copy(update={"text": "Takes mesalazine for the gut."})
    twin = Fact(id="ftw2n2", text="Takes mesalazine.")
    store.apply([Update(replaces=("fcr2hn",), memory=better), Add(memory=twin)])
    forgotten = store.forget(["fcr2hn"])
    assert forgotten.ids == ("fcr2hn", "ftw2n2") and forgotten.leftovers == ()
    assert holding(store.folder, ("crohn", "mesalazine")) == []


def test_the_chain_of_successors_stays_replayable(store: MemoryStore) -> None:
    new = Fact(id="fp2rt2", text="Lives in Porto.", valid_at=date(2026, 5, 1))
    old = Fact(id="f2yon2", text="Lives in Lyon.")
    store.apply([Add(memory=old)])
    store.apply([Update(replaces=("f2yon2",), memory=new)])
    store.apply([Close(id="ps2up2", on=date(2026, 5, 1), because="no more soup")])
    store.forget(["fp2rt2"])
    after = store.load()
    lyon = next(memory for memory in after.closed if memory.id == "f2yon2")
    assert lyon.closed_because == "replaced by a memory that was forgotten"
    assert open_store(store.folder.parent).load() == after
    assert store.doctor() == [] and store.verify_forgotten(["Porto"]) == []
    assert [len(change.ops) for change in store.history()] == [3, 1, 1, 1, 1]


def test_undo_cannot_cross_it(store: MemoryStore) -> None:
    store.forget(["fcr2hn"])
    store.apply([Add(memory=Fact(id="fd2g22", text="Has a dog."))])
    store.undo()
    with pytest.raises(StoreError, match="cannot undo further: what was forgotten is gone for good"):
        store.undo()


def test_something_that_never_became_a_memory(store: MemoryStore) -> None:
    ask = make_session([{"role": "user", "content": "Please forget that I like tea"}], id="ask")
    store.save_session(ask)
    request = Evidence(quote="Please forget that I like tea", session="ask", turn=0)
    applied = store.apply([Forget(id=None, evidence=request)])
    assert said(store.session("ask")) == ["[forgotten]"]
    assert said(store.session("talk"))[2] == "Thanks. [forgotten]"
    assert len(applied.snapshot.active) == 3 and applied.snapshot.version == 2
    assert holding(store.folder, ("like tea",)) == []


def test_one_short_word_that_no_memory_holds_and_no_word_of_the_asking(store: MemoryStore) -> None:
    talk = make_session([{"role": "user", "content": "I'm learning drums. I don't smoke anymore."},
                         {"role": "user", "content": "Don't remember drums anymore, please."}], id="ask")  # fmt: skip
    store.save_session(talk)
    request = Evidence(quote="Don't remember drums anymore, please.", session="ask", turn=1)
    store.apply([Forget(id=None, evidence=request)])
    assert said(store.session("ask")) == ["[forgotten] I don't smoke anymore.", "[forgotten]"]


def test_the_words_of_asking_count_where_a_memory_says_them(store: MemoryStore) -> None:
    store.apply([Add(memory=Preference(id="pzzzz2", text="Prefers longer answers."))])
    talk = make_session([{"role": "user", "content": "The answer is 42. Make the answers longer."}], id="other")
    store.save_session(talk)
    store.forget(["pzzzz2"])
    assert said(store.session("other")) == ["The answer is 42. [forgotten]"]


def test_words_given_by_the_caller(store: MemoryStore) -> None:
    forgotten = store.forget([], text="rye bread")
    assert forgotten.ids == () and forgotten.erased == 1
    assert said(store.session("later"))[0] == "[forgotten] I read about a disease of rye."


def test_unknown_ids_are_refused_and_nothing_changes(store: MemoryStore) -> None:
    with pytest.raises(MemoryNotFoundError, match=r"no memory \^f99999"):
        store.forget(["fcr2hn", "f99999"])
    assert "fcr2hn" in [memory.id for memory in store.load().active]


def test_the_persons_own_text_is_blanked_and_the_file_still_reads(store: MemoryStore) -> None:
    path = store.folder / "memory.md"
    text = path.read_text().replace("Works remotely. ^frem2t\n", "Works remotely. ^frem2t\n  - since Crohn's\n")
    text = text.replace("version: 1\n", "version: 1\ntopic: crohn\nmood: fine\n")
    path.write_text(
        text + "\n## My Crohn's notes\n\n<!-- crohn's\nlog -->\nKeep this. Crohn's is hard.\n```\ncrohn\n```\n"
    )
    store.load()
    store.forget(["fcr2hn"])
    assert holding(store.folder) == []
    text = path.read_text()
    assert "<!-- [forgotten] -->\nKeep this. [forgotten]\n[forgotten]\n" in text and "## My [forgotten]" not in text
    assert "## [forgotten]\n" in text and "mood: fine\n" in text and "topic" not in text
    assert "  - [forgotten]\n" in text and store.load().active


@pytest.mark.parametrize("own", [False, True])
def test_an_editor_opened_before_does_not_bring_it_back(store: MemoryStore, own: bool) -> None:
    path = store.folder / "memory.md"
    if own:
        path.write_text(path.read_text() + "<!-- crohn's -->\n")
        store.load()
    buffer = path.read_text()
    store.forget(["fcr2hn"])
    path.write_text(buffer + "- Has a dog.\n")
    after = store.load()
    assert {memory.id for memory in after.active} >= {"ps2up2", "frem2t"} and len(after.active) == 3
    assert "fcr2hn" not in [memory.id for memory in after.memories]
    assert holding(store.folder) == [] and store.verify_forgotten(["Crohn"]) == []


def test_forgetting_a_closed_memory(store: MemoryStore) -> None:
    store.apply([Close(id="fcr2hn", on=date(2026, 5, 1), because="the Crohn's was a wrong diagnosis")])
    store.forget(["fcr2hn"])
    assert holding(store.folder) == [] and store.load().closed == ()


def test_what_a_program_may_not_rewrite_is_reported(store: MemoryStore) -> None:
    (store.folder / "memory.md~").write_text("x\nHas Crohn's disease.")
    (store.folder / "notes.txt").write_bytes("he has CROHN'S DISEASE".encode("utf-16-le"))
    (store.folder / ".index").mkdir()
    (store.folder / ".index" / "data.bin").write_bytes(b"crohn")  # the caller rebuilds it
    (store.folder / ".memory.md.tmp").write_text("Crohn's")  # left by an interrupted write
    left = store.forget(["fcr2hn"]).leftovers
    assert [line.split(": ")[0].removeprefix(str(store.folder)) for line in left] == ["/memory.md~:2", "/notes.txt:1"]
    assert not (store.folder / ".memory.md.tmp").exists()
    assert store.verify_forgotten(["Crohn's disease"]) != [] and store.verify_forgotten() == []


def test_an_id_that_came_back_is_found(store: MemoryStore) -> None:
    store.forget(["fcr2hn"])
    (store.folder / "copy.md").write_text("- x ^fcr2hn\n")
    assert store.verify_forgotten()[0].endswith("copy.md:1: names a forgotten memory; delete the line")


def test_the_same_conversation_can_be_saved_again_and_stays_erased(store: MemoryStore) -> None:
    store.mark_observed("talk", 4)
    store.forget(["fcr2hn"])
    assert store.save_session(TALK) == 4 and holding(store.folder) == []


def crash_at(count: int) -> Callable[[str], None]:
    left = [count]

    def hook(step: str) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt(step)

    return hook


@pytest.mark.parametrize("count", range(14))
def test_a_crash_leaves_it_there_to_be_forgotten_again_or_gone(
    store: MemoryStore, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "crash_hook", crash_at(count))
    with contextlib.suppress(KeyboardInterrupt):
        store.forget(["fcr2hn"])
    monkeypatch.undo()
    again = open_store(store.folder.parent)
    now = again.load()
    assert {memory.id for memory in now.active} >= {"ps2up2", "frem2t"}
    if "fcr2hn" in [memory.id for memory in now.active]:
        again.forget(["fcr2hn"])
    else:
        again.forget([])  # clears what the interrupted one left beside the files
    assert holding(store.folder) == [] and again.verify_forgotten(["Crohn"]) == [] and again.doctor() == []


# -- what repeats the content ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("memory", "sentence", "repeats"),
    [
        ("Has Crohn's disease.", "Which foods suit crohns?", True),
        ("Has Crohn's disease.", "A disease of wheat.", False),
        ("Has diabetes.", "As a diabetic, what can I eat?", True),
        ("Prefers vegetarian food.", "Is it vegetarian-friendly?", True),
        ("Prefers vegetarian food.", "Vegetable soup is fine food.", False),
        ("Lives in Porto.", "What is the weather in Porto today?", True),
        ("Lives in Porto.", "Where do you live?", False),
        ("Ana is the user's sister.", "Say hello to Ana!", True),
        ("Wants short answers in plain words.", "Short answers in plain words, please.", True),
        ("Wants short answers in plain words.", "That was a short walk.", False),
        ("Likes tea.", "A cup of tea helps.", True),
        ("Likes tea.", "I want steak.", False),
        ("Phone number is 555-0142.", "Call 555 0142.", True),
        ("Was born in 1984.", "The novel 1984 is long.", False),
    ],
)
def test_what_repeats_a_memory(memory: str, sentence: str, repeats: bool) -> None:
    assert Content((memory,)).in_text(sentence) is repeats


def test_sentences_of_a_text() -> None:
    text = "One. Two 3.5 kg?! a@b.com\nThree… 四。五"
    assert [text[slice(*span)] for span in sentences(text)] == ["One.", "Two 3.5 kg?!", "a@b.com", "Three… 四。", "五"]


def test_what_a_request_says_goes_also_where_it_was_taken_to_mean_another_memory(tmp_path: Path) -> None:
    """The memory chosen was the wrong one; the sentence that the user meant must not stay for that."""
    store = open_store(tmp_path)
    said = make_session(
        [
            {"role": "user", "content": "I have a strong aversion to mobile apps for learning. I like long walks."},
            {"role": "user", "content": "Wearables are not for me."},
            {"role": "user", "content": "Please delete that I have a strong aversion to mobile apps for learning."},
        ],
        id="apps",
    )
    store.save_session(said)
    other = Preference(
        id="pwear2",
        text="Dislikes wearables.",
        evidence=(Evidence(quote="Wearables are not for me", session="apps", turn=1),),
    )
    store.apply([Add(memory=other)])
    request = Evidence(quote=said.messages[2].content, session="apps", turn=2)
    store.apply([Forget(id="pwear2", evidence=request)])
    assert not holding(tmp_path, ("aversion", "mobile apps"))
    assert holding(tmp_path, ("long walks",))
