"""dialogues: what edits a memory policy writes, beside those that a careful person would."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from agentmem.errors import OutputError
from agentmem.models.embed import Embedder, Remembering, get_embedder
from agentmem.policy import Edit, Observation, Proposal
from agentmem.policy.edits import format_edit
from agentmem.policy.resolve import to_ops
from agentmem.train.histories import read_examples
from agentmem.train.judges.records import DATA
from eval.harness import Benchmark, Run, timed
from eval.matching import LOOSE, matched
from eval.settings import Settings
from eval.values import Case, Outcome, Score, Unit, unscored

FILE = DATA / "dialogues"

SIGNS = {"~": "replace", "-": "close", "x": "forget"}
TYPES = ("add_fact", "add_preference", "add_preference_inferred", "add_instruction", *SIGNS.values())
"""Kinds of edits that have an F1 of their own; of preferences the stated and the inferred apart."""


class Dialogues(Benchmark):
    """A policy, and not a whole system: it is shown the memory before and a conversation, and its edits are read.

    A proposed edit is right when a wanted one has the same sign, kind (stated or inferred alike) and targets, a quote
    of a token F1 of .5, and, where it writes something, a text of a cosine of .7 under MiniLM; one to one. edit_f1,
    edit_precision and edit_recall are over all edits of all records; the F1 of one type over the edits of that type,
    of one language over its records. What is proposed where nothing is wanted counts against precision, and once more
    by itself: specificity is the share of the records without edits in which nothing is proposed, sensitivity the
    share of the others in which something is. op_f1 asks for less: a quote of .3, whatever the text.

    quote_faithfulness is the share of the proposed edits that would be carried out, since their quotes are the user's
    own words and their targets exist; parse_rate the share of answers all of whose lines can be read, where a model
    writes them. An answer none of which can be read leaves the others unscored. A case's seconds are the policy's.

    How far to trust the rule: on 200 pairs of the same sign, kind and targets it agrees with a reader in .620 (kappa
    .247), with a cosine of .6 in .690, of .8 in .530. It misses memories in other words, and takes an opposite or
    another value for the same; eval/README.md has the figures. So edit_f1 favours who words memories as the gold does:
    read it with op_f1.
    """

    name = "dialogues"
    about = "which edits a memory policy writes, beside those that a careful person would; our own test set"
    source = "Ships with agentmem (agentmem/train/data/dialogues, split test), Apache-2.0."
    metrics = ("edit_f1", "edit_precision", "edit_recall", "op_f1", "quote_faithfulness", "parse_rate")

    def load(self, settings: Settings) -> list[Unit]:
        """One unit, and one case, a record; grouped by scenario family. With `--data FILE` those of that file."""
        from agentmem.train.sft import observed  # brings torch, which a list of benchmarks can do without

        units = []
        for place, example in enumerate(
            read_examples(settings.data if settings.data.suffix == ".jsonl" else FILE).edits
        ):
            if example.split == "test":
                seen, gold = observed(example)
                stratum = ("en" if example.lang == "en" else "other") + (" edits" if gold else " nothing")
                case = Case(id=f"{place:04}", group=example.user, stratum=stratum, input=seen, gold=tuple(gold))
                units.append(Unit(id=case.id, cases=(case,)))
        return units

    def run(self, unit: Unit, run: Run) -> Iterator[Outcome]:
        """Show the policy one observation, and compare."""
        [case] = unit.cases
        memory = run.open()
        embedder = run.once("minilm", lambda: Remembering(get_embedder("minilm")))
        try:
            with timed() as passed:
                proposal = memory.propose(case.input)
        except OutputError as error:  # that is the policy's doing, no failure of the run
            scores = {**unscored(self.metrics, str(error)), "parse_rate": Score(value=0.0)}
            yield Outcome(case=case.id, group=case.group, scores=scores, detail={"answer": error.raw})
        else:
            language = case.stratum.split()[0]
            scores = scores_of(proposal, case.gold, case.input, language, embedder)
            detail = {
                "user": [one.content for one in case.input.session.messages if one.role == "user"],
                "proposed": [format_edit(edit) for edit in proposal.edits],
                "gold": [format_edit(edit) for edit in case.gold],
                "matched": matched(proposal.edits, case.gold, embedder),
                "problems": list(proposal.problems),
            }
            yield Outcome(case=case.id, group=case.group, scores=scores, detail=detail, seconds=round(passed[0], 4))
        memory.close()


def scores_of(
    proposal: Proposal, gold: Sequence[Edit], seen: Observation, language: str, embedder: Embedder
) -> dict[str, Score]:
    """All metrics of one record. Sums over sums: one without such edits weighs nothing, and is there to be paired."""
    proposed = proposal.edits
    pairs = matched(proposed, gold, embedder)
    right, wanted = len(pairs), len(gold)
    f1 = Score(value=2 * right, weight=len(proposed) + wanted)
    loose = len(matched(proposed, gold, embedder, LOOSE))
    _, refused = to_ops(proposed, seen, rng=random.Random(0))
    readable = Score(value=float(not proposal.problems)) if proposal.raw or proposal.problems else _NO_TEXT
    return {
        "edit_f1": f1,
        "edit_precision": Score(value=right, weight=len(proposed)),
        "edit_recall": Score(value=right, weight=wanted),
        "op_f1": Score(value=2 * loose, weight=len(proposed) + wanted),
        **{f"f1_{name}": _of_type(name, proposed, gold, pairs) for name in TYPES},
        f"f1_{language}": f1,
        **({"sensitivity": Score(value=float(bool(proposed)))} if gold else {}),
        **({} if gold else {"specificity": Score(value=float(not proposed))}),
        "quote_faithfulness": Score(value=len(proposed) - len(refused), weight=len(proposed)),
        "parse_rate": readable,
    }


_NO_TEXT = Score(value=None, reason="no model wrote the edits as text")


def _of_type(name: str, proposed: Sequence[Edit], gold: Sequence[Edit], pairs: Sequence[tuple[int, int]]) -> Score:
    """F1 of one type. A pair whose two edits differ in `?` counts half for each of the two types."""
    own, wanted = [type_of(edit) == name for edit in proposed], [type_of(edit) == name for edit in gold]
    return Score(value=sum(own[p] + wanted[g] for p, g in pairs), weight=sum(own) + sum(wanted))


def type_of(edit: Edit) -> str:
    """Which of TYPES an edit is of."""
    if edit.sign != "+":
        return SIGNS[edit.sign]
    return f"add_{edit.kind}" + ("_inferred" if edit.inferred and edit.kind == "preference" else "")
