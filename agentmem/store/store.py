"""MemoryStore: the memory of one user, in the files of one folder."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from datetime import date, datetime
from pathlib import Path

from agentmem.errors import SessionError, StoreError
from agentmem.memory import Evidence, Forget, MemoryOp
from agentmem.session import Session
from agentmem.store import files, forgetting, merge
from agentmem.store.checks import doctor, leftovers, verify_forgotten
from agentmem.store.conversations import Conversations, dump
from agentmem.store.disk import State, UserFiles, hashes_of
from agentmem.store.journal import Record
from agentmem.store.replay import Pages, PagesDraft, pages_at
from agentmem.store.rules import Rules, admit
from agentmem.store.values import Applied, Change, Forgotten, Snapshot


class MemoryStore:
    """The memory of one user: memory.md, history.md, journal.jsonl and sessions/ in `root`/`user`.

    Edits by hand are taken in on the next `load`; every change is one atomic, locked, journalled write. Nothing is
    created before the first write. Instances of several processes may work on one folder.

    Args:
        root: folder with one folder a user.
        user: name of the user's folder. ConfigError when it cannot be one.
        keep_sessions: whether `save_session` keeps the messages; otherwise only how far they were observed.
        clock: the time of a change; its date dates edits by hand.
        rng: makes up ids.
    """

    def __init__(
        self,
        root: str | Path,
        user: str,
        *,
        keep_sessions: bool = True,
        clock: Callable[[], datetime] = lambda: datetime.now().astimezone(),
        rng: random.Random | None = None,
    ) -> None:
        self.user = files.check_user(user)
        self.folder = Path(root) / user
        self._clock, self._rng = clock, rng or random.Random()
        self._files = UserFiles(self.folder, user, now=clock, rng=self._rng)
        self._conversations = Conversations(self.folder / files.SESSIONS, keep=keep_sessions)

    # -- reading ----------------------------------------------------------------------------------------------------

    def load(self) -> Snapshot:
        """The memory as it is now, edits by hand included.

        On a read-only disk those are merged in memory only. Raises MarkdownError (path:line), StoreError.
        """
        return self._snapshot(self._files.state())

    def history(self) -> tuple[Change, ...]:
        """Every change that the journal has, oldest first."""
        self.load()
        return tuple(record.change for record in self._files.journal.records())

    def sessions(self) -> tuple[Session, ...]:
        """The stored conversations, by date; those of which no message was kept are left out."""
        return tuple(stored.session for stored in self._conversations.all() if stored.messages)

    def session(self, id: str) -> Session:
        """One stored conversation. Raises SessionError when there is none with this id."""
        stored = self._conversations.find(id)
        if stored is None:
            raise SessionError(f"no stored conversation {id!r} of user {self.user!r}")
        return stored.session

    # -- writing ----------------------------------------------------------------------------------------------------

    def apply(
        self,
        ops: Iterable[MemoryOp],
        *,
        author: str = "policy",
        policy: str = "",
        model: str = "",
        base: Snapshot | None = None,
    ) -> Applied:
        """Make changes: all that are admitted, in one write, or none when an error is raised.

        With author "policy" a line written by hand is not overwritten, and one deleted by hand does not come back,
        unless the user said something newer; such ops come back as refusals. A Forget erases (see `forget`).

        Raises:
            MemoryNotFoundError: an op names an id that is not there.
            WriteConflictError: a memory that an op changes is no longer what it was in `base`.
            StoreError: the disk refused; nothing has changed.
        """
        ops = list(ops)
        if not ops:
            return Applied(snapshot=self.load())
        with files.locked(self.folder):
            state = self._files.settled()
            version = state.version + 1
            draft = PagesDraft(state.pages)
            rules = Rules(author == "policy", self._today(), self._said_on, self._rng)
            done, refused = admit(ops, draft, version, base, rules)
            plain = [op for op in done if not isinstance(op, Forget)]
            if plain:
                record = self._files.record(version, author, tuple(plain), policy=policy, model=model)
                state = self._files.write(state, draft.pages(), record)
            if erased := [op for op in done if isinstance(op, Forget)]:
                self._forget(state, erased, author=author, policy=policy, model=model)
                state = self._files.settled()
        return Applied(snapshot=self._snapshot(state), ops=tuple(done), refused=tuple(refused))

    def undo(self) -> Change:
        """Take the last change back, and with each further call the one before it; the taking back is a change too.

        Raises StoreError when nothing is left to take back, or when it was before a forget.
        """
        with files.locked(self.folder):
            state = self._files.settled()
            records = self._files.journal.records()
            target = _to_undo(records)
            pages = pages_at(records, target.version - 1, self.user)
            if pages is None:
                raise StoreError(f"{self._files.journal.path}: does not reach back before version {target.version}")
            version = state.version + 1
            before, after = state.pages.snapshot(0), pages.snapshot(0)
            ops = merge.changes(before.memories, after.memories)
            pages = merge.renumbered(pages, version)
            record = self._files.record(version, "undo", tuple(ops), text=pages.texts, undoes=target.version)
            self._files.write(state, pages, record)
            return record.change

    def save_session(self, session: Session) -> int:
        """Store a conversation, or what is new of it; returns its first turn that has not been observed.

        Raises SessionError when earlier messages differ from the stored ones, StoreError.
        """
        with files.locked(self.folder):
            return self._conversations.save(session)

    def mark_observed(self, session_id: str, turns: int) -> None:
        """Note that the first `turns` messages of a stored conversation have been observed."""
        with files.locked(self.folder):
            self._conversations.mark_observed(session_id, turns)

    def forget(self, ids: Iterable[str], text: str | None = None) -> Forgotten:
        """Erase memories from every file of this user but the derived index, which the caller rebuilds.

        The memory, all it was before, its evidence, and every sentence of the stored conversations that repeats it
        are gone; with `text`, so is what repeats these words. Only the ids stay in the journal, as tombstones.

        Raises MemoryNotFoundError, StoreError.
        """
        with files.locked(self.folder):
            state = self._files.settled()
            ops: list[Forget] = [Forget(id=id) for id in dict.fromkeys(ids)]
            rules = Rules(False, self._today(), self._said_on, self._rng)
            admit(ops, PagesDraft(state.pages), state.version, None, rules)
            return self._forget(state, ops, text=text, author="person")

    # -- checks -----------------------------------------------------------------------------------------------------

    def verify_forgotten(self, content: Iterable[str] = ()) -> list[str]:
        """What speaks against all forgotten memories being gone; empty when they are.

        Checks that no erased id is in use, and that none of `content` stands in any file of the user.
        """
        return verify_forgotten(self.folder, self.user, content)

    def doctor(self) -> list[str]:
        """Problems of this user's files, "file:line: what; fix" each."""
        return doctor(self.folder, self.user)

    # -- inside -----------------------------------------------------------------------------------------------------

    def _today(self) -> date:
        return self._clock().date()

    def _snapshot(self, state: State) -> Snapshot:
        return state.pages.snapshot(state.version)

    def _said_on(self, evidence: Evidence) -> date | None:
        stored = self._conversations.find(evidence.session)
        if stored is None:
            return None
        within = evidence.turn < len(stored.messages)
        return stored.session.date_of(evidence.turn) if within else stored.date

    def _forget(
        self,
        state: State,
        ops: list[Forget],
        *,
        author: str,
        text: str | None = None,
        policy: str = "",
        model: str = "",
    ) -> Forgotten:
        """Erase; the lock is held.

        The conversations go first and the journal before the two files: a crash leaves either the memory still there,
        to be forgotten again, or a journal whose last record finishes the work.
        """
        self._delete_temporary()
        records = self._files.journal.records()
        erasure = forgetting.plan(ops, state.pages, records, text)
        version = state.version + 1
        pages = merge.renumbered(forgetting.erased_pages(state.pages, erasure), version)
        erased = self._erase_conversations(pages, erasure)
        ids = tuple(sorted(erasure.ids))
        about = {"policy": policy, "model": model, "text": pages.texts, "forgot": ids}
        record = self._files.record(version, author, tuple(Forget(id=id) for id in ids), **about)
        record = record.model_copy(update={"before": state.hashes, "after": hashes_of(pages)})
        kept = [forgetting.erased_record(one, erasure) for one in records]
        files.crash_hook("erase journal")
        journal = self._files.journal
        files.replace_file(journal.path, journal.dump([*kept, record]))
        self._files.write(state, pages, None)
        # Needed until here, to finish after a crash; hashes of the old files could confirm a guess of the content.
        files.replace_file(journal.path, journal.dump([*kept, record.model_copy(update={"before": None})]))
        self._files.reread()
        left = leftovers(self.folder, erasure.content)
        return Forgotten(ids=ids, version=version, erased=erased, leftovers=tuple(left))

    def _erase_conversations(self, pages: Pages, erasure: forgetting.Erasure) -> int:
        """Rewrite the conversations without the content; returns how many messages changed."""
        kept: dict[tuple[str, int], list[str]] = {}
        for memory in pages.snapshot(0).memories:
            for item in memory.evidence:
                kept.setdefault((item.session, item.turn), []).append(item.quote)
        count = 0
        for stored in self._conversations.all():
            new = forgetting.erased_conversation(stored, erasure, kept)
            count += sum(one != other for one, other in zip(stored.messages, new.messages, strict=True))
            if new != stored or stored.path.stat().st_size != stored.end:  # a torn line may hold the words too
                files.crash_hook("erase conversation")
                files.replace_file(stored.path, dump(new))
        return count

    def _delete_temporary(self) -> None:
        """Delete what interrupted writes left beside the files."""
        for folder in (self.folder, self._conversations.folder):
            for path in folder.glob(".*.tmp") if folder.is_dir() else ():
                with files.disk_errors(path):
                    path.unlink()


def users(root: str | Path) -> list[str]:
    """Names of the users that have a folder with memory or conversations under `root`."""
    folder = Path(root)
    if not folder.is_dir():
        return []
    signs = (files.MEMORY, files.JOURNAL, files.SESSIONS)
    found = (one for one in folder.iterdir() if any((one / sign).exists() for sign in signs))
    return sorted(one.name for one in found if files.is_user(one.name))


def _to_undo(records: list[Record]) -> Record:
    """The last change that stands. Raises StoreError."""
    stack: list[Record] = []
    for record in records:
        if record.undoes is not None:
            del stack[-1:]
        elif record.forgot is not None or record.author == "repair":
            stack = [record]
        else:
            stack.append(record)
    if not stack:
        raise StoreError("nothing to undo: the memory is as it was before the first change in the journal")
    if stack[-1].forgot is not None:
        raise StoreError("cannot undo further: what was forgotten is gone for good, and the change before it with it")
    return stack[-1]
