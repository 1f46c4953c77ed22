"""What all commands share: the common options, one line for an error, and JSON on standard output."""

from __future__ import annotations

import functools
import inspect
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from agentmem.errors import AgentMemError, StoreError

if TYPE_CHECKING:
    from agentmem.agent import Agent
    from agentmem.config import Config
    from agentmem.store import MemoryStore

_PANEL = "Options of every command"


def _option(flag: str, metavar: str, help: str) -> Any:
    return typer.Option(flag, metavar=metavar, help=help, rich_help_panel=_PANEL, show_default=False)


def flag(*names: str, help: str) -> Any:
    """An option that is there or not; without the word "<bool>" in the help."""
    return typer.Option(*names, metavar=" ", help=help, show_default=False)


@dataclass(frozen=True)
class Common:
    """The options every command takes; None where one was not given."""

    user: Annotated[str | None, _option("--user", "NAME", "Whose memory (default: me).")] = None
    root: Annotated[Path | None, _option("--root", "DIR", "Folder of all memories (default: memories).")] = None
    json: Annotated[bool, _option("--json", " ", "Print JSON and nothing else.")] = False
    model: Annotated[str | None, _option("--model", "NAME", "Chat model, such as openai:gpt-5-mini.")] = None
    policy: Annotated[
        str | None,
        _option("--policy", "NAME", "What reads memories: auto, trained, offline, prompted, or an adapter."),
    ] = None
    embedder: Annotated[str | None, _option("--embedder", "NAME", "What search is built on.")] = None

    def overrides(self) -> dict[str, Any]:
        """The settings among them, as `load_config` takes them."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "json"}

    @functools.cached_property
    def config(self) -> Config:
        """The effective settings. Raises ConfigError."""
        from agentmem.config import load_config

        return load_config(**self.overrides())


def command(function: Callable[..., None]) -> Callable[..., None]:
    """Make `function(common, …)` a command: it also gets the common options, and its errors become one line.

    Its exit codes: 1 for an AgentMemError, 130 for Ctrl-C. Anything else is a bug and keeps its traceback.
    """
    own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
    shared = list(inspect.signature(Common, eval_str=True).parameters.values())

    @functools.wraps(function)
    def run(**values: Any) -> None:
        common = Common(**{parameter.name: values.pop(parameter.name) for parameter in shared})
        try:
            function(common, **values)
        except AgentMemError as error:
            complain(f"{error}")
            raise typer.Exit(1) from error
        except KeyboardInterrupt as stop:
            complain(str(stop) or "Stopped; what was written before is kept.")
            raise typer.Exit(130) from stop

    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [parameter.replace(kind=keyword) for parameter in [*own, *shared]]
    paragraphs = inspect.cleandoc(function.__doc__ or "").split("\n\n")
    run.__doc__ = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)  # typer keeps line breaks
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def open_agent(common: Common) -> Agent:
    """The agent of the chosen user; close it after use (`with open_agent(common) as agent:`)."""
    from agentmem.agent import Agent

    return Agent(config=common.config)


def open_store(common: Common) -> MemoryStore:
    """Only the files of the chosen user: without the graph, the index or a model, and so at once."""
    from agentmem.store import MemoryStore

    return MemoryStore(common.config.root, common.config.user, keep_sessions=common.config.keep_sessions)


def known_store(common: Common) -> MemoryStore:
    """Like `open_store`, but raises StoreError, naming the users there are, when nothing is stored for this one.

    So that a slip of the pen in --user or --root is neither taken for an empty memory nor begins a new one.
    """
    from agentmem.store import users

    store = open_store(common)
    if not store.folder.is_dir():
        others = ", ".join(list(users(common.config.root))[:8])
        there = f"there is {others}" if others else "`agentmem chat` or `agentmem observe FILE` begins one"
        raise StoreError(f"nothing is stored for {store.user} in {common.config.root}; {there}")
    return store


# Output


def out() -> Console:
    """Standard output. Lines are wrapped only for eyes: a pipe gets them whole."""
    terminal = sys.stdout.isatty()
    return Console(highlight=False, markup=False, emoji=False, soft_wrap=not terminal)


def err() -> Console:
    """Standard error: progress, questions, warnings."""
    return Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)


def complain(line: str) -> None:
    """One line on standard error."""
    typer.echo(plain(" ".join(line.split())), err=True)


def say(*parts: str | tuple[str, str], to: Console | None = None) -> None:
    """Print one line of texts, each with a style if it is a pair."""
    text = Text()
    for part in parts:
        words, style = part if isinstance(part, tuple) else (part, "")
        text.append(plain(words), style)
    (to or out()).print(text)


def emit(value: dict[str, Any]) -> None:
    """Print one JSON object on one line."""
    typer.echo(json.dumps(value, ensure_ascii=False, default=str))


def plain(text: str) -> str:
    """Text without control characters, which could drive the terminal it is shown on."""
    return "".join("\N{REPLACEMENT CHARACTER}" if ord(c) < 32 and c not in "\n\t" or 127 <= ord(c) < 160 else c
                   for c in text)  # fmt: skip


def counted(number: int, one: str, many: str | None = None) -> str:
    """ "1 memory", "2 memories"."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def interactive() -> bool:
    """Whether a person is there to answer."""
    return sys.stdin.isatty()


def ask(question: str, *, instead: str) -> bool:
    """A yes/no question on standard error. Raises AgentMemError, naming what to do `instead`, when nobody is there."""
    if not interactive():
        raise AgentMemError(f"{question} Nobody is there to answer; {instead}")
    return typer.confirm(question, err=True)


def day_option(flag: str, help: str) -> Any:
    """An option that takes YYYY-MM-DD."""
    return typer.Option(flag, metavar="YYYY-MM-DD", help=help, parser=_parse_day, show_default=False)


def _parse_day(value: str | date) -> date:
    if isinstance(value, date):
        return value
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise typer.BadParameter(f"{value!r} is not a day; write it as YYYY-MM-DD") from None
