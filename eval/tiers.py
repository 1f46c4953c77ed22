"""Which local model follows a memory: eight small memories and a question each, with and without the memory.

    python -m eval.tiers [--models local:smollm2-135m …] [--max-tokens 110]

Prints every reply, so that a person can judge; the check of each case is coarse (a word that must or must not occur).
"""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Callable
from datetime import date
from typing import NamedTuple

from langchain_core.messages import HumanMessage

from agentmem.generate import memory_prompt, reply_prompt
from agentmem.memory import Fact, Memory, StandingInstruction
from agentmem.models.chat import get_chat_model

TIERS = ("local:smollm2-135m", "local:qwen2.5-coder-0.5b", "local:qwen2.5-coder-1.5b")


class Case(NamedTuple):
    """A memory, a question, and what a reply that follows the memory looks like."""

    about: tuple[str, ...]
    rules: tuple[str, ...]
    question: str
    follows: Callable[[str], bool]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", nargs="+", default=TIERS)
    parser.add_argument("--max-tokens", type=int, default=110)
    options = parser.parse_args()
    for name in options.models:
        model = get_chat_model(name, max_tokens=options.max_tokens)
        passed, seconds = [0, 0], 0.0
        for case in CASES:
            print(f"\n{name}: {case.question}  {' '.join(case.about)} Rules: {' '.join(case.rules) or '-'}")
            for shown in (False, True):
                started = time.perf_counter()
                reply = model.invoke(_prompt(case, shown)).text.strip()
                seconds += time.perf_counter() - started
                good = case.follows(reply)
                passed[shown] += good
                print(f"  {'with' if shown else 'without'} ({'ok' if good else 'check failed'}): {reply!r}")
        each = seconds / 2 / len(CASES)
        print(f"\n{name}: {passed[0]} of {len(CASES)} without, {passed[1]} with the memory; {each:.1f} s a reply")


def _prompt(case: Case, shown: bool) -> list:
    memories: list[Memory] = [Fact(id="f22222", text=text) for text in case.about]
    memories += [StandingInstruction(id="i22222", text=text) for text in case.rules]
    return reply_prompt([HumanMessage(case.question)], memory_prompt(memories if shown else [], today=date(2026, 6, 1)))


def _no_meat(reply: str) -> bool:
    meat = r"\b(chicken|beef|pork|steak|salmon|fish|ham|bacon|lamb|turkey|shrimp|meat)\b"
    return not re.search(meat, reply.lower()) and len(re.findall(r"[.!?](?:\s|$)", reply.strip())) <= 2


def _has(*patterns: str, without: str = "$^") -> Callable[[str], bool]:
    """Whether all patterns occur and `without` does not, whatever the case."""
    return lambda reply: all(re.search(p, reply, re.I) for p in patterns) and not re.search(without, reply, re.I)


_LYON = ("Is vegetarian.", "Lives in Lyon.", "Prefers an aisle seat.")
_EUROS = ("Answer in at most two sentences.", "Give prices in euros.")
CASES = (
    Case(_LYON, _EUROS, "Suggest a dinner for tonight.", _no_meat),
    Case(_LYON, _EUROS, "How much does a good laptop cost?", _has(r"€|euro|eur\b", without=r"\$")),
    Case(
        ("Works as a nurse.", "Likes short answers."),
        ("Call the user Captain.",),
        "What is the capital of Australia?",
        _has("captain", "canberra"),
    ),
    Case(
        ("Programs in Rust.", "Dislikes Python."),
        ("Write code without comments.",),
        "Show me how to read a text file line by line.",
        _has(r"fn main|std::|BufReader|```rust"),
    ),
    Case(
        ("Is allergic to peanuts.", "Loves Thai food.", "Cooks for two."),
        (),
        "Give me a short recipe for noodles.",
        _has(without=r"^(?!.*(no|without|avoid|allerg)).*peanut"),
    ),
    Case(
        ("Lives in Oslo.", "Bakes bread every Sunday."),
        ("Give temperatures in Celsius only.",),
        "How hot should my oven be for bread?",
        _has(r"celsius|°\s?c", without=r"fahrenheit|°\s?f"),
    ),
    Case(
        ("Lives in Munich.", "Is afraid of flying."),
        ("Use at most three bullet points.",),
        "How do I get to Rome in June?",
        _has("train", without=r"\b(fly|flight|airline|airport|plane)\b"),
    ),
    Case(
        ("Has a dog called Biscuit.", "Likes hiking."),
        ("Answer in French.",),
        "What should I do this weekend?",
        _has(r"\b(vous|votre|vos|le|les|une|des|avec|randonn)"),
    ),
)

if __name__ == "__main__":
    main()
