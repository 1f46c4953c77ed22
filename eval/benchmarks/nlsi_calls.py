"""How NLSI scores: sets of instructions, and API calls as sets of domain-slot-value strings.

After nlsi/evaluation/eval.py and experiments/scripts/analyze_evals.py of github.com/nikitacs16/nlsi (written anew).
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Sequence
from typing import NamedTuple

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_CALL = re.compile(r"Get(\w+)\((.+)\)")
_SLOT = re.compile(r'(\w+)=(?:"([^"]+)"|(True)\b)')


class SetScores(NamedTuple):
    """How well a predicted list stands for a set; each from 0 to 1."""

    em: float
    f1: float
    p: float
    r: float


def plain(text: str) -> str:
    """Lower case, without punctuation: how the authors compare strings."""
    return text.lower().translate(_PUNCTUATION)


def set_scores(predicted: Sequence[str], gold: Sequence[str]) -> SetScores:
    """Exact match of the sets, F1, precision and recall of one example.

    As officially: hits are counted as a set and divided by the length of the lists; without a hit precision and
    recall are 0, also where both lists are empty, while EM and F1 are 1 there.
    """
    found, wanted = [plain(one) for one in predicted], [plain(one) for one in gold]
    hits = len(set(found) & set(wanted))
    em = float(set(found) == set(wanted))
    if not hits:
        return SetScores(em=em, f1=float(not found and not wanted), p=0.0, r=0.0)
    p, r = hits / len(found), hits / len(wanted)
    return SetScores(em=em, f1=2 * p * r / (p + r), p=p, r=r)


class Call(NamedTuple):
    """One API call."""

    domain: str
    slots: dict[str, str]


def read_calls(lines: Iterable[str]) -> list[Call]:
    """The calls among these lines: those that begin with Get. One that cannot be read has no domain and no slots."""
    return [_read_call(line.strip()) for line in lines if line.strip().startswith("Get")]


def _read_call(line: str) -> Call:
    match = _CALL.search(line)
    slots = {name: value or flag for name, value, flag in _SLOT.findall(line)}
    return Call(domain=match[1] if match else "", slots=slots)


def call_scores(predicted: Sequence[Call], gold: Sequence[Call]) -> SetScores:
    """Scores of the calls of one example; EM also needs as many calls as the gold ones."""
    fixed = [_fixed(call, gold) for call in predicted]
    scores = set_scores(_strings(fixed), _strings(gold))
    return scores if len(predicted) == len(gold) else scores._replace(em=0.0)


def _strings(calls: Iterable[Call]) -> list[str]:
    return [f"{call.domain}_{name}={value}" for call in calls for name, value in call.slots.items()]


def _fixed(call: Call, gold: Sequence[Call]) -> Call:
    """The call with the authors' corrections, which look at the gold calls of the same domain.

    - "A vs B" counts as the gold value of that form, whatever its teams;
    - a time or date is the gold one when it lacks one word of it, or is a part of it;
    - event_type and category stand for each other, as the gold call has it.
    """
    own = [pair for one in gold if one.domain == call.domain for pair in one.slots.items()]
    if not own:
        return call
    wanted = dict(reversed(own))  # the first value of each slot counts
    versus = [value for one in gold for value in one.slots.values() if "versus" in value or "vs" in value][-1:]
    slots = {}
    for name, value in call.slots.items():
        if versus and ("versus" in value.lower() or "vs" in value.lower()):
            value = versus[0]
        elif ("time" in name or "date" in name) and name in wanted:
            value = _fixed_time(value, wanted[name].lower())
        slots[name] = value
    return Call(call.domain, _with_kind(slots, wanted))


def _fixed_time(value: str, gold: str) -> str:
    said = value.lower().split()
    if len(said) > 1 and (len(set(gold.split()) - set(said)) == 1 or value.lower() in gold):
        return gold
    return value


def _with_kind(slots: dict[str, str], wanted: dict[str, str]) -> dict[str, str]:
    """The slots with event_type renamed to category, or the other way round, where the gold calls have the other."""
    if "subcategory" in wanted:
        return slots
    renamed = dict(slots)
    for name, other in (("event_type", "category"), ("category", "event_type")):
        if name in slots and other in wanted:
            renamed[other] = renamed.pop(name)
    return renamed
