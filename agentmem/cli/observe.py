"""The command that reads conversations."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agentmem.cli.common import Common, complain, counted, day_option, emit, err, flag, open_agent, out, say
from agentmem.errors import AgentMemError, ConfigError, SessionError

if TYPE_CHECKING:
    from agentmem.agent import Agent, Observed
    from agentmem.session import Session


def observe(
    common: Common,
    source: Annotated[str, typer.Argument(metavar="FILE", help="A file, or - for standard input.", show_default=False)],
    *,
    day: Annotated[date | None, day_option("--date", "Day of conversations that do not say theirs.")] = None,
    name: Annotated[
        str | None, typer.Option("--session", metavar="NAME", help="Name of the conversation in FILE.")
    ] = None,
    skip_unreadable: Annotated[
        bool, flag("--skip-unreadable", help="Leave out conversations that cannot be read, and say which.")
    ] = False,
) -> None:
    """Read conversations and remember what they say about you.

    Takes OpenAI-style JSON or JSONL, LangChain dumps, and the archives of ChatGPT and Claude as downloaded (zip or
    conversations.json). Each conversation is kept as soon as it is read; run the same command again to go on.
    """
    if day is not None:
        _refuse_future(day)
    total, sessions = _read(source, skip_unreadable)
    if name is not None and total > 1:
        raise typer.BadParameter(
            f"{source} has {total:,} conversations; one name does not fit all", param_hint="--session"
        )
    done: list[Observed] = []
    with open_agent(common) as agent:
        try:
            for session in _with_progress(sessions, total):
                done.append(_observe_one(agent, _named(session, name, day), len(done), total))
        except KeyboardInterrupt:
            _report(common, agent, done)
            raise KeyboardInterrupt(f"Stopped: {len(done):,} of {counted(total, 'conversation')} are kept; "
                                    "run the same command again to go on.") from None  # fmt: skip
        except AgentMemError:
            if done:  # what was kept before is said even so
                _report(common, agent, done)
            raise
        _report(common, agent, done)


def _read(source: str, skip_unreadable: bool) -> tuple[int, Iterable[Session]]:
    """How many conversations there are, and the conversations. All is read once before anything is written, so that
    a file broken in the middle is refused as a whole; a second time from the disk, to keep it out of memory."""
    from agentmem.importers import read_sessions

    left_out: list[SessionError] = []
    skip = left_out.append if skip_unreadable else None
    try:
        if source == "-" or not Path(source).is_file():  # a pipe can be read only once
            sessions = list(read_sessions(source, skip=skip))
            return len(sessions), sessions
        return sum(1 for _ in read_sessions(source, skip=skip)), read_sessions(source, skip=lambda error: None)
    except SessionError as error:
        several = "conversation " in str(error) and not skip_unreadable
        raise SessionError(f"{error}{' (or --skip-unreadable to leave it out)' if several else ''}") from error
    finally:
        for error in left_out:
            complain(f"left out: {error}")


def _named(session: Session, name: str | None, day: date | None) -> Session:
    """With the name that the command line gives it, and its day where it has none of its own."""
    from agentmem.session import make_session

    return make_session(session.messages, id=name or session.id, date=session.date or day)


def _observe_one(agent: Agent, session: Session, done: int, total: int) -> Observed:
    try:
        return agent.observe(session)
    except AgentMemError as error:
        if total == 1 or isinstance(error, ConfigError):  # a wrong setting is not about this conversation
            raise
        kept = f"{done} of {total:,} conversations are kept; run the same command again to go on"
        raise type(error)(f"conversation {session.id}: {error} ({kept})") from error


def _report(common: Common, agent: Agent, done: list[Observed]) -> None:
    """What was learned, also when the job was stopped in the middle."""
    from agentmem.cli.view import op_json, print_op

    known = {memory.id: memory for memory in agent.memories(all=True)} if done else {}
    skipped = sum(observed.skipped for observed in done)
    if common.json:
        emit({"ops": [op_json(op, known) for one in done for op in one.ops],
              "refused": [{**(op_json(refusal.op, known) if refusal.op else {}), "reason": refusal.reason}
                          for one in done for refusal in one.refused],
              "sessions": [one.session for one in done], "skipped": skipped})  # fmt: skip
        return
    console = out()
    for one in done:
        for op in one.ops:
            print_op(op, known, console)
            for quote in op_json(op, known)["evidence"]:
                say((f'      "{quote["quote"]}" ({quote["session"]}, turn {quote["turn"]})', "dim"), to=console)
    for one in done:
        for refusal in one.refused:
            say((f"not remembered: {refusal.reason}", "dim"), to=err())
    changes = sum(len(one.ops) for one in done)
    if done:
        seen = f"; {counted(skipped, 'turn')} had been read before" if skipped else ""
        say((f"{counted(changes, 'change')} from {counted(len(done), 'conversation')}{seen}.", "bold"), to=err())


def _with_progress(sessions: Iterable[Session], total: int) -> Iterator[Session]:
    """The sessions, with a bar on standard error; where nobody watches, a line every tenth of the way."""
    if total <= 1:
        yield from sessions
        return
    if not sys.stderr.isatty():
        tenth = max(1, total // 10)
        for place, session in enumerate(sessions, start=1):
            yield session
            if place % tenth == 0 and total >= 20:
                complain(f"read {place:,} of {total:,} conversations")
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("Reading"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err(), transient=True) as progress:
        yield from progress.track(sessions, total=total)


def _refuse_future(day: date) -> None:
    from datetime import datetime, timedelta

    if day > datetime.now().date() + timedelta(days=1):
        raise typer.BadParameter(f"{day} is in the future", param_hint="--date")
