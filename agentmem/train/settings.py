"""Settings of a training run as JSON, how two of them differ, and the versions they were used with."""

from __future__ import annotations

import dataclasses
import math
import platform
from collections.abc import Collection, Iterator, Mapping
from enum import Enum
from importlib.metadata import PackageNotFoundError, version
from typing import Any

PACKAGES = ("agentmem", "torch", "transformers", "peft")
"""Their versions may change what a run gives."""


def versions() -> dict[str, str]:
    """By package; of Python too."""
    return {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def plain(value: object) -> Any:
    """A setting as JSON can hold it, always the same way: mappings, lists, numbers, texts, None."""
    if isinstance(value, Enum):
        return plain(value.value)
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, set | frozenset):
        return sorted((plain(one) for one in value), key=str)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {one.name: plain(getattr(value, one.name)) for one in dataclasses.fields(value)}
    return str(value)


def flat(settings: Mapping[str, Any], outer: str = "") -> Iterator[tuple[str, Any]]:
    """Name and value of every setting; that of a nested one is "outer.inner"."""
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{outer}{name}.")
        else:
            yield f"{outer}{name}", value


def differences(before: Mapping[str, Any], now: Mapping[str, Any], may_change: Collection[str]) -> list[str]:
    """What differs between two plain settings, one text a setting, without those that may."""
    old, new = dict(flat(before)), dict(flat(now))
    names = [name for name in {**old, **new} if not _within(name, may_change)]
    return [
        f"{name} was {_shown(old, name)}, is {_shown(new, name)}"
        for name in names
        if name not in old or name not in new or old[name] != new[name]
    ]


def _within(name: str, outer: Collection[str]) -> bool:
    return any(name == one or name.startswith(f"{one}.") for one in outer)


def _shown(settings: Mapping[str, Any], name: str) -> str:
    return repr(settings[name]) if name in settings else "not set"
