"""Edits by hand: whatever a person does to the files is taken in, and nothing is lost over it, crashes included."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentmem.errors import AgentMemError
from agentmem.memory import Add, Close, Evidence, Fact, MemoryOp, Preference, StandingInstruction, Update
from agentmem.store import MemoryStore, files

TODAY = date(2026, 5, 2)
SAID = Evidence(quote="I live in Lyon", session="s1", turn=0)
LYON = Fact(id="f2yon2", text="Lives in Lyon.", valid_at=date(2026, 3, 1), evidence=(SAID,), confidence=0.9)
TEA = Preference(id="ptea22", text="Likes green tea.", basis="inferred", confidence=0.6)
SEAT = StandingInstruction(id="iseat2", when="booking flights", text="Choose an aisle seat.")


def open_store(root: Path) -> MemoryStore:
    clock = lambda: datetime(2026, 5, 2, 9, 30, tzinfo=UTC)  # noqa: E731
    return MemoryStore(root, "alice", clock=clock, rng=random.Random(7))


@pytest.fixture
def store(tmp_path: Path) -> MemoryStore:
    store = open_store(tmp_path)
    store.apply([Add(memory=LYON), Add(memory=TEA), Add(memory=SEAT)])
    return store


def page(store: MemoryStore, name: str = "memory.md") -> Path:
    return store.folder / name


def save(store: MemoryStore, edit: Callable[[str], str], text: str | None = None, name: str = "memory.md") -> Any:
    """Save `text` (else what stands there) after `edit`, and load."""
    path = page(store, name)
    before = path.read_text() if text is None else text
    after = edit(before)
    assert after != before
    path.write_text(after)
    return store.load()


def without(text: str, id: str) -> str:
    """The text without an entry, its line and the indented lines under it."""
    kept, skipping = [], False
    for line in text.splitlines(keepends=True):
        skipping = f"^{id}" in line or (skipping and line.startswith("  "))
        kept += [] if skipping else [line]
    return "".join(kept)


def texts(memories: Any) -> list[str]:
    return [memory.text for memory in memories]


def test_a_changed_line_is_an_update_in_place(store: MemoryStore) -> None:
    after = save(store, lambda text: text.replace("Likes green tea.", "Likes black tea."))
    tea = next(memory for memory in after.active if memory.id == "ptea22")
    assert (tea.text, tea.basis, tea.confidence, tea.edited_at) == ("Likes black tea.", "stated", 1.0, TODAY)
    change = store.history()[-1]
    assert change.author == "person" and change.ops == (Update(replaces=("ptea22",), memory=tea),)


def test_a_changed_condition_and_a_changed_detail(store: MemoryStore) -> None:
    after = save(store, lambda text: text.replace("booking flights =>", "booking any trip =>").replace("0.6", "0.8"))
    seat = next(memory for memory in after.active if memory.id == "iseat2")
    tea = next(memory for memory in after.active if memory.id == "ptea22")
    assert seat.when == "booking any trip" and seat.edited_at == TODAY
    assert (tea.basis, tea.confidence, tea.edited_at) == ("inferred", 0.8, TODAY)


def test_a_deleted_line_is_closed(store: MemoryStore) -> None:
    after = save(store, lambda text: without(text, "f2yon2"))
    [closed] = after.closed
    assert closed == LYON.model_copy(update={"invalid_at": TODAY, "closed_because": "deleted by hand"})
    assert store.history()[-1].ops == (Close(id="f2yon2", on=TODAY, because="deleted by hand"),)


def test_a_new_line_gets_an_id_and_its_place_is_kept(store: MemoryStore) -> None:
    after = save(store, lambda text: text.replace("## Preferences\n", "## Preferences\n\n- Hates cilantro.\n"))
    new = next(memory for memory in after.active if memory.text == "Hates cilantro.")
    assert (new.kind, new.edited_at, new.basis, new.confidence) == ("preference", TODAY, "stated", 1.0)
    assert f"## Preferences\n\n- Hates cilantro. ^{new.id}\n" in page(store).read_text()
    assert open_store(store.folder.parent).load() == after


def test_new_sections_reordering_and_own_text_keep_their_place(store: MemoryStore) -> None:
    def edit(text: str) -> str:
        top, rest = text.split("## Standing instructions")
        return (
            top.replace("user: alice", "user: alice\ntags: [me]")
            + "## Food\n\n| a | b |\n|---|---|\n\n- No nuts.\n- when cooking => Use grams.\n\n"
            + "### Odd ###\n<!-- a comment\n- not a memory\n-->\n```\n- nor this\n```\n\n## Standing instructions"
            + rest.replace("Likes green tea. ^ptea22\n", "Likes green tea. ^ptea22\n    - a nested note\n")
        )

    after = save(store, edit)
    kinds = {memory.text: memory.kind for memory in after.active}
    assert kinds["No nuts."] == "preference" and kinds["Use grams."] == "instruction" and len(kinds) == 5
    text = page(store).read_text()
    for own in (
        "tags: [me]\n",
        "| a | b |\n|---|---|\n",
        "### Odd ###\n<!-- a comment\n- not a memory\n-->\n```\n- nor this\n```\n",
    ):
        assert own in text
    assert text.index("## Food") < text.index("## Standing instructions")
    store.apply([Update(replaces=("ptea22",), memory=TEA.model_copy(update={"text": "Likes any tea."}))])
    assert "    - a nested note\n" in page(store).read_text()
    before = page(store).read_text()
    moved = before.replace("## About", "## Me").replace("- No nuts.", "* No nuts.")
    assert texts(save(store, lambda text: moved).active) != [] and "## Me" in page(store).read_text()


def test_line_ends_and_a_missing_last_one_survive(store: MemoryStore) -> None:
    text = page(store).read_text().replace("\n", "\r\n").removesuffix("\r\n") + "\r\n\r\nlast words"
    page(store).write_bytes(text.encode())
    store.load()
    store.apply([Close(id="ptea22", on=TODAY, because="x")])
    data = page(store).read_bytes()
    assert data.endswith(b"\r\n\r\nlast words") and data.count(b"\n") == data.count(b"\r\n")


def test_cut_and_paste_between_the_files(store: MemoryStore) -> None:
    store.apply([Close(id="f2yon2", on=date(2026, 4, 1), because="moved")])
    history = page(store, "history.md").read_text()
    entry = history[history.index("- Lives in Lyon.") :]
    page(store, "history.md").write_text(without(history, "f2yon2"))
    after = save(store, lambda text: text + entry)
    lyon = next(memory for memory in after.active if memory.id == "f2yon2")
    assert lyon.invalid_at is None and lyon.closed_because is None and after.closed == ()
    text = page(store).read_text()
    start = text.index("- Lives in Lyon.")
    page(store).write_text(without(text, "f2yon2"))
    after = save(store, lambda history: history + text[start:], name="history.md")
    assert [memory.id for memory in after.closed] == ["f2yon2"] and after.closed[0].invalid_at == TODAY


def test_an_end_typed_by_hand_closes(store: MemoryStore) -> None:
    after = save(store, lambda text: text.replace("since 2026-03-01", "since 2026-03-01 · until 2026-04-30"))
    assert [memory.id for memory in after.closed] == ["f2yon2"] and after.closed[0].invalid_at == date(2026, 4, 30)
    assert "^f2yon2" not in page(store).read_text()


def test_a_line_deleted_in_the_history_comes_back(store: MemoryStore) -> None:
    store.apply([Close(id="f2yon2", on=TODAY, because="moved")])
    after = save(store, lambda text: without(text, "f2yon2"), name="history.md")
    assert [memory.id for memory in after.closed] == ["f2yon2"]


def test_an_id_dropped_with_the_line_unchanged_is_found_again(store: MemoryStore) -> None:
    after = save(store, lambda text: text.replace(" ^f2yon2", ""))
    assert [memory.id for memory in after.active] == ["iseat2", "ptea22", "f2yon2"] and after.closed == ()


# -- an editor that was opened before the last change ---------------------------------------------------------------


def test_a_stale_buffer_deletes_nothing_that_it_never_showed(store: MemoryStore) -> None:
    buffer = page(store).read_text()
    store.apply([Add(memory=Fact(id="fd2g22", text="Has a dog."))])
    store.apply([Close(id="f2yon2", on=TODAY, because="moved")])
    better = SEAT.model_copy(update={"text": "Choose a window seat."})
    store.apply([Update(replaces=("iseat2",), memory=better)])
    after = save(store, lambda text: text.replace("Likes green tea.", "Likes black tea."), buffer)
    assert set(texts(after.active)) == {"Likes black tea.", "Has a dog.", "Choose a window seat."}
    assert texts(after.closed) == ["Lives in Lyon."]


def test_a_stale_buffer_deletes_what_it_showed(store: MemoryStore) -> None:
    buffer = page(store).read_text()
    store.apply([Add(memory=Fact(id="fd2g22", text="Has a dog."))])
    after = save(store, lambda text: without(text, "ptea22"), buffer)
    assert set(texts(after.active)) == {"Lives in Lyon.", "Has a dog.", "Choose an aisle seat."}
    assert texts(after.closed) == ["Likes green tea."]


def test_the_persons_line_wins_over_what_a_policy_made_of_it_meanwhile(store: MemoryStore) -> None:
    buffer = page(store).read_text()
    store.apply(
        [Update(replaces=("ptea22",), memory=TEA.model_copy(update={"text": "Likes white tea.", "confidence": 0.7}))]
    )
    store.apply([Close(id="f2yon2", on=TODAY, because="moved")])
    after = save(
        store, lambda text: text.replace("green tea", "black tea").replace("in Lyon.", "in Lyon, France."), buffer
    )
    assert set(texts(after.active)) == {"Likes black tea.", "Lives in Lyon, France.", "Choose an aisle seat."}
    assert after.closed == ()


def test_own_text_of_the_newer_version_is_not_lost(store: MemoryStore) -> None:
    buffer = page(store).read_text()
    save(
        store,
        lambda text: text.replace("## About\n", "## About\n\nA new paragraph.\n").replace(
            "---\n\n", "tags: x\n---\n\n", 1
        ),
    )
    after = save(store, lambda text: text + "<!-- mine -->\n", buffer)
    text = page(store).read_text()
    assert "## About\n\nA new paragraph.\n" in text and "<!-- mine -->" in text and "tags: x\n---\n" in text
    assert len(after.active) == 3


def test_saving_twice_from_one_buffer_adds_a_new_line_once(store: MemoryStore) -> None:
    buffer = page(store).read_text() + "- Has a cat.\n<!-- mine -->\n"
    save(store, lambda text: buffer)
    after = save(store, lambda text: buffer + "- Has a dog.\n")
    assert texts(after.active).count("Has a cat.") == 1 and "Has a dog." in texts(after.active)
    assert page(store).read_text().count("<!-- mine -->") == 1


def test_a_version_that_was_never_written_deletes_nothing(store: MemoryStore) -> None:
    after = save(store, lambda text: without(text, "ptea22").replace("version: 1", "version: 99"))
    assert len(after.active) == 3


def test_a_file_written_by_hand_from_nothing(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.folder.mkdir()
    page(store).write_text("---\nformat: agentmem/1\nuser: alice\nversion: 0\n---\n- Likes tea\n")
    after = store.load()
    assert texts(after.active) == ["Likes tea"] and after.active[0].edited_at == TODAY
    assert open_store(tmp_path).load() == after


# -- crashes --------------------------------------------------------------------------------------------------------


class Crash(BaseException):
    """The process dies here."""


def crash_at(count: int) -> Callable[[str], None]:
    left = [count]

    def hook(step: str) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Crash(step)

    return hook


@pytest.mark.parametrize("count", range(6))
def test_a_crash_leaves_the_state_before_or_after(
    store: MemoryStore, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = store.load()
    new = Fact(id="fp2rt2", text="Lives in Porto.", valid_at=TODAY)
    monkeypatch.setattr(files, "crash_hook", crash_at(count))
    try:
        store.apply([Update(replaces=("f2yon2",), memory=new)])
    except Crash:
        assert count < 5
    monkeypatch.undo()
    again = open_store(store.folder.parent)
    interrupted = [line for line in again.doctor() if "was interrupted; the next load finishes it" in line]
    assert len(interrupted) == {3: 2, 4: 1}.get(count, 0)
    now = again.load()
    if now != before:
        assert new in now.active and texts(now.closed) == ["Lives in Lyon."] and now.version == 2
    assert again.doctor() == [] and open_store(store.folder.parent).load() == now
    assert (now == before) == (count <= 2), "only a written journal record makes a change count"


def test_an_edit_by_hand_beside_a_half_done_write(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "crash_hook", crash_at(4))  # history.md is in place, memory.md is not
    with pytest.raises(Crash):
        store.apply([Close(id="f2yon2", on=TODAY, because="moved")])
    monkeypatch.undo()
    assert "^f2yon2" in page(store).read_text() and "^f2yon2" in page(store, "history.md").read_text()
    again = open_store(store.folder.parent)
    after = save(again, lambda text: text.replace("green tea", "black tea"))
    assert set(texts(after.active)) == {"Likes black tea.", "Choose an aisle seat."}
    assert texts(after.closed) == ["Lives in Lyon."]


steps = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "add",
                "crash",
                "close",
                "succeed",
                "line",
                "change",
                "delete",
                "shuffle",
                "note",
                "torn",
                "undo",
                "forget",
            ]
        ),
        st.integers(0, 7),
        st.booleans(),
    ),
    max_size=14,
)


@settings(deadline=None, max_examples=50)
@given(steps)
def test_no_interleaving_of_changes_crashes_and_edits_loses_a_memory(plan: list[tuple[str, int, bool]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        for number, (what, choice, stale) in enumerate(plan):
            world.step(what, choice, stale, number)
            world.check()


class World:
    """A user's folder, a person with an editor, and what must not be lost."""

    def __init__(self, root: Path) -> None:
        self.root, self.store = root, open_store(root)
        self.must: set[str] = set()
        self.notes: set[str] = set()
        self.buffers: list[str] = []
        self.gone: dict[str, str] = {}

    def step(self, what: str, choice: int, stale: bool, number: int) -> None:
        path = page(self.store)
        text = path.read_text() if path.exists() else ""
        if what in ("line", "change", "delete", "shuffle", "note"):
            if not text:
                return
            if stale and self.buffers:
                text = self.buffers[choice % len(self.buffers)]
            self.buffers.append(text)
            path.write_text(self._edited(what, text, choice, number))
        elif what == "torn" and (self.store.folder / "journal.jsonl").exists():
            with (self.store.folder / "journal.jsonl").open("ab") as journal:
                journal.write(b'{"version": 9')
        elif what == "undo":
            self._undo()
        elif what == "forget":
            self._forget(choice, crash=stale)
        else:
            self._apply(what, choice, number)
        if number % 2:
            self.store = open_store(self.root)

    def _edited(self, what: str, text: str, choice: int, number: int) -> str:
        rows = text.splitlines(keepends=True)
        entries = [place for place, row in enumerate(rows) if row.startswith("- ")]
        if what == "line":
            self.must.add(f"Line w{number}x.")
            return text + f"- Line w{number}x.\n"
        if what == "note":
            self.notes.add(f"Note w{number}x.")
            place = 5 + choice % (len(rows) - 4)
            while place < len(rows) and rows[place].startswith(" "):
                place += 1
            return "".join([*rows[:place], f"Note w{number}x.\n", *rows[place:]])
        if not entries:
            return text
        place = entries[choice % len(entries)]
        if what == "delete":
            end = place + 1
            while end < len(rows) and rows[end].startswith("  "):
                end += 1
            return "".join([*rows[:place], *rows[end:]])
        if what == "change":
            mark = rows[place].rfind(" ^")
            line = rows[place].rstrip("\n") if mark < 0 else rows[place][:mark]
            self.must -= {one for one in self.must if line == f"- {one}"}
            return "".join([*rows[:place], f"- Line w{number}x." + rows[place][len(line) :], *rows[place + 1 :]])
        return (
            "".join([*rows[:5], *sorted(rows[5:], key=lambda row: row.startswith("#"))]) if len(entries) == 1 else text
        )

    def _apply(self, what: str, choice: int, number: int) -> None:
        try:
            active = self.store.load().active
        except AgentMemError:
            raise
        new = Fact(id=f"f{number:05d}", text=f"Fact w{number}x.")
        op: MemoryOp = Add(memory=new)
        if what == "close" and active:
            op = Close(id=active[choice % len(active)].id, on=TODAY, because="x")
        elif what == "succeed" and active:
            op = Update(replaces=(active[choice % len(active)].id,), memory=new)
        if what == "crash":
            files.crash_hook, whole = crash_at(choice), files.crash_hook
            try:
                self.store.apply([op], author="import")
            except Crash:
                return
            finally:
                files.crash_hook = whole
                self.store = open_store(self.root)
        else:
            self.store.apply([op], author="import")
        if isinstance(op, Add | Update):
            self.must.add(new.text)

    def _forget(self, choice: int, *, crash: bool) -> None:
        memories = self.store.load().memories
        if not memories:
            return
        target = memories[choice % len(memories)]
        files.crash_hook, whole = crash_at(choice) if crash else files.crash_hook, files.crash_hook
        try:
            self.store.forget([target.id])
        except Crash:
            self.store = open_store(self.root)
        finally:
            files.crash_hook = whole
        if target.id not in [memory.id for memory in self.store.load().memories]:
            self.store.forget([])  # deletes what an interrupted one left beside the files
            self.must.discard(target.text)
            self.gone[target.id] = target.text.split()[-1]

    def _undo(self) -> None:
        self.store.load()
        before = {memory.text for memory in self.store.load().memories}
        try:
            self.store.undo()
        except AgentMemError:
            return
        after = {memory.text for memory in self.store.load().memories}
        self.must = (self.must - (before - after)) & after
        self.notes = {note for note in self.notes if note in page(self.store).read_text()}

    def check(self) -> None:
        snapshot = self.store.load()
        kept = texts(snapshot.memories)
        assert self.must <= set(kept), self.must - set(kept)
        ids = [memory.id for memory in snapshot.memories]
        assert len(ids) == len(set(ids))
        assert all(memory.invalid_at is None for memory in snapshot.active)
        assert all(memory.invalid_at is not None for memory in snapshot.closed)
        path = page(self.store)
        text = path.read_text() if path.exists() else ""
        assert all(text.count(note) >= 1 for note in self.notes), self.notes
        assert open_store(self.root).load() == snapshot
        assert open_store(self.root).doctor() == []
        everything = b"".join(path.read_bytes() for path in self.root.rglob("*") if path.is_file()).decode()
        assert not self.gone.keys() & set(ids) and open_store(self.root).verify_forgotten(self.gone.values()) == []
        assert not [word for word in self.gone.values() if word in everything]
