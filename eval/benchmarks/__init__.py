"""The benchmarks, one file each."""

from __future__ import annotations

import importlib

from agentmem.errors import ConfigError
from eval.harness import Benchmark

_WHERE = {
    "personabench": "personabench:PersonaBench",
    "prefeval-retrieval": "prefeval_retrieval:PrefEvalRetrieval",
    "prefeval-implicit": "prefeval_implicit:PrefEvalImplicit",
    "prefeval-mcq": "prefeval_mcq:PrefEvalMCQ",
    "personamem": "personamem:PersonaMem",
    "stale": "stale:Stale",
    "nlsi": "nlsi:NLSI",
    "locomo": "locomo:LoCoMo",
    "longmemeval": "longmemeval:LongMemEval",
    "convomem": "convomem:ConvoMem",
    "forget": "forget:Forget",
    "router": "router:Router",
    "elicit": "elicit:Elicit",
    "dialogues": "dialogues:Dialogues",
    "tiny": "tiny:Tiny",
}
"""Module and class of each benchmark; imported when it is used."""

NAMES = tuple(_WHERE)


def get_benchmark(name: str) -> Benchmark:
    """The benchmark called `name`. Raises ConfigError."""
    if name not in _WHERE:
        raise ConfigError(f"benchmark {name!r}: choose one of {', '.join(NAMES)}")
    module, attribute = _WHERE[name].split(":")
    made: Benchmark = getattr(importlib.import_module(f"eval.benchmarks.{module}"), attribute)()
    return made
