"""What a run is asked to do besides its benchmark and its system."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, Field

from agentmem.config import DEFAULT_MODEL
from agentmem.memory import Value

Variation = Literal["none", "options", "wording", "format"]

VARIANTS: dict[Variation, tuple[str, ...]] = {
    "none": (),
    "options": ("order0", "order1", "order2", "order3"),
    "wording": ("wording0", "wording1", "wording2"),
    "format": ("format_list", "format_letters", "format_prose"),
}
"""Suffixes of accuracy_memory in a robustness run; the first one is the usual way of asking."""


class Settings(Value):
    """Options of a run. All of them are written into its report, since the numbers depend on them."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    data: Path = Path("data")
    """Folder of the benchmark's data: ours (one folder a benchmark) or the upstream repository's."""
    seed: int = 0
    """Chooses the subset, shuffles options, seeds the bootstrap."""
    limit: int | None = Field(default=None, ge=1)
    """Cases at most, a seeded subset that keeps the proportions of the strata; None: all."""
    groups: int | None = Field(default=None, ge=1)
    """Groups (persons, conversations, chains) at most, a seeded choice: what is observed is what costs; None: all."""
    shuffle_gold: bool = False
    """A control: every case gets the gold of another one, so that scores must fall to chance."""
    reader: str = DEFAULT_MODEL
    """Model that answers the questions of benchmarks that ask any."""
    generate: bool = False
    """Also has the reader write answers, where a benchmark scores any: nlsi api_em, locomo f1 and abstention."""
    budget: int = Field(default=2000, ge=1)
    """Tokens of memory that a metric or an answer may look at."""
    fillers: int = Field(default=300, ge=0)
    """prefeval-mcq: filler turns beside the preference dialogue."""
    full_context_tokens: int = Field(default=2048, ge=1)
    """personamem: where the full context is cut, counted from its end."""
    vary: Variation = "none"
    """Robustness: each question is asked under several orders of its options, wordings or formats of the prompt."""
    exact_runs: int = Field(default=0, ge=0)
    """prefeval-retrieval: dialogues a form that are also run exactly, to verify the union of memories."""
