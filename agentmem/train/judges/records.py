"""The hand-written records in agentmem/train/data, and how they are split."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

DATA = Path(__file__).parents[1] / "data"

HELD_OUT = 0.15
"""Share of the families that are held out."""


def records(name: str, data: Path = DATA) -> list[dict[str, Any]]:
    """The records of `name`.jsonl, or of the files in the folder `name`; what one holds is in data/README.md."""
    files = sorted((data / name).glob("*.jsonl")) or [data / f"{name}.jsonl"]
    return [json.loads(line) for file in files for line in file.read_text("utf-8").splitlines() if line.strip()]


def held_out(family: str) -> bool:
    """Whether a family is held out: by a hash of its name, so that new records move no old one."""
    return int(hashlib.sha256(family.encode()).hexdigest()[:8], 16) < HELD_OUT * 2**32


def digest(data: Path = DATA) -> str:
    """Sixteen hex digits that change with any record."""
    found = hashlib.sha256()
    for path in sorted(data.rglob("*.jsonl")):
        found.update(path.name.encode() + path.read_bytes())
    return found.hexdigest()[:16]
