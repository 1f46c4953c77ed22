"""Commands that carry a memory from place to place: export, import."""

from __future__ import annotations

import io
import json
import random
import sys
import zipfile
from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import typer

from agentmem.cli.common import Common, complain, counted, emit, flag, known_store, open_store, say
from agentmem.errors import AgentMemError, StoreError, boundary

if TYPE_CHECKING:
    from agentmem.memory import Memory
    from agentmem.session import Session
    from agentmem.store import MemoryStore, Snapshot

EXPORT = "agentmem-export/1"

_LIST_KEYS = ("results", "memories", "items")
_TEXT_KEYS = ("memory", "text", "content", "value")


def export(
    common: Common,
    target: Annotated[Path | None, typer.Argument(metavar="FILE", help="Where to (default: print it).",
                                                  show_default=False)] = None,
    *,
    format: Annotated[
        Literal["json", "md", "zip"] | None,
        typer.Option("--format", help="JSON with everything, memory.md, or the folder. By FILE's ending, else json.",
                     show_default=False),
    ] = None,
    force: Annotated[bool, flag("--force", help="Replace FILE if it is there.")] = False,
) -> None:  # fmt: skip
    """Write all that is remembered into one file.

    json: memories and conversations; md: memory.md alone; zip: memory.md, history.md and the conversations as files.
    """
    ending = target.suffix.lstrip(".") if target else ""
    chosen = format or (ending if ending in ("md", "zip") else "json")
    if chosen == "zip" and target is None:
        raise typer.BadParameter("a zip needs a FILE to write to", param_hint="FILE")
    store = known_store(common)
    snapshot, sessions = store.load(), store.sessions()
    made = {"json": _as_json, "md": _as_markdown, "zip": _as_zip}[chosen](store, snapshot, sessions)
    if target is None:
        sys.stdout.write(made.decode("utf-8"))
        return
    if target.exists() and not force:
        raise StoreError(f"{target}: is there already; give another name, or --force to replace it")
    beside = target.with_name(f".{target.name}.new")
    try:
        beside.write_bytes(made)
        beside.replace(target)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise StoreError(f"{target}: cannot be written ({error.strerror})") from error
    if common.json:
        emit({"file": target, "format": chosen, "memories": len(snapshot.memories), "sessions": len(sessions)})
    else:
        say(f"{counted(len(snapshot.memories), 'memory', 'memories')} and "
            f"{counted(len(sessions), 'conversation')} in {target}.")  # fmt: skip


def _as_json(store: MemoryStore, snapshot: Snapshot, sessions: tuple[Session, ...]) -> bytes:
    from agentmem.cli.view import memory_json

    value = {"format": EXPORT, "user": store.user, "version": snapshot.version,
             "memories": [memory_json(memory) for memory in snapshot.memories],
             "sessions": [session.model_dump(mode="json") for session in sessions]}  # fmt: skip
    return (json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode()


def _as_markdown(store: MemoryStore, snapshot: Snapshot, sessions: tuple[Session, ...]) -> bytes:
    from agentmem.markdown import dumps
    from agentmem.store.draft import blank_document

    path = store.folder / "memory.md"
    return path.read_bytes() if path.exists() else dumps(blank_document(store.user)).encode()


def _as_zip(store: MemoryStore, snapshot: Snapshot, sessions: tuple[Session, ...]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("memory.md", _as_markdown(store, snapshot, sessions))
        for path in (store.folder / "history.md", *sorted((store.folder / "sessions").glob("[!.]*.jsonl"))):
            if path.is_file():
                archive.write(path, path.relative_to(store.folder))
    return made.getvalue()


def import_(
    common: Common,
    source: Annotated[str, typer.Argument(metavar="FILE", help="A file, or - for standard input.", show_default=False)],
) -> None:
    """Take over memories from a file.

    It may be an export of agentmem (json, md or zip). Of other programs a JSON list of memories is read, such as
    mem0 and langmem give: each a text, or an object with memory, text or content. For conversations use `agentmem
    observe`.
    """
    from agentmem.memory import Add, full_text

    memories, sessions = _read(source)
    _refuse_future(source, memories)
    store = open_store(common)
    known = {(memory.kind, full_text(memory), memory.invalid_at) for memory in store.load().memories}
    fresh = []
    for memory in memories:
        same = (memory.kind, full_text(memory), memory.invalid_at)
        if same not in known:
            fresh.append(memory)
            known.add(same)
    applied = store.apply([Add(memory=memory) for memory in fresh], author="import")
    for session in sessions:
        store.save_session(session)
        store.mark_observed(session.id, len(session.messages))
    alike = len(memories) - len(fresh)
    for refusal in applied.refused:
        complain(f"not taken over: {refusal.reason}")
    if common.json:
        emit({"added": len(applied.ops), "known": alike, "refused": len(applied.refused), "sessions": len(sessions)})
        return
    extra = f"; {counted(alike, 'memory', 'memories')} known already" if alike else ""
    extra += f"; {counted(len(sessions), 'conversation')}" if sessions else ""
    say(f"{counted(len(applied.ops), 'memory', 'memories')} added{extra}.")


def _read(source: str) -> tuple[list[Memory], list[Session]]:
    """The memories and conversations of a file. Raises StoreError, MarkdownError, SessionError naming the place."""
    name = "standard input" if source == "-" else source
    try:
        data = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    except OSError as error:
        raise StoreError(f"{name}: cannot be read ({error.strerror})") from error
    if data.startswith(b"PK\x03\x04"):
        return _read_zip(name, data, source)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise StoreError(f"{name}: is not UTF-8 text; give a JSON, Markdown or zip file") from error
    if text.startswith("---"):
        return _read_markdown(name, text), []
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{name}: is neither JSON nor a memory.md ({error}); give an export") from error
    if isinstance(value, Mapping) and str(value.get("format", "")).startswith("agentmem-export/"):
        return _read_export(name, value)
    return _read_foreign(name, value), []


def _read_zip(name: str, data: bytes, source: str) -> tuple[list[Memory], list[Session]]:
    from agentmem.importers import read_sessions

    with boundary(StoreError, f"{name}: is a damaged zip archive"), zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = archive.namelist()
        if "memory.md" not in names:
            raise StoreError(f"{name}: has no memory.md; give a zip made by `agentmem export`, or use "
                             "`agentmem observe` for archives of conversations")  # fmt: skip
        if sum(member.file_size for member in archive.infolist()) > 2**30:
            raise StoreError(f"{name}: would unpack to more than 1 GiB; unpack it yourself if you trust it")
        pages = {page: archive.read(page).decode("utf-8") for page in ("memory.md", "history.md") if page in names}
    memories = [memory for page, text in pages.items() for memory in _read_markdown(f"{name}/{page}", text)]
    has_sessions = any(member.startswith("sessions/") for member in names) and source != "-"
    return memories, list(read_sessions(source)) if has_sessions else []


def _read_markdown(name: str, text: str) -> list[Memory]:
    from agentmem.markdown import loads

    return list(loads(text, name).memories)


def _read_export(name: str, value: Mapping[str, Any]) -> tuple[list[Memory], list[Session]]:
    from agentmem.memory import MEMORY
    from agentmem.session import Session

    if value["format"] != EXPORT:
        raise StoreError(f"{name}: has the format {value['format']}, this program reads {EXPORT}; update agentmem")
    memories: list[Memory] = []
    stored: list[Any] = value.get("memories") or []
    for place, fields in enumerate(stored, start=1):
        with boundary(StoreError, f"{name}: memory {place}"):
            own = {key: item for key, item in fields.items() if key != "status"}
            if own.get("when") is None:
                own.pop("when", None)
            memories.append(MEMORY.validate_python(own))
    with boundary(StoreError, f"{name}: sessions"):
        return memories, [Session.model_validate(session) for session in value.get("sessions") or ()]


def _read_foreign(name: str, value: Any) -> list[Memory]:
    """A list of memories in the manner of mem0 ({"results": [{"memory", "created_at"}]}) and langmem ({"value"})."""
    if isinstance(value, Mapping):
        value = next(
            (value[key] for key in ("results", "memories", "items") if isinstance(value.get(key), list)), value
        )
    if not isinstance(value, list):
        raise StoreError(
            f"{name}: is no list of memories; give a JSON list of texts, or of objects with memory or text"
        )
    rng = random.Random()
    return [_foreign(f"{name}: memory {place}", item, rng) for place, item in enumerate(value, start=1)]


def _foreign(where: str, item: Any, rng: random.Random) -> Memory:
    from agentmem.memory import MEMORY, Kind, new_id, one_line

    fields = item if isinstance(item, Mapping) else {"text": item}
    text = _text_of(fields)
    if text is None:
        raise StoreError(f"{where}: has no text; give it as memory, text or content")
    kind: Kind = next((kind for kind in get_args(Kind) if kind == fields.get("kind")), "fact")
    # another program's summary, without the user's own words behind it
    own: dict[str, Any] = {"kind": kind, "id": new_id(kind, (), rng), "text": one_line(text), "basis": "inferred"}
    if kind == "instruction" and isinstance(fields.get("when"), str):
        own["when"] = fields["when"]
    if isinstance(since := fields.get("created_at"), str):
        try:
            own["valid_at"] = datetime.fromisoformat(since).date()
        except ValueError as error:
            raise StoreError(f"{where}: created_at {since!r} cannot be read; write it as YYYY-MM-DD") from error
    with boundary(StoreError, where):
        return MEMORY.validate_python(own)


def _text_of(fields: Mapping[str, Any]) -> str | None:
    for key in _TEXT_KEYS:
        value = fields.get(key)
        if isinstance(value, Mapping):
            value = _text_of(value)
        if isinstance(value, str) and value.strip():
            return value
    return None


def _refuse_future(source: str, memories: Iterable[Memory]) -> None:
    latest = datetime.now().date() + timedelta(days=1)
    for memory in memories:
        first: date | None = memory.valid_at
        if first is not None and first > latest:
            raise AgentMemError(f"{source}: {memory.text!r} is dated {first}, which is in the future; correct the date")
