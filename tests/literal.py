"""A memory policy for tests: it takes a few fixed sentences literally, so that a test can say what is remembered."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from agentmem.policy import Observation, Proposal
from agentmem.policy.edits import parse_edits
from agentmem.policy.resolve import aliases_of

_KINDS = {"I like": "preference", "I live in": "fact", "Always": "instruction"}
_SENTENCE = re.compile(r"(I like|I live in|Always|Please forget) ([^.]+)\.")


class LiteralPolicy:
    """ "I like X." is a preference, "I live in X." a fact, "Always X." an instruction, "Please forget X." forgets."""

    name = "literal"

    def propose(self, observations: Sequence[Observation], /) -> list[Proposal]:
        return [self._one(observation) for observation in observations]

    def _one(self, observation: Observation) -> Proposal:
        known = {memory.id: memory.text for memory in observation.memories}
        lines = []
        for message in observation.session.messages[observation.start :]:
            for said in _SENTENCE.finditer(message.content) if message.role == "user" else ():
                quote = json.dumps(said[0], ensure_ascii=False)
                if said[1] == "Please forget":
                    lines += [f"x {alias} | {quote}" for alias, id in aliases_of(observation).items()
                              if said[2] in known[id]]  # fmt: skip
                else:
                    lines.append(f"+ {_KINDS[said[1]]}: {said[0]} | {quote}")
        raw = "\n".join(lines) or "="
        parsed = parse_edits(raw)
        return Proposal(edits=parsed.edits, raw=raw, problems=parsed.problems)
