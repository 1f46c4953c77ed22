"""Prompts of the evaluations: Markdown templates, one a file, with {placeholders}."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from agentmem.errors import ConfigError

_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")


def render(name: str, **values: str) -> str:
    """The template `name`.md with its {placeholders} replaced; braces around anything else stay as they are.

    Raises:
        ConfigError: there is no such template, or the values and the placeholders are not the same.
    """
    template = _template(name)
    wanted = set(_PLACEHOLDER.findall(template))
    for missing in sorted(wanted - values.keys()):
        raise ConfigError(f"prompt {name}.md: no value for {{{missing}}}")
    for unused in sorted(values.keys() - wanted):
        raise ConfigError(f"prompt {name}.md: has no {{{unused}}}")
    return _PLACEHOLDER.sub(lambda match: values[match[1]], template)


@cache
def _template(name: str) -> str:
    path = Path(__file__).parent / f"{name}.md"
    if not path.is_file():
        raise ConfigError(f"prompt {name}.md: no such template")
    return path.read_text(encoding="utf-8").strip()
