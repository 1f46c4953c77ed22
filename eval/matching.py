"""Which proposed edits are those that were wanted: one to one, by what they do, what they rest on and what they say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from agentmem.models.embed import Embedder
from agentmem.policy.edits import Edit
from agentmem.train.measures import word_f1


class Rule(NamedTuple):
    """When two edits of the same sign, kind and targets are taken for the same."""

    quote: float
    """Token F1 of their two nearest quotes, at least."""
    cosine: float | None
    """Cosine of what a `+` or `~` writes, at least; None: whatever it writes."""


STRICT, LOOSE = Rule(0.5, 0.7), Rule(0.3, None)


def matched(
    proposed: Sequence[Edit], gold: Sequence[Edit], embedder: Embedder, rule: Rule = STRICT
) -> list[tuple[int, int]]:
    """Places of the edits that are the same: as many pairs as can be, each edit in one at most."""
    if not proposed or not gold:
        return []
    same_PG = agreement(proposed, gold, embedder, rule)
    rows, columns = linear_sum_assignment(same_PG, maximize=True)
    return [(int(p), int(g)) for p, g in zip(rows, columns, strict=True) if same_PG[p, g]]


def agreement(
    proposed: Sequence[Edit], gold: Sequence[Edit], embedder: Embedder, rule: Rule = STRICT
) -> NDArray[np.bool_]:
    """(proposed, gold) whether each pair is the same by the rule; `?` doesn't count."""
    same_PG = np.array([[_does(p) == _does(g) and quote_f1(p, g) >= rule.quote for g in gold] for p in proposed])
    if rule.cosine is None or not same_PG.any():
        return same_PG
    cosine_PG = embedder.encode([said(one) for one in proposed]) @ embedder.encode([said(one) for one in gold]).T
    writes_P1 = np.array([[one.sign in "+~"] for one in proposed])
    return same_PG & (~writes_P1 | (cosine_PG >= rule.cosine))


def _does(edit: Edit) -> tuple[str, str | None, frozenset[str]]:
    return edit.sign, edit.kind, frozenset(edit.aliases)


def said(edit: Edit) -> str:
    """What an edit writes, as the memory is shown."""
    return edit.text if edit.when in (None, "always") else f"{edit.when} => {edit.text}"


def quote_f1(a: Edit, b: Edit) -> float:
    """F1 of the bags of words of two quotes, the best over all pairs of them."""
    return max((word_f1(one, other) for one in a.quotes for other in b.quotes), default=0.0)
