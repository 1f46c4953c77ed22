"""agentmem without one of its mechanisms, to see what each is worth: the systems `without:NAME`."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest.mock import patch

from agentmem.errors import ConfigError
from eval.systems.base import UserMemory, Wrapped

if TYPE_CHECKING:
    from eval.systems import SystemSpec

_NEVER, _ALWAYS = 2.0, -1.0
"""As thresholds of a probability or a cosine."""


class Mechanism(NamedTuple):
    """One mechanism, how it is taken away, and the benchmarks that it is meant for."""

    about: str
    changes: dict[str, Any]
    """module:attribute -> what it is without the mechanism."""
    benchmarks: Sequence[str]


def _none(*args: object, **kwargs: object) -> None:
    return None


MECHANISMS = {
    "reranker": Mechanism("reading the best hits again", {}, ("personabench", "prefeval-retrieval", "locomo")),
    "judged-lines": Mechanism(
        "the judge that reads sentences with what came before, beside the linear classifier",
        {"agentmem.policy.offline:JUDGE": 0.0},
        ("prefeval-implicit", "tiny", "personabench"),
    ),
    "choices": Mechanism(
        "which option the user took, and why",
        {"agentmem.policy.offline:choice": _none},
        ("prefeval-implicit",),
    ),
    "taste": Mechanism(
        "what a remark on things offered says of the user",
        {"agentmem.policy.wording:remark": _none, "agentmem.policy.offline:taste": _none},
        ("prefeval-implicit",),
    ),
    "sight": Mechanism(
        "the judge and the slots that see an update where the rules see none",
        {"agentmem.relation:CLOSES": _NEVER},
        ("stale", "personabench", "tiny"),
    ),
    "succession": Mechanism(
        "closing what something new replaces, by rules or by sight",
        {"agentmem.reconcile:relate": lambda new, olds, *rest: ["unrelated"] * len(olds)},
        ("stale", "personabench"),
    ),
    "hops": Mechanism(
        "instructions that another one brings in",
        {"agentmem.applicable:BROUGHT_IN": _NEVER},
        ("nlsi",),
    ),
    "unconditional": Mechanism(
        "the judge that leaves out instructions without a condition that are about something else",
        {"agentmem.applicable:UNCONDITIONAL": _ALWAYS},
        ("nlsi",),
    ),
    "farther": Mechanism(
        "the nearest condition, which sets the bar for the others",
        {"agentmem.applicable:FARTHER": _NEVER},
        ("nlsi",),
    ),
    "judged-forgetting": Mechanism(
        "the judge that says which memories a request to forget means",
        {"agentmem.policy.forgetting:JUDGED": 0.0},
        ("forget",),
    ),
}
"""By the name that follows `without:`. What else ships is compared as systems of its own: the routes by `router`,
elicitation with one that never and one that always asks."""


class _Without(Wrapped):
    """agentmem's memory, with one mechanism taken away while it works."""

    def around(self, call: str) -> AbstractContextManager[object]:
        stack = ExitStack()
        for place, value in MECHANISMS[self.name.partition(":")[2]].changes.items():
            module, _, attribute = place.partition(":")
            stack.enter_context(patch.object(importlib.import_module(module), attribute, value))
        return stack


class AblatedSystem:
    """agentmem with the offline policy, without one mechanism."""

    def __init__(self, spec: SystemSpec) -> None:
        name = spec.label.partition(":")[2]
        if name not in MECHANISMS:
            raise ConfigError(f"system {spec.label!r}: without what? choose one of {', '.join(MECHANISMS)}")
        from eval.systems.agentmem import AgentmemSystem

        reranker = "none" if name == "reranker" else spec.reranker
        self._whole = AgentmemSystem(spec.model_copy(update={"label": "agentmem", "reranker": reranker}))
        self.name = spec.label

    @property
    def config(self) -> dict[str, object]:
        return {**self._whole.config, "without": self.name.partition(":")[2]}

    @property
    def usage(self) -> Counter[str]:
        return self._whole.usage

    def open(self, folder: Path) -> UserMemory:
        return _Without(self._whole.open(folder), self.name)
