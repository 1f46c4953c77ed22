"""Splitting: users into those to train on and those to test on, and a history into the chunks that a policy reads."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime, time
from typing import TypeVar

from agentmem.errors import ConfigError, TrainingDataError
from agentmem.memory import Value
from agentmem.policy.trained import CHUNK_TOKENS
from agentmem.route import MESSAGE_TOKENS, count_tokens
from agentmem.session import Message, Session
from agentmem.train.histories import Example, History, Probe

E = TypeVar("E", bound=Example)


# -- users -----------------------------------------------------------------------------------------------------------


def split_users(
    histories: Sequence[E], share: float, seed: int = 0, *, where: str = "histories"
) -> tuple[list[E], list[E]]:
    """Those to train on and those to test on, whole users each, in their order, with `split` set.

    A user's side depends on the hash of the name and the seed alone: it stays the same when others come or go. Only
    where a side would be empty, the user nearest to it is moved there.

    Args:
        histories: or any other examples.
        share: of the users, that are tested on: between 0 and 1. It holds on average; a few users can be far from it.
        seed: another one gives another split.
        where: what they are, for the error; the file, say.

    Raises:
        TrainingDataError: fewer than two users.
        ConfigError: the share leaves a side empty.
    """
    if not 0 < share < 1:
        raise ConfigError(f"share {share}: must lie between 0 and 1, both excluded")
    places = {example.user: _place(example.user, seed) for example in histories}
    if len(places) < 2:
        whose = f"all are of one user, {next(iter(places))!r}" if places else "there are none"
        raise TrainingDataError(f"{where}: {whose}; a split needs two users or more: add histories of others")
    order = sorted(places, key=lambda user: (places[user], user))
    tested = sum(place < share for place in places.values())
    held_out = set(order[: min(max(tested, 1), len(order) - 1)])
    train = [_as(example, "train") for example in histories if example.user not in held_out]
    return train, [_as(example, "test") for example in histories if example.user in held_out]


def _place(user: str, seed: int) -> float:
    """Where a user stands from 0 to 1."""
    digest = hashlib.sha256(f"{seed}/{user}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def _as(example: E, split: str) -> E:
    return example.model_copy(update={"split": split})


# -- chunks ----------------------------------------------------------------------------------------------------------


class Chunk(Value):
    """What a policy reads at once: a session of its own, made of whole sessions of a history or of a part of one."""

    session: Session
    """Its id names the sessions it was made of: "s1", "s1..s3", or "s1/2" for the second part."""
    probes: tuple[Probe, ...] = ()
    """Those to ask when it has been read: with it all of their sessions are, and nothing else."""


def chunks(history: History, tokens: int = CHUNK_TOKENS, *, mix_dates: bool = False) -> list[Chunk]:
    """A history cut for a policy that reads it chunk by chunk: together they hold every message once, in order.

    Sessions that follow each other are joined as long as they fit; one that does not fit is cut between messages. A
    chunk ends where a probe is to be asked (`after`), so that just its sessions were read by then.

    Args:
        history: its sessions are cut; each of its probes goes with one chunk.
        tokens: of a chunk at most, estimated; a longer message is a chunk alone.
        mix_dates: sessions of different dates may be joined. Such a chunk has the last one's date, and a message
            without a time of its own gets its session's day as `at`. By default, and always for a session without a
            date beside one with a date, they are kept apart.

    Raises:
        ConfigError: tokens below 1.
    """
    if tokens < 1:
        raise ConfigError(f"tokens {tokens}: a chunk needs 1 at least")
    count = len(history.sessions)
    asked: dict[int, tuple[Probe, ...]] = {}
    for probe in history.probes:
        after = probe.after or count
        asked[after] = (*asked.get(after, ()), probe)
    found: list[Chunk] = []
    joined: list[Session] = []
    used = 0
    for place, session in enumerate(history.sessions):
        size = sum(map(_tokens, session.messages))
        if joined and not (used + size <= tokens and _may_join(joined[-1], session, mix_dates) and place not in asked):
            found += _made_of(joined, asked.get(place, ()), tokens)
            joined, used = [], 0
        joined.append(session)
        used += size
    return found + _made_of(joined, asked.get(count, ()), tokens)


def _tokens(message: Message) -> int:
    return count_tokens(message.content) + MESSAGE_TOKENS


def _may_join(before: Session, after: Session, mix_dates: bool) -> bool:
    return before.date == after.date or (mix_dates and before.date is not None and after.date is not None)


def _made_of(sessions: Sequence[Session], probes: tuple[Probe, ...], tokens: int) -> list[Chunk]:
    """Several sessions as one chunk, or a single one in as many as it needs; the probes go with the last."""
    first, last = sessions[0], sessions[-1]
    if len(sessions) > 1:
        messages = tuple(message for session in sessions for message in _dated(session, last))
        joined = Session(id=f"{first.id}..{last.id}", date=last.date, messages=messages)
        return [Chunk(session=joined, probes=probes)]
    *before, end = _parts(first.messages, tokens)
    if not before:
        return [Chunk(session=first, probes=probes)]
    pieces = [first.model_copy(update={"id": f"{first.id}/{number}", "messages": part})
              for number, part in enumerate([*before, end], start=1)]  # fmt: skip
    return [*(Chunk(session=piece) for piece in pieces[:-1]), Chunk(session=pieces[-1], probes=probes)]


def _dated(session: Session, last: Session) -> tuple[Message, ...]:
    """The messages, with their day where the chunk's date is another one."""
    if session.date is None or session.date == last.date:
        return session.messages
    day = datetime.combine(session.date, time())
    return tuple(one if one.at else one.model_copy(update={"at": day}) for one in session.messages)


def _parts(messages: Sequence[Message], tokens: int) -> list[tuple[Message, ...]]:
    parts: list[list[Message]] = [[]]
    used = 0
    for message in messages:
        size = _tokens(message)
        if parts[-1] and used + size > tokens:
            parts.append([])
            used = 0
        parts[-1].append(message)
        used += size
    return [tuple(part) for part in parts]
