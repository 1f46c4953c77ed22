"""The store: writes, conflicts, undo, refusals, bad disks, several processes."""

from __future__ import annotations

import errno
import multiprocessing
import os
import random
import shutil
import stat
import tempfile
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from agentmem.errors import ConfigError, MarkdownError, MemoryNotFoundError, StoreError, WriteConflictError
from agentmem.memory import Add, Close, Evidence, Fact, MemoryOp, Preference, Update
from agentmem.session import make_session
from agentmem.store import MemoryStore, files, users

TODAY = date(2026, 5, 2)
LYON = Fact(id="f2yon2", text="Lives in Lyon.", valid_at=date(2026, 3, 1))
PORTO = Fact(id="fp2rt2", text="Lives in Porto.", valid_at=date(2026, 5, 1))
TEA = Preference(id="ptea22", text="Likes green tea.")


def open_store(root: Path, user: str = "alice", **more: Any) -> MemoryStore:
    clock = lambda: datetime(2026, 5, 2, 9, 30, tzinfo=UTC)  # noqa: E731
    return MemoryStore(root, user, clock=clock, rng=random.Random(7), **more)


@pytest.fixture
def store(tmp_path: Path) -> MemoryStore:
    return open_store(tmp_path / "root")


def test_nothing_is_created_before_the_first_write(store: MemoryStore) -> None:
    assert store.load().version == 0 and store.load().memories == ()
    assert store.history() == () and store.sessions() == () and store.doctor() == []
    assert not store.folder.parent.exists()


def test_changes_reach_the_files_and_another_process(store: MemoryStore) -> None:
    applied = store.apply([Add(memory=LYON), Add(memory=TEA)], policy="offline", model="none")
    assert applied.snapshot.version == 1 and applied.snapshot.active == (TEA, LYON)
    assert open_store(store.folder.parent).load() == applied.snapshot
    [change] = store.history()
    assert (change.author, change.policy, change.model) == ("policy", "offline", "none")
    assert change.ops == applied.ops
    assert users(store.folder.parent) == ["alice"]


def test_a_successor_closes_what_it_replaces_and_both_stay(store: MemoryStore) -> None:
    store.apply([Add(memory=LYON)])
    after = store.apply([Update(replaces=("f2yon2",), memory=PORTO)]).snapshot
    assert after.active == (PORTO,)
    [old] = after.closed
    assert old.id == "f2yon2" and old.invalid_at == PORTO.valid_at and old.closed_because == "replaced by ^fp2rt2"


def test_a_correction_in_place_and_a_merge(store: MemoryStore) -> None:
    other = Preference(id="ptea33", text="Drinks sencha.")
    store.apply([Add(memory=TEA), Add(memory=other)])
    better = TEA.model_copy(update={"text": "Likes green tea, sencha above all."})
    after = store.apply([Update(replaces=("ptea22", "ptea33"), memory=better)]).snapshot
    assert after.active[0].text == better.text and [memory.id for memory in after.closed] == ["ptea33"]
    assert after.closed[0].invalid_at == TODAY  # it had no date of its own


def test_closing_keeps_the_reason_and_the_words(store: MemoryStore) -> None:
    said = Evidence(quote="we moved", session="s1", turn=3)
    store.apply([Add(memory=LYON)])
    [closed] = store.apply([Close(id="f2yon2", on=TODAY, because="moved", evidence=said)]).snapshot.closed
    assert (closed.invalid_at, closed.closed_because, closed.evidence) == (TODAY, "moved", (said,))
    again = store.apply([Close(id="f2yon2", on=TODAY, because="moved")])
    assert again.ops == () and again.refused[0].reason == "^f2yon2 is closed already"


def test_an_unknown_id_changes_nothing(store: MemoryStore) -> None:
    with pytest.raises(MemoryNotFoundError, match=r"no memory \^f23456"):
        store.apply([Add(memory=TEA), Close(id="f23456", on=TODAY, because="x")])
    assert store.load().memories == ()


def test_a_taken_id_is_replaced_by_a_free_one(store: MemoryStore) -> None:
    store.apply([Add(memory=TEA)])
    applied = store.apply([Add(memory=TEA.model_copy(update={"text": "Likes oolong."}))])
    assert len(applied.snapshot.active) == 2 and isinstance(applied.ops[0], Add)
    assert applied.ops[0].memory.id != "ptea22"
    assert store.apply([Add(memory=TEA)]).refused[0].reason == "^ptea22 is already there"


def test_a_conflict_is_about_the_same_memory_only(store: MemoryStore) -> None:
    store.apply([Add(memory=LYON), Add(memory=TEA)])
    base = store.load()
    store.apply([Update(replaces=("ptea22",), memory=TEA.model_copy(update={"text": "Likes white tea."}))])
    assert store.apply([Close(id="f2yon2", on=TODAY, because="moved")], base=base).refused == ()
    with pytest.raises(WriteConflictError, match=r"\^ptea22 was changed by somebody else"):
        store.apply([Close(id="ptea22", on=TODAY, because="no")], base=base)
    store.forget(["ptea22"])
    with pytest.raises(WriteConflictError, match=r"\^ptea22 was forgotten"):
        store.apply([Close(id="ptea22", on=TODAY, because="no")], base=base)


def test_a_batch_is_one_record(store: MemoryStore) -> None:
    ops = [Add(memory=Fact(id=f"f{n:05d}", text=f"Fact number {n}.")) for n in range(500)]
    store.apply(ops)
    assert len(store.history()) == 1 and len(open_store(store.folder.parent).load().active) == 500


# -- undo -----------------------------------------------------------------------------------------------------------


def test_undo_goes_back_step_by_step(store: MemoryStore) -> None:
    states = [store.load()]
    steps: list[list[MemoryOp]] = [
        [Add(memory=LYON)],
        [Update(replaces=("f2yon2",), memory=PORTO)],
        [Close(id="fp2rt2", on=TODAY, because="x")],
    ]
    for ops in steps:
        states.append(store.apply(ops).snapshot)
    path = store.folder / "memory.md"
    path.write_text(path.read_text().replace("## About\n", "## About\n\nMy own words.\n\n- Has a dog.\n"))
    states.append(store.load())
    for before in reversed(states[:-1]):
        store.undo()
        now = store.load()
        assert (now.active, now.closed) == (before.active, before.closed)
    assert "My own words." not in path.read_text()
    with pytest.raises(StoreError, match="nothing to undo"):
        store.undo()
    store.apply([Add(memory=TEA)])
    assert store.undo().author == "undo" and store.load().memories == ()
    assert open_store(store.folder.parent).doctor() == []


def test_a_long_journal_is_replayed_from_a_checkpoint(store: MemoryStore) -> None:
    for n in range(60):
        new = TEA.model_copy(update={"text": f"Likes tea {n}. " + "long " * 2000})
        store.apply([Update(replaces=("ptea22",), memory=new) if n else Add(memory=new)])
    store.undo()
    assert store.load().active[0].text.startswith("Likes tea 58.")
    assert sum('"text":{"memory"' in line for line in (store.folder / "journal.jsonl").read_text().splitlines()) > 2
    assert store.doctor() == []


# -- what a policy may not do ---------------------------------------------------------------------------------------


def edited(store: MemoryStore, old: str, new: str) -> None:
    path = store.folder / "memory.md"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    store.load()


def said(store: MemoryStore, day: date, text: str) -> Evidence:
    session = make_session([{"role": "user", "content": text}], date=day)
    store.save_session(session)
    return Evidence(quote=text, session=session.id, turn=0)


def test_inference_never_overwrites_a_hand_edit(store: MemoryStore) -> None:
    store.apply([Add(memory=TEA)])
    edited(store, "Likes green tea.", "Likes black tea.")
    same_day, later = said(store, TODAY, "green tea please"), said(store, date(2026, 5, 3), "I only drink mate now")
    in_place = TEA.model_copy(update={"evidence": (later,)})
    new = Preference(id="pmate2", text="Drinks mate only.", evidence=(later,))
    refused: list[MemoryOp] = [
        Update(replaces=("ptea22",), memory=in_place),
        Update(replaces=("ptea22",), memory=new.model_copy(update={"evidence": (same_day,)})),
        Update(replaces=("ptea22",), memory=new.model_copy(update={"basis": "inferred"})),
        Close(id="ptea22", on=date(2026, 6, 1), because="x"),
        Close(id="ptea22", on=date(2026, 6, 1), because="x", evidence=same_day),
    ]
    for op in refused:
        applied = store.apply([op])
        assert applied.ops == () and "by hand on 2026-05-02" in applied.refused[0].reason, op
    assert store.load().active[0].text == "Likes black tea."
    applied = store.apply([Update(replaces=("ptea22",), memory=new)])
    assert applied.refused == () and [memory.id for memory in applied.snapshot.active] == ["pmate2"]


def test_the_person_may_overwrite_their_own_edit_through_the_api(store: MemoryStore) -> None:
    store.apply([Add(memory=TEA)])
    edited(store, "Likes green tea.", "Likes black tea.")
    assert store.apply([Update(replaces=("ptea22",), memory=TEA)], author="import").refused == ()


def test_what_was_deleted_by_hand_does_not_come_back(store: MemoryStore) -> None:
    old, later = (
        said(store, date(2026, 3, 1), "I love green tea"),
        said(store, date(2026, 5, 9), "green tea it is again"),
    )
    store.apply([Add(memory=TEA.model_copy(update={"evidence": (old,)}))])
    path = store.folder / "memory.md"
    path.write_text(
        "".join(line for line in path.read_text().splitlines(True) if "tea" not in line and "stated" not in line)
    )
    [closed] = store.load().closed
    assert (closed.closed_because, closed.invalid_at) == ("deleted by hand", TODAY)
    same_words = Preference(id="ptea44", text="likes GREEN tea", evidence=(said(store, TODAY, "green tea"),))
    same_quote = Preference(id="ptea55", text="Is fond of sencha.", evidence=(old,))
    for memory in (same_words, same_quote):
        assert "you deleted ^ptea22 by hand" in store.apply([Add(memory=memory)]).refused[0].reason
    assert store.apply([Add(memory=same_words.model_copy(update={"evidence": (later,)}))]).refused == ()


# -- bad disks and broken files -------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["prepare history.md", "prepare memory.md", "journal", "rename history.md"])
def test_a_full_disk_changes_nothing(store: MemoryStore, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store.apply([Add(memory=LYON)])
    before = {path: path.read_bytes() for path in sorted(store.folder.rglob("*")) if path.is_file()}

    def full(at: str) -> None:
        if at == step:
            raise StoreError("full") from OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "crash_hook", full)
    with pytest.raises(StoreError):
        store.apply([Update(replaces=("f2yon2",), memory=PORTO)])
    monkeypatch.undo()
    assert {path: path.read_bytes() for path in sorted(store.folder.rglob("*")) if path.is_file()} == before
    assert open_store(store.folder.parent).load().active == (LYON,)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_the_error_of_a_full_disk_says_what_to_do(store: MemoryStore) -> None:
    store.apply([Add(memory=LYON)])
    (store.folder / ".memory.md.tmp").symlink_to("/dev/full")
    with pytest.raises(StoreError, match="the disk is full; free some space"):
        store.apply([Add(memory=TEA)])
    assert open_store(store.folder.parent).load().active == (LYON,)
    assert store.apply([Add(memory=TEA)]).snapshot.version == 2


@pytest.fixture
def open_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp())  # pytest's own folders cannot be entered by another user
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def _as_nobody(folder: Path, results: Any) -> None:
    if os.getuid() == 0:
        os.setuid(65534)  # root may write anywhere
    store = open_store(folder)
    first = store.load()
    try:
        store.apply([Add(memory=TEA)])
        error = ""
    except StoreError as caught:
        error = str(caught)
    results.put((first, store.load() == first, error))


@pytest.mark.skipif(not hasattr(os, "setuid"), reason="needs the permissions of POSIX")
def test_a_read_only_folder_can_be_read(open_folder: Path) -> None:
    store = open_store(open_folder)
    store.apply([Add(memory=LYON)])
    path = store.folder / "memory.md"
    path.write_text(path.read_text() + "- Has a dog.\n")
    before = path.read_bytes()
    for one in [store.folder, *store.folder.iterdir()]:
        one.chmod(stat.S_IRUSR | stat.S_IXUSR | stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH)
    context = multiprocessing.get_context("fork")
    results: Any = context.Queue()
    process = context.Process(target=_as_nobody, args=(open_folder, results))
    process.start()
    first, stable, error = results.get(timeout=30)
    process.join()
    assert [memory.text for memory in first.active] == ["Lives in Lyon.", "Has a dog."] and stable
    assert "no permission to write" in error and "\n" not in error
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "user", ["../x", "a" * 500, "", "con", "NUL.txt", "ünï", "a/b", ".hidden", "a b", "a\n", "x.", "a\\b"]
)
def test_a_user_id_that_is_no_folder_name_is_refused(tmp_path: Path, user: str) -> None:
    with pytest.raises(ConfigError, match="use 1 to 100 of the letters") as caught:
        MemoryStore(tmp_path, user)
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize("user", ["alice", "a.b-c_d@e+f", "007", "true", "@me"])
def test_other_user_ids_work(tmp_path: Path, user: str) -> None:
    open_store(tmp_path, user).apply([Add(memory=TEA)])
    assert open_store(tmp_path, user).load().active == (TEA,)


def test_broken_front_matter_names_file_and_line_and_stops_every_write(store: MemoryStore) -> None:
    store.apply([Add(memory=LYON)])
    path = store.folder / "memory.md"
    path.write_text(path.read_text().replace("version: 1", "version: one"))
    for act in (store.load, lambda: store.apply([Add(memory=TEA)])):
        with pytest.raises(MarkdownError, match=r"memory\.md:1: version is 'one'"):
            act()
    assert "memory.md:1: version is 'one'" in store.doctor()[0]
    path.write_bytes("---\nformat".encode("utf-16"))
    with pytest.raises(MarkdownError, match="not UTF-8 text; save the file as UTF-8"):
        store.load()


def test_a_corrupt_journal_line_is_named_and_a_torn_one_dropped(store: MemoryStore) -> None:
    store.apply([Add(memory=LYON)])
    store.apply([Add(memory=TEA)])
    journal = store.folder / "journal.jsonl"
    whole = journal.read_bytes()
    journal.write_bytes(whole + whole.splitlines()[0][:40])
    again = open_store(store.folder.parent)
    assert again.load().active == (TEA, LYON) and again.doctor() == []
    assert again.apply([Add(memory=PORTO)]).snapshot.version == 3
    assert len(again.history()) == 3
    lines = journal.read_bytes().splitlines(True)
    journal.write_bytes(lines[0] + b"garbage\n" + lines[2])
    with pytest.raises(StoreError, match=r"journal\.jsonl:2: not a journal record; put back"):
        open_store(store.folder.parent).history()


def test_a_deleted_journal_costs_undo_only(store: MemoryStore) -> None:
    store.apply([Add(memory=LYON)])
    before = store.apply([Update(replaces=("f2yon2",), memory=PORTO)]).snapshot
    (store.folder / "journal.jsonl").unlink()
    bytes_before = (store.folder / "memory.md").read_bytes()
    again = open_store(store.folder.parent)
    assert again.load() == before and (store.folder / "memory.md").read_bytes() == bytes_before
    assert "journal.jsonl:1: missing" in again.doctor()[0]
    assert again.apply([Add(memory=TEA)]).snapshot.version == 3
    assert open_store(store.folder.parent).load().active == (TEA, PORTO)
    with pytest.raises(StoreError, match="does not reach back"):
        again.undo()
    path = store.folder / "memory.md"
    path.write_text(path.read_text().replace("Porto.", "Porto, Portugal."))
    assert "Lives in Porto, Portugal." in [memory.text for memory in again.load().active]


def test_a_missing_file_is_put_back(store: MemoryStore) -> None:
    store.apply([Add(memory=LYON)])
    store.apply([Update(replaces=("f2yon2",), memory=PORTO)])
    before = store.load()
    for name in ("memory.md", "history.md"):
        (store.folder / name).unlink()
        assert f"{name}:1: missing; the next load restores it" in store.doctor()[0]
        assert open_store(store.folder.parent).load() == before
        assert (store.folder / name).exists()


def _adds(root: Path, name: str) -> None:
    store = MemoryStore(root, "alice", rng=random.Random(1))  # both make up the same ids
    for n in range(25):
        store.apply([Add(memory=Fact(id=f"f{n:05d}", text=f"{name} number {n}."))])


def test_two_processes_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_adds, args=(tmp_path, name)) for name in ("One", "Two")]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    store = open_store(tmp_path)
    wanted = {f"{name} number {n}." for name in ("One", "Two") for n in range(25)}
    assert {memory.text for memory in store.load().active} == wanted
    assert len(store.history()) == 50 and store.doctor() == []


def test_a_lock_that_stays_taken_is_an_error_that_says_so(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.apply([Add(memory=LYON)])
    monkeypatch.setattr(files, "LOCK_SECONDS", 0.05)
    with files.locked(store.folder), pytest.raises(StoreError, match="another process has been writing"):
        store.apply([Add(memory=TEA)])
    assert (store.folder / ".lock").read_bytes() == b""
