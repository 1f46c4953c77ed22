"""Commands that change what is remembered: edit, forget, undo."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agentmem.cli.common import (
    Common,
    ask,
    complain,
    counted,
    emit,
    err,
    flag,
    interactive,
    known_store,
    open_agent,
    open_store,
    out,
    say,
)
from agentmem.errors import ConfigError, MarkdownError, StoreError

if TYPE_CHECKING:
    from agentmem.agent import Agent
    from agentmem.store import Change, Forgotten, MemoryStore


def edit(common: Common) -> None:
    """Change memory.md in your editor; it is checked afterwards.

    The editor is $VISUAL or $EDITOR. Change or delete lines, or add some: "- Likes tea." under a heading is enough.
    A line you wrote is never overwritten by what a conversation says.
    """
    store = open_store(common)
    path = _memory_file(store)
    before = _version(store)
    while True:
        _run_editor(path)
        try:
            after = store.load()
            break
        except MarkdownError as error:
            complain(str(error))
            if not interactive() or not typer.confirm("Open the editor again?", default=True, err=True):
                raise StoreError(f"{path} stays as you saved it, and is used again once it is corrected") from error
    changes = [change for change in store.history() if before < change.version <= after.version]
    _print_changes(common, store, changes, f"Nothing was changed in {path}.")


def _memory_file(store: MemoryStore) -> Path:
    """memory.md, begun if there is none yet."""
    from agentmem.markdown import dumps
    from agentmem.store.draft import blank_document

    path = store.folder / "memory.md"
    if not path.exists():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(dumps(blank_document(store.user)), "utf-8")
        except OSError as error:
            raise StoreError(f"{path}: cannot be written ({error.strerror})") from error
    return path


def _version(store: MemoryStore) -> int:
    """Version before the edit; a file that is broken already is what the editor is opened for."""
    try:
        return store.load().version
    except MarkdownError as error:
        complain(str(error))
        return max((change.version for change in store.history()), default=0)


def _run_editor(path: Path) -> None:
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    try:
        status = subprocess.call([*shlex.split(editor), str(path)])
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot start the editor {editor!r}; set EDITOR, or edit {path} yourself") from error
    if status:
        raise StoreError(f"the editor {editor!r} ended with status {status}; {path} is as it left it")


def _print_changes(common: Common, store: MemoryStore, changes: list[Change], nothing: str) -> None:
    from agentmem.cli.view import op_json, print_op

    snapshot = store.load()
    known = {memory.id: memory for memory in snapshot.memories}
    ops = [op for change in changes for op in change.ops]
    if common.json:
        emit({"ops": [op_json(op, known) for op in ops], "version": snapshot.version})
        return
    for op in ops:
        print_op(op, known, out())
    if not ops:
        say(nothing)


def forget(
    common: Common,
    what: Annotated[str, typer.Argument(metavar="ID|TEXT", help="A memory's id, or words.", show_default=False)],
    *,
    yes: Annotated[bool, flag("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Erase something everywhere, for good.

    That is in memory, history, journal, conversations and search index. With an id, that memory and the words it
    rests on; with words, every memory and every sentence that has them.
    """
    known_store(common)
    with open_agent(common) as agent:
        forgotten = confirm_and_forget(agent, what, yes=yes, root=common.config.root / common.config.user)
    if forgotten is None:
        say("Nothing was forgotten.", to=err())
        return
    if common.json:
        emit(forgotten.model_dump(mode="json"))
    else:
        print_forgotten(forgotten)
    if forgotten.leftovers:
        raise StoreError(f"the words still stand in {'; '.join(forgotten.leftovers)}")


def confirm_and_forget(agent: Agent, what: str, *, yes: bool, root: Path) -> Forgotten | None:
    """Show on standard error what will go, ask, and erase it; None when the person says no."""
    from agentmem.cli.view import print_memory

    if not what.strip():
        raise ConfigError("forget what? give a memory's id (see `agentmem show`), or words")
    ids = agent.find_forgettable(what)
    if not yes:
        console = err()
        going = [memory for memory in agent.memories(all=True) if memory.id in ids]
        say((f"This erases {counted(len(going), 'memory', 'memories')}", "bold"), to=console)
        for memory in going:
            print_memory(memory, console)
        words = "the words they rest on" if what in ids else f"every sentence that says {what!r}"
        say(f"and {words} in the conversations under {root}. It cannot be undone.", to=console)
        if not ask("Forget this?", instead="add --yes to do it without being asked"):
            return None
    return agent.forget(what)


def print_forgotten(forgotten: Forgotten) -> None:
    """What was erased, in one line."""
    places = f" and {counted(forgotten.erased, 'other place')}" if forgotten.erased else ""
    say(f"Forgotten: {counted(len(forgotten.ids), 'memory', 'memories')}{places}.")


def undo(common: Common) -> None:
    """Take the last change back.

    Run it again to go back further. What was forgotten cannot be brought back.
    """
    store = known_store(common)
    change = store.undo()
    _print_changes(common, store, [change], "The last change is taken back.")
