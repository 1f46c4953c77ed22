"""The command line. Nothing heavy is imported before a command needs it: `agentmem --help` answers at once."""

from __future__ import annotations

from typing import Annotated

import typer

from agentmem.cli.care import config_app, doctor
from agentmem.cli.change import edit, forget, undo
from agentmem.cli.chat import chat
from agentmem.cli.common import command
from agentmem.cli.look import history, recall, show
from agentmem.cli.move import export, import_
from agentmem.cli.observe import observe
from agentmem.cli.train import train_app

app = typer.Typer(
    name="agentmem", no_args_is_help=True, add_completion=False, rich_markup_mode="rich",
    pretty_exceptions_enable=False,  # a bug shows Python's own traceback
    context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip


def _print_version(wanted: bool) -> None:
    if wanted:
        from agentmem import __version__

        print(f"agentmem {__version__}")
        raise typer.Exit


@app.callback()
def _agentmem(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """A memory of you for any chatbot, in Markdown that you can read and edit.

    Begin with [bold]agentmem chat[/bold], or with [bold]agentmem observe FILE[/bold] on conversations you have.
    """


for _name, _function in [
    ("chat", chat), ("observe", observe), ("recall", recall), ("show", show), ("edit", edit), ("forget", forget),
    ("history", history), ("undo", undo), ("export", export), ("import", import_), ("doctor", doctor),
]:  # fmt: skip
    app.command(_name)(command(_function))
app.add_typer(config_app, name="config")
app.add_typer(train_app, name="train")


def main() -> None:
    """Entry point of `agentmem`. Exit codes: 0 done, 1 an error in one line, 2 wrong usage, 130 Ctrl-C."""
    app()
