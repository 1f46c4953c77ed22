"""What the judge of standing instructions is fitted to: requests and instructions, and which bear on which.

Two sources: whole profiles written by hand (applicable.jsonl), and combinations of hand-written phrases
(domains.jsonl). The combinations hold each thing that decides apart from the rest: the same instruction and request
once with the attribute fixed by the request and once without, the same condition with its value and with another.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from agentmem.memory import StandingInstruction, full_text
from agentmem.models.judges import APPLICABILITY
from agentmem.policy.wording import when_and_text
from agentmem.train.judges.pairs import Example
from agentmem.train.judges.records import held_out, records

Label = Literal["irrelevant", "applies", "overridden"]

AS_WRITTEN = 0.25
"""Share of the instructions shown in their author's words, not as the memory holds them."""

IRRELEVANT = 0.45
"""Share kept of the pairs of a whole profile that have nothing to do with each other; they are four in five."""

ROUNDS = 16
"""Profiles made of each domain."""

_IF = ("When {}, {}", "If {}, {}", "Whenever {}, {}", "Every time {}: {}", "if {} then {}", "When {} {}")
_AFTER = ("{1} when {0}", "{1} if {0}", "{1}, whenever {0}", "{1}, but only if {0}")
_TOPIC = (
    "For {}: {}",
    "When it comes to {}, {}",
    "If I ask for {}, {}",
    "{}: {}",
    "With {}, {}",
    "If I'm looking for {}, {}",
)
_NAMED = (
    "my preferred {name} is {value}",
    "the {name} should be {value}",
    "{name}: {value}",
    "I want {value} as {name}",
    "look for {name} {value}",
)
_NAMED_IS = ("the {name} is {value}", "{name} is {value}", "it's {value} for {name}", "I said {value} for the {name}")
_BRINGS = (
    "also look at {}",
    "check {} as well",
    "then also find me {}",
    "sort out {} too",
    "add {}",
    "remind me of {}",
)


class Instruction(NamedTuple):
    """One standing instruction of a made profile."""

    text: str
    slot: str = ""
    """What it decides; empty where no request can override it."""


def split(rng: random.Random) -> tuple[list[Example], dict[str, list[Example]]]:
    """Examples for training, and those of the held-out families by source."""
    profiles = [example for record in records("applicable") for example in of_profile(record, rng)]
    domains = records("domains")
    combined = [example for domain in domains for example in of_domain(domain, domains, rng)]
    train = [one for one in profiles if not held_out(one.group) and (one.label or rng.random() < IRRELEVANT)]
    train += [one for one in combined if not held_out(one.group)]
    return train, {
        "profiles": [one for one in profiles if held_out(one.group)],
        "combinations": [one for one in combined if held_out(one.group)],
    }


def as_remembered(said: str) -> str:
    """An instruction as the memory holds it: condition and content."""
    when, text = when_and_text(said)
    return full_text(StandingInstruction(id="i22222", when=when, text=text))


# -- whole profiles ----------------------------------------------------------------------------------------------------


def of_profile(record: dict[str, Any], rng: random.Random) -> Iterator[Example]:
    """Every request with every instruction; what applies only by another one is paired with that one instead."""
    shown = {id: _shown(said, rng) for id, said in record["instructions"].items()}
    seen: set[tuple[str, str]] = set()
    for request in record["requests"]:
        via: Mapping[str, str] = request.get("via", {})
        for id, text in shown.items():
            if id not in via:
                label = "applies" if id in request["applies"] else "overridden"
                yield _example(
                    request["text"], text, label if id in _bears(request) else "irrelevant", record["family"]
                )
        hops = [(first, id, "applies") for id, first in via.items()]
        hops += [(first, id, "irrelevant") for first in set(via.values()) for id in shown if id not in _bears(request)]
        for first, id, label in hops:
            if (first, id) not in seen and first != id:
                seen.add((first, id))
                yield _example(shown[first], shown[id], label, record["family"])


def _bears(request: dict[str, Any]) -> set[str]:
    return {*request["applies"], *request["overridden"]}


# -- combinations ------------------------------------------------------------------------------------------------------


def of_domain(domain: dict[str, Any], domains: Sequence[dict[str, Any]], rng: random.Random) -> Iterator[Example]:
    """Profiles around one domain, a request to each with some slots fixed, and the pairs that they decide."""
    others = [other for other in domains if other is not domain]
    for _ in range(ROUNDS):
        first, second, third = slots = rng.sample(sorted(domain["slots"]), 3)
        values = {slot: _value(domain, slot, rng) for slot in slots}
        fixed = set(rng.sample(slots, rng.choice((0, 1, 1, 2, 3))))
        request = _request(domain, {slot: _another(domain, slot, values[slot], rng) for slot in fixed}, rng)
        named = _request(domain, {first: values[first]}, rng)
        plain = [_plain(domain, slot, values[slot], rng) for slot in slots]
        chained = _chained(domain, first, values[first], second, values[second], rng)
        elsewhere = _chained(domain, first, _another(domain, first, values[first], rng), third, values[third], rng)
        other, foreign = rng.sample(others, 2)
        brings = _brings(domain, other, rng)
        brought, away = (_plain(one, *_slot_and_value(one, rng), rng) for one in (other, foreign))
        always = Instruction(rng.choice(domain["everywhere"]))
        pairs = [(request, one, "overridden" if one.slot in fixed else "applies") for one in plain]
        pairs += [(request, chained, "overridden" if second in fixed else "irrelevant"), (named, chained, "applies"),
                  (named, elsewhere, "irrelevant"), (request, rng.choice((away, brought)), "irrelevant"),
                  (request, *rng.choice(((brings, "applies"), (always, "applies"))))]  # fmt: skip
        hops = [(plain[0], chained, "applies"), (brings, brought, "applies")]
        hops += rng.sample([(plain[0], elsewhere, "irrelevant"), (brings, away, "irrelevant"),
                            (plain[1], brought, "irrelevant"), (plain[2], chained, "irrelevant")], 2)  # fmt: skip
        pairs += [(_shown(before.text, rng), after, label) for before, after, label in hops]
        for text, one, label in pairs:
            yield _example(text, _shown(one.text, rng), label, domain["domain"])


def _plain(domain: dict[str, Any], slot: str, value: str, rng: random.Random) -> Instruction:
    text = _conditioned(domain, _wanted(domain, slot, value, rng), rng)
    return Instruction(text, slot)


def _chained(
    domain: dict[str, Any], first: str, given: str, second: str, value: str, rng: random.Random
) -> Instruction:
    own = domain["slots"][first]
    if rng.random() < 0.5:
        condition = rng.choice(own["is"]).format(given)
    else:
        condition = rng.choice(_NAMED_IS).format(name=rng.choice(own["name"]), value=given)
    wanted = _wanted(domain, second, value, rng)
    text = (
        rng.choice(_IF).format(condition, wanted)
        if rng.random() < 0.75
        else rng.choice(_AFTER).format(condition, wanted)
    )
    return Instruction(text, second)


def _brings(domain: dict[str, Any], other: dict[str, Any], rng: random.Random) -> Instruction:
    wanted = rng.choice(_BRINGS).format(rng.choice(other["topic"]))
    return Instruction(_conditioned(domain, wanted, rng))


def _conditioned(domain: dict[str, Any], wanted: str, rng: random.Random) -> str:
    pick = rng.random()
    if pick < 0.3:
        return rng.choice(_TOPIC).format(rng.choice(domain["topic"]), wanted)
    forms = _IF if pick < 0.75 else _AFTER
    return rng.choice(forms).format(rng.choice(domain["conditions"]), wanted)


def _wanted(domain: dict[str, Any], slot: str, value: str, rng: random.Random) -> str:
    own = domain["slots"][slot]
    if rng.random() < 0.35:
        return rng.choice(_NAMED).format(name=rng.choice(own["name"]), value=value)
    return rng.choice(own["prefer"]).format(value)


def _request(domain: dict[str, Any], fixed: Mapping[str, str], rng: random.Random) -> str:
    said = [rng.choice(domain["slots"][slot]["state"]).format(value) for slot, value in fixed.items()]
    rng.shuffle(said)
    ask = rng.choice(domain["asks"])
    if said and rng.random() < 0.2:
        return " ".join([*said[:1], ask, *said[1:]])
    return rng.choice((" ", " ", "\n")).join([ask, *said])


def _value(domain: dict[str, Any], slot: str, rng: random.Random) -> str:
    chosen = rng.choice(domain["slots"][slot]["values"])
    return chosen if isinstance(chosen, str) else rng.choice(chosen)


def _another(domain: dict[str, Any], slot: str, value: str, rng: random.Random) -> str:
    groups = [[one] if isinstance(one, str) else one for one in domain["slots"][slot]["values"]]
    return rng.choice(rng.choice([group for group in groups if value not in group]))


def _slot_and_value(domain: dict[str, Any], rng: random.Random) -> tuple[str, str]:
    slot = rng.choice(sorted(domain["slots"]))
    return slot, _value(domain, slot, rng)


def _shown(said: str, rng: random.Random) -> str:
    said = said.strip()
    said = said[:1].upper() + said[1:]
    return said if rng.random() < AS_WRITTEN else as_remembered(said)


def _example(first: str, second: str, label: str, family: str) -> Example:
    return Example((first, second), APPLICABILITY.index(label), family)
