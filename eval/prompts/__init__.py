"""Prompts of the evaluations: Markdown templates, one a file, with {placeholders}."""

from __future__ import annotations

from pathlib import Path

from agentmem.prompts import render_from


def render(name: str, /, **values: str) -> str:
    """The template `name`.md of this package, filled in; see `agentmem.prompts.render_from`."""
    return render_from(Path(__file__).parent, name, **values)
