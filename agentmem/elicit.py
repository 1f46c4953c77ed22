"""Whether to ask before answering: when the answer hangs on something unknown that is worth one short question.

The task is that of PREFDISCO (arXiv 2510.00177): most requests need no question, and a needless one costs more goodwill
than a guess. So the judge has to be surer than not, and nothing is asked twice in a row.
"""

from __future__ import annotations

from collections.abc import Sequence

from agentmem.models.judges import ELICITATION, Judge, joined, shipped

ASK = 0.6
"""Least probability that a careful person would ask first.

On held-out families of agentmem/train/data/elicit.jsonl (82 requests) it asks for .43 of those that need a question and
stays silent for .88 of the others, half of which differ from the former in one detail; of small talk, questions and
tasks of any kind (241 lines) it asks at 2.5 %. At .7 it is .26, .98 and 2.1 %.
"""


def worth_asking(
    request: str, known: Sequence[str], *, replied: str = "", judge: Judge | None = None, at_least: float = ASK
) -> bool:
    """Whether one question should come before the answer.

    Args:
        request: what the user wants.
        known: what is remembered and bears on it: the texts of memories, most relevant first.
        replied: the assistant's last message; after a question of its own there is no second one.
        judge: (n, ELICITATION) probabilities; None takes the one that ships.
        at_least: probability to ask from.

    Raises:
        ModelError: the judge failed.
    """
    if not request.strip() or replied.rstrip().endswith("?"):
        return False
    judge = judge or shipped("elicitation")
    chance = judge.probabilities([(request, joined(known))])[0, ELICITATION.index("ask")]
    return float(chance) >= at_least
