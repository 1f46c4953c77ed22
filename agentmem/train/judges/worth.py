"""What the judges add on held-out families: `python -m agentmem.train.judges.worth NAME`, a minute each on one core.

Each part of agentmem that asks a judge is measured as it ships and without its judge, on records that no judge was
fitted to: `lines` (sentences), `updates` (what closes an old memory), `forgetting` (which memories a request means).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import date
from typing import Annotated
from unittest.mock import patch

import typer

from agentmem.memory import Evidence, Fact
from agentmem.models.embed import Embedder, Remembering, get_embedder
from agentmem.models.judges import shipped
from agentmem.policy import Observation, forgetting, offline
from agentmem.policy.lines import lines
from agentmem.relation import relate
from agentmem.session import make_session
from agentmem.train.judges.records import held_out, records
from agentmem.train.judges.relations import told

DAY = date(2026, 1, 1)


def of_lines(embedder: Embedder) -> str:
    """The hand-written single lines of the held-out scenarios, each said alone."""
    own = lines("test")
    policy = offline.OfflinePolicy(embedder)
    talks = [make_session([{"role": "user", "content": line.text}], date=DAY) for line in own]
    seen = [Observation(memories=(), session=talk, today=DAY) for talk in talks]
    kept = [bool(proposal.edits) for proposal in policy.propose(seen)]
    worth = [line.label != "none" for line in own]
    found = sum(k and w for k, w in zip(kept, worth, strict=True))
    return (f"{len(own)} lines: recall {found / sum(worth):.3f}, precision {found / sum(kept):.3f}, "
            f"false positives {(sum(kept) - found) / (len(own) - sum(worth)):.4f}")  # fmt: skip


def of_updates(embedder: Embedder) -> str:
    """What closes an old memory, and what comes near and leaves it true."""
    closed, closing, wronged, near = 0, 0, 0, 0
    for record in records("updates"):
        if held_out(record["family"]):
            old = _fact("f23456", record["old"])
            closes = [relate(_fact("f34567", told(one)), [old], embedder)[0] for one in record["closes"]]
            keeps = [relate(_fact("f34567", said), [old], embedder)[0] for said in record["keeps"]]
            closed, closing = closed + closes.count("succession"), closing + len(closes)
            wronged, near = wronged + keeps.count("succession"), near + len(keeps)
    return f"closes {closed} of {closing} updates, and {wronged} of {near} near ones"


def of_forgetting(embedder: Embedder) -> str:
    """Requests to forget: the memories found, and those that were meant."""
    own = [one for one in records("forget") if held_out(one["family"]) and one["heard"]]
    judge = shipped("forgetting")
    found = [set(forgetting.meant(one["request"], one["memory"], embedder, judge)) for one in own]
    wanted = [set(one["forgets"]) for one in own]
    pairs = list(zip(found, wanted, strict=True))
    exact = sum(mine == theirs for mine, theirs in pairs) / len(own)
    missed, wrong = sum(len(theirs - mine) for mine, theirs in pairs), sum(len(mine - theirs) for mine, theirs in pairs)
    return (f"{len(own)} requests, {sum(map(len, wanted))} memories: {exact:.2f} exactly right, {missed} missed, "
            f"{wrong} wrongly erased")  # fmt: skip


def _fact(id: str, text: str) -> Fact:
    return Fact(id=id, text=text, valid_at=DAY, evidence=(Evidence(quote=text, session=id, turn=0),))


PARTS: dict[str, tuple[Callable[[Embedder], str], Callable[[], AbstractContextManager[object]]]] = {
    "lines": (of_lines, lambda: patch.object(offline, "JUDGE", 0.0)),
    "updates": (of_updates, lambda: patch("agentmem.relation.CLOSES", 2.0)),
    "forgetting": (of_forgetting, lambda: patch.object(forgetting, "JUDGED", 0.0)),
}
"""By name: how it is measured, and how its judge is taken away."""


def main(name: Annotated[str, typer.Argument(help=", ".join(PARTS))]) -> None:
    """Measure one part as it ships, and without its judge."""
    if name not in PARTS:
        raise typer.BadParameter(f"{name!r} is none of {', '.join(PARTS)}", param_hint="NAME")
    measure, without = PARTS[name]
    embedder = Remembering(get_embedder())
    for label, taken in (("with the judge", nullcontext), ("without it", without)):
        with taken():
            print(f"{label}: {measure(embedder)}", flush=True)


if __name__ == "__main__":
    typer.run(main)
