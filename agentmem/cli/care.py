"""Commands that look after the files and the settings: doctor, config."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import Annotated

import typer

from agentmem.cli.common import Common, command, counted, emit, flag, known_store, open_agent, say
from agentmem.errors import StoreError


def doctor(
    common: Common,
    *,
    repair: Annotated[bool, flag("--repair", help="Build the search index anew first.")] = False,
    verify_forgotten: Annotated[
        bool, flag("--verify-forgotten", help="Check that what was forgotten is nowhere.")
    ] = False,
) -> None:
    """Check the files and the search index of a user.

    The exit code is 1 when something is wrong. --verify-forgotten looks at all users, or at --user alone. Words to
    look for, one a line, may come on standard input: echo "my diagnosis" | agentmem doctor --verify-forgotten
    """
    if verify_forgotten:
        users, problems = _verify_forgotten(common)
        fine = f"Nothing that was forgotten is left ({counted(len(users), 'user')} checked)."
    else:
        known_store(common)
        with open_agent(common) as agent:
            problems = agent.doctor(repair=repair)
        fine = f"All is well with the memory of {common.config.user}."
    if common.json:
        emit({"problems": problems})
    else:
        for problem in problems:
            say(problem)
        if not problems:
            say(fine)
    if problems:
        fix = "" if repair or verify_forgotten else "; `agentmem doctor --repair` mends what concerns the index"
        raise StoreError(f"{counted(len(problems), 'problem')}{fix}")


def _verify_forgotten(common: Common) -> tuple[list[str], list[str]]:
    from agentmem.store import MemoryStore, users

    root = common.config.root
    chosen = [common.user] if common.user else list(users(root))
    content = [line for line in (line.strip() for line in _piped()) if line]
    problems = []
    for user in chosen:
        problems += [f"{user}: {problem}" for problem in MemoryStore(root, user).verify_forgotten(content)]
    return chosen, problems


def _piped() -> list[str]:
    """Lines of a pipe or a file on standard input; none from a terminal or where there is no input."""
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (OSError, ValueError):  # not a real file, as in a test
        return sys.stdin.read().splitlines()
    return sys.stdin.read().splitlines() if stat.S_ISFIFO(mode) or stat.S_ISREG(mode) else []


config_app = typer.Typer(invoke_without_command=True)


def show_config(common: Common, *, ctx: typer.Context) -> None:
    """Show the settings and where each comes from, or set one.

    Built-in values give way to agentmem.toml (in this folder, else in your configuration folder), to environment
    variables such as AGENTMEM_MODEL, and to options.
    """
    if ctx.invoked_subcommand is not None:
        return
    from agentmem.config import Config, check, find_file, read_settings

    settings = read_settings(**common.overrides())
    config = check(settings)
    sources = {key: settings[key].source if key in settings else "built in" for key in Config.model_fields}
    if common.json:
        values = config.model_dump(mode="json")
        emit({"settings": {key: {"value": values[key], "source": sources[key]} for key in values}})
        return
    for key, field in Config.model_fields.items():
        value = getattr(config, key)
        say((key, "bold"), f" = {'unset' if value is None else value}", (f"  ({sources[key]})", "dim"))
        say((f"    {field.description}", "dim"))
    say((f"File: {find_file() or 'none yet; `agentmem config set KEY VALUE` writes agentmem.toml here'}", "dim"))


def set_config(
    common: Common,
    key: Annotated[str, typer.Argument(metavar="KEY", help="Name of the setting.", show_default=False)],
    value: Annotated[str, typer.Argument(metavar="VALUE", help="Its new value.", show_default=False)],
    *,
    for_all: Annotated[bool, flag("--global", help="In your configuration folder, for all folders.")] = False,
) -> None:
    """Write one setting into agentmem.toml; comments and layout stay."""
    from agentmem.config import FILE_NAME, find_file, set_value, user_file

    path = user_file() if for_all else find_file() or Path(FILE_NAME)
    config = set_value(key, value, path)
    if common.json:
        emit({"file": path, key: config.model_dump(mode="json")[key]})
    else:
        say(f"{key} = {getattr(config, key)} in {path}")


config_app.callback()(command(show_config))
config_app.command("set")(command(set_config))
