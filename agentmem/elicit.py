"""Whether to ask before answering: when the answer hangs on something unknown that is worth one short question.

The task is that of PREFDISCO (arXiv 2510.00177): most requests need no question, and a needless one costs more goodwill
than a guess. So the judge has to be surer than not, and nothing is asked twice in a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from agentmem.models.judges import ELICITATION, Judge, joined, shipped

if TYPE_CHECKING:
    from agentmem.models.embed import Embedder

ASK = 0.6
"""Least probability that a careful person would ask first.

On held-out families of agentmem/train/data/elicit.jsonl (82 requests) it asks for .43 of those that need a question and
stays silent for .88 of the others, half of which differ from the former in one detail; of small talk, questions and
tasks of any kind (241 lines) it asks at 2.5 %. At .7 it is .26, .98 and 2.1 %.
"""

MOST = 8
"""Memories that are read with a request; as many as stood beside one in training."""


def worth_asking(
    request: str, known: Sequence[str], embedder: Embedder, *, replied: str = "", judge: Judge | None = None
) -> bool:
    """Whether one question should come before the answer.

    Args:
        request: what the user wants.
        known: the texts of what is remembered.
        embedder: of more than MOST texts, those nearest to the request are read: the judge would cut the rest, and ask
            for what it has not seen.
        replied: the assistant's last message; after a question of its own there is no second one.
        judge: (n, ELICITATION) probabilities; None takes the one that ships.

    Raises:
        ModelError: the judge failed.
    """
    if not request.strip() or replied.rstrip().endswith("?"):
        return False
    if len(known) > MOST:
        near_N = embedder.encode(known) @ embedder.encode([request])[0]
        nearest: list[int] = np.argsort(-near_N, kind="stable")[:MOST].tolist()
        known = [known[place] for place in nearest]
    judge = judge or shipped("elicitation")
    return bool(judge.probabilities([(request, joined(known))])[0, ELICITATION.index("ask")] >= ASK)
