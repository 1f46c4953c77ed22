"""The sample user: made anew it is the same to the byte, its evidence is true, and the specification shows it."""

from __future__ import annotations

from pathlib import Path

from agentmem.store import MemoryStore
from tests import sample_user

SAMPLE = sample_user.ROOT / sample_user.USER
README = sample_user.ROOT / "README.md"


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock" and ".index" not in path.parts
    }


def test_the_sample_is_what_the_store_writes(tmp_path: Path) -> None:
    sample_user.build(tmp_path)
    assert files_of(tmp_path / sample_user.USER) == files_of(SAMPLE)


def test_every_quote_stands_in_a_message_of_the_user(tmp_path: Path) -> None:
    store = sample_user.build(tmp_path)
    memories = store.load().memories
    assert len(memories) >= 8 and {memory.kind for memory in memories} == {"preference", "instruction", "fact"}
    quotes = [item for memory in memories for item in memory.evidence]
    assert len(quotes) >= 8
    for item in quotes:
        message = store.session(item.session).messages[item.turn]
        assert message.role == "user" and item.quote in message.content
    assert store.doctor() == []


def test_the_sample_can_be_undone_to_its_beginning(tmp_path: Path) -> None:
    store = sample_user.build(tmp_path)
    for _ in store.history():
        store.undo()
    assert store.load().memories == ()


def test_the_specification_shows_the_sample() -> None:
    text = README.read_text(encoding="utf-8")
    for name in ("memory.md", "history.md"):
        assert f"````markdown\n{(SAMPLE / name).read_text(encoding='utf-8')}````\n" in text


def test_the_sample_loads_in_place_without_a_write(tmp_path: Path) -> None:
    store = MemoryStore(sample_user.ROOT, sample_user.USER)
    before = files_of(SAMPLE)
    assert store.load().version == 5 and files_of(SAMPLE) == before
