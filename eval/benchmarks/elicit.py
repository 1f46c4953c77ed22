"""elicit: does a system ask when the answer hangs on something unknown, and answer at once when it does not."""

from __future__ import annotations

from collections.abc import Iterator

from agentmem.train.judges.records import held_out, records
from eval.harness import Benchmark, Run, scored
from eval.settings import Settings
from eval.values import Case, Outcome, Score, Unit


class Elicit(Benchmark):
    """asks: share asked among the requests that need a question; silent: share answered at once among the others.

    accuracy is over both, which are about as many: whoever always or never asks has about .5. The requests are
    agentmem's own (agentmem/train/data/elicit.jsonl), of scenario families that no training saw. Half of them come in
    pairs that differ in one detail of the request or in one memory, so that topic, length and haste tell nothing.
    """

    name = "elicit"
    about = "whether a short question is asked first when the answer hangs on something unknown, and only then"
    source = "Ships with agentmem (agentmem/train/data/elicit.jsonl, held-out families), Apache-2.0."
    metrics = ()  # a case has accuracy, and one of the two others

    def load(self, settings: Settings) -> list[Unit]:
        """One unit, and one case, a request; grouped by scenario family."""
        return [
            Unit(id=case.id, cases=(case,))
            for place, row in enumerate(records("elicit"))
            if held_out(row["family"])
            for case in [
                Case(id=f"{place:04}", group=row["family"], input=(row["memory"], row["request"]), gold=row["ask"])
            ]
        ]

    def run(self, unit: Unit, run: Run) -> Iterator[Outcome]:
        """Nothing is observed: what is known comes with the request."""
        memory = run.open()
        for case in unit.cases:
            known, request = case.input
            of_case = "asks" if case.gold else "silent"
            detail = {"known": known, "request": request, "gold": case.gold}

            def decide(case: Case = case, of_case: str = of_case) -> dict[str, Score]:
                right = Score(value=float(memory.asks(case.input[0], case.input[1]) == case.gold))
                return {"accuracy": right, of_case: right}

            scores = scored(["accuracy", of_case], decide)
            yield Outcome(case=case.id, group=case.group, scores=scores, detail=detail)
        memory.close()
