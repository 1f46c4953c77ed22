"""HeardPolicy: what the user plainly asks to forget is forgotten, whatever another policy makes of it."""

from __future__ import annotations

from collections.abc import Sequence

from agentmem.models.embed import Embedder
from agentmem.models.judges import Judge
from agentmem.policy.asked import asks_plainly
from agentmem.policy.base import MemoryPolicy, Observation, Proposal
from agentmem.policy.edits import Edit, format_edits
from agentmem.policy.forgetting import forget_edits, meant
from agentmem.policy.marks import sentences_of
from agentmem.policy.resolve import texts_of


class HeardPolicy:
    """A policy, and beside it the rules for requests that are made in so many words ("forget what I said about …").

    A small chat model that is prompted seldom writes `x` (of 6 requests of the benchmark forget, Qwen2.5-Coder-1.5B
    none). The offline and the trained policy hear more requests than these rules, with readers of their own.

    Args:
        policy: proposes the edits.
        embedder: finds, with the judge, which memories are meant.
        judge: of requests to forget.
    """

    def __init__(self, policy: MemoryPolicy, embedder: Embedder, judge: Judge) -> None:
        self._policy, self._embedder, self._judge = policy, embedder, judge

    @property
    def name(self) -> str:
        """Of the policy that it wraps, for the journal."""
        return self._policy.name

    def propose(self, observations: Sequence[Observation], /) -> list[Proposal]:
        """The policy's proposals, with `x` for each request of which it makes none. Raises what the policy raises."""
        proposals = self._policy.propose(observations)
        return [self._with_requests(seen, own) for seen, own in zip(observations, proposals, strict=True)]

    def _with_requests(self, seen: Observation, proposal: Proposal) -> Proposal:
        heard = [quote for edit in proposal.edits if edit.sign == "x" for quote in edit.quotes]
        asked = [one.text for one in sentences_of(seen) if asks_plainly(one.text)]
        missing = [text for text in asked if not any(quote in text or text in quote for quote in heard)]
        added: list[Edit] = []
        for request in missing:
            added += forget_edits(request, meant(request, texts_of(seen), self._embedder, self._judge))
        if not added:
            return proposal
        raw = "\n".join(part for part in (proposal.raw.strip(), format_edits(added)) if part)
        return proposal.model_copy(update={"edits": (*proposal.edits, *added), "raw": raw})
