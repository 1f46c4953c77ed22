"""Prompts: Markdown templates, one a file, with {placeholders}."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from agentmem.errors import ConfigError

_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")


def render(name: str, /, **values: str) -> str:
    """The template `name`.md of this package, filled in; see `render_from`."""
    return render_from(Path(__file__).parent, name, **values)


def render_from(folder: Path, name: str, /, **values: str) -> str:
    """The template `name`.md of a folder with its {placeholders} replaced; other braces stay as they are.

    Raises:
        ConfigError: there is no such template, or the values and the placeholders are not the same.
    """
    template = _template(folder, name)
    wanted = set(_PLACEHOLDER.findall(template))
    for missing in sorted(wanted - values.keys()):
        raise ConfigError(f"prompt {name}.md: no value for {{{missing}}}")
    for unused in sorted(values.keys() - wanted):
        raise ConfigError(f"prompt {name}.md: has no {{{unused}}}")
    return _PLACEHOLDER.sub(lambda match: values[match[1]], template)


@cache
def _template(folder: Path, name: str) -> str:
    path = folder / f"{name}.md"
    if not path.is_file():
        raise ConfigError(f"prompt {name}.md: no such template")
    return path.read_text(encoding="utf-8").strip()
