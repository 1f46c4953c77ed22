"""What a system under evaluation is: it opens the memory of a user, which observes conversations and is asked.

A system of your own needs `observe` and `search`; what else it can do, it overrides. What it cannot do raises
UnsupportedError, and the metrics that need it are unscored with that reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from contextlib import AbstractContextManager
from datetime import date
from pathlib import Path
from typing import Any, Protocol, TypeVar

from agentmem.errors import boundary
from agentmem.memory import Fact, Hit, HitKind, Memory, Preference, Source, StandingInstruction, Value
from agentmem.policy import Observation, Proposal
from agentmem.session import Session
from eval.errors import SystemFailedError, UnsupportedError

BOTH: tuple[HitKind, ...] = ("memory", "turn")


T = TypeVar("T")


class Context(Value):
    """What a system would put into the prompt of an answer."""

    text: str
    """Empty when it has nothing to say to this request."""
    tokens: int
    """Estimated tokens of the text (agentmem.route.count_tokens)."""
    route: str = ""
    """How the memory was read, where the system says so."""


class UserMemory:
    """The memory of one user, as a benchmark sees it. Begins empty."""

    name = "memory"

    def observe(self, session: Session) -> None:
        """Take in a conversation, once. Sessions come in the order of their dates."""
        raise NotImplementedError

    def search(self, query: str, k: int, *, kinds: Collection[HitKind] = BOTH, at: date | None = None) -> Sequence[Hit]:
        """The k best hits for a query, best first. `sources` of each name the turns it rests on.

        Args:
            query: any text.
            k: hits at most.
            kinds: "memory" for what was written, "turn" for what was said, or both.
            at: as of this day.
        """
        raise NotImplementedError

    def memories(self) -> Sequence[Memory]:
        """Everything written, active and closed, oldest first; systems without dates or kinds use plain Facts."""
        raise UnsupportedError(f"{self.name} writes no memories that can be listed")

    def applicable(self, profile: Sequence[str], request: str) -> Sequence[str]:
        """Which of the standing instructions of a user, in the user's own words, apply to the request."""
        raise UnsupportedError(f"{self.name} does not select standing instructions")

    def asks(self, known: Sequence[str], request: str) -> bool:
        """Whether it would ask the user a question before it answers the request.

        Args:
            known: what is remembered of the user, a sentence each.
            request: the user's message.
        """
        raise UnsupportedError(f"{self.name} does not decide whether to ask")

    def propose(self, observation: Observation) -> Proposal:
        """The edits that its policy would make of this observation; nothing is remembered.

        `raw` is what a model wrote, and empty where none did. Raises OutputError when that cannot be read.
        """
        raise UnsupportedError(f"{self.name} proposes no edits")

    def context(self, request: str, *, budget: int | None = 2000) -> Context:
        """What would go into the prompt when this request is answered: at most `budget` tokens, None is no limit."""
        raise UnsupportedError(f"{self.name} does not say what it would put into a prompt")

    def fork(self, folder: Path) -> UserMemory:
        """An independent copy, kept in `folder`, that goes on from here."""
        raise UnsupportedError(f"{self.name} cannot be copied")

    def absorb(self, other: UserMemory, *, first: bool = False) -> None:
        """Take over all that another memory of the same system holds (its conversations and memories), unread.

        Args:
            other: it stays as it is.
            first: whether what it holds was said before what is here; matters to systems that know an order.
        """
        raise UnsupportedError(f"{self.name} cannot take over another memory")

    def root(self) -> Path:
        """Folder under which everything of this user is kept, for looking for traces of what was forgotten."""
        raise UnsupportedError(f"{self.name} keeps nothing in files of its own")

    def close(self) -> None:
        """Let go of files."""


class System(Protocol):
    """Opens memories. Made once a process, with the options of the run."""

    @property
    def name(self) -> str: ...

    @property
    def config(self) -> dict[str, object]:
        """What the numbers depend on, for the report: models, settings."""
        ...

    def open(self, folder: Path) -> UserMemory:
        """The empty memory of a new user, kept in `folder` if it needs files."""
        ...


def usage_of(system: System) -> Counter[str]:
    """prompt_tokens and completion_tokens that a system's own chat model has used so far.

    A system that asks one counts them in an attribute `usage`; others have none.
    """
    return Counter(getattr(system, "usage", {}))


class Wrapped(UserMemory):
    """Another memory, with something around each of its calls."""

    def __init__(self, inner: UserMemory, name: str) -> None:
        self.inner, self.name = inner, name

    def around(self, call: str) -> AbstractContextManager[object]:
        """What surrounds the call of this name."""
        raise NotImplementedError

    def again(self, inner: UserMemory) -> Wrapped:
        """The same around another memory."""
        return type(self)(inner, self.name)

    def observe(self, session: Session) -> None:
        with self.around("observe"):
            self.inner.observe(session)

    def search(self, query: str, k: int, *, kinds: Collection[HitKind] = BOTH, at: date | None = None) -> Sequence[Hit]:
        with self.around("search"):
            return _all(Hit, self.inner.search(query, k, kinds=kinds, at=at))[:k]

    def memories(self) -> Sequence[Memory]:
        with self.around("memories"):
            return _all(_MEMORIES, self.inner.memories())

    def applicable(self, profile: Sequence[str], request: str) -> Sequence[str]:
        with self.around("applicable"):
            return list(self.inner.applicable(profile, request))

    def asks(self, known: Sequence[str], request: str) -> bool:
        with self.around("asks"):
            return self.inner.asks(known, request)

    def propose(self, observation: Observation) -> Proposal:
        with self.around("propose"):
            return self.inner.propose(observation)

    def context(self, request: str, *, budget: int | None = 2000) -> Context:
        with self.around("context"):
            return self.inner.context(request, budget=budget)

    def fork(self, folder: Path) -> UserMemory:
        with self.around("fork"):
            return self.again(self.inner.fork(folder))

    def absorb(self, other: UserMemory, *, first: bool = False) -> None:
        with self.around("absorb"):
            self.inner.absorb(other.inner if isinstance(other, Wrapped) else other, first=first)

    def root(self) -> Path:
        return self.inner.root()

    def close(self) -> None:
        with self.around("close"):
            self.inner.close()


class Guarded(Wrapped):
    """Another memory, whose own errors become SystemFailedError: a foreign system may fail, a run goes on."""

    def around(self, call: str) -> AbstractContextManager[object]:
        return boundary(SystemFailedError, f"{self.name}: {call}")


_MEMORIES = (Preference, StandingInstruction, Fact)


def _all(kind: Any, values: Iterable[T]) -> list[T]:
    """The values as a list. Raises TypeError when one is of another kind."""
    made = list(values)
    for value in made:
        if not isinstance(value, kind):
            raise TypeError(f"gave a {type(value).__name__}, not a Hit or a memory of agentmem.memory")
    return made


def turn_hit(session: Session, turn: int, score: float, why: str = "") -> Hit:
    """The hit that stands for one turn of a conversation."""
    return Hit(
        kind="turn",
        id=f"{session.id}#{turn}",
        text=session.messages[turn].content,
        score=score,
        why=why,
        sources=(Source(session=session.id, turn=turn),),
    )


def numbered_id(letter: str, number: int) -> str:
    """The memory id that stands for a number: for systems whose memories have no ids of our form."""
    alphabet, digits = "23456789abcdefghjkmnpqrstvwxyz", ""
    for _ in range(5):
        number, digit = divmod(number, len(alphabet))
        digits = alphabet[digit] + digits
    return letter + digits
