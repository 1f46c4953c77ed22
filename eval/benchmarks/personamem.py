"""personamem: multiple-choice questions over histories of several sessions (PersonaMem v1 and v2)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from agentmem.route import count_tokens
from agentmem.session import Session
from eval.benchmarks.personamem_data import FOLDER, SOURCE, Asked, History, load_histories
from eval.harness import Benchmark, Run, chosen
from eval.mcq import Question, metric_names, outcomes, question, spread_of, with_suffix
from eval.settings import Settings
from eval.values import Case, Metric, Outcome, Score, Unit

REFERENCE = "full"

DEFAULT_LIMIT = 60
"""Questions without --limit, a fixed subset stratified by type: a local reader takes a while over a full context."""


class PersonaMem(Benchmark):
    """Questions of one history, each asked when exactly what it may see has been observed, in order, once.

    The reference is the full context: the last `full_context_tokens` of the visible history. cut_share is what part of
    the history that leaves out.
    """

    name = "personamem"
    about = "whether a reader chooses the reply that fits the user: without memory, with it, with the full context"
    source = SOURCE
    folder = FOLDER
    metrics = (*metric_names(REFERENCE), "cut_share")
    guarded = frozenset({"gain_share"})
    serial = True

    def load(self, settings: Settings) -> list[Unit]:
        """One unit a history; without a limit only DEFAULT_LIMIT of the questions."""
        units = [_unit(history, settings.seed) for history in load_histories(settings)]
        units = [unit for unit in units if unit.cases]
        if settings.limit is not None:
            return units
        fixed = settings.model_copy(update={"limit": DEFAULT_LIMIT, "seed": 0, "shuffle_gold": False})
        return chosen(units, fixed)

    def run(self, unit: Unit, run: Run) -> Iterator[Outcome]:
        """Observe session by session; ask the questions that may see so much, and no more."""
        memory = run.open()
        sessions: Sequence[Session] = unit.history
        observed = 0
        ordered = sorted(unit.cases, key=_visible)
        for visible, own in groupby(ordered, key=_visible):
            for session in sessions[observed:visible]:
                memory.observe(session)
            observed = visible
            full, cut = tail(sessions[:visible], run.settings.full_context_tokens)
            for outcome in outcomes(
                list(own), run, lambda one: memory.context(one.input.text, budget=run.settings.budget).text, REFERENCE,
                lambda one, full=full: full,
            ):  # fmt: skip
                yield _named(outcome, unit, visible, cut)
        memory.close()

    def derived(self, outcomes: Sequence[Outcome], settings: Settings) -> dict[str, Metric]:
        """The spread of a robustness run."""
        return spread_of(outcomes, settings)


class Placed(Question):
    """A question, and how much of its history it may see."""

    visible: int
    """Sessions, from the first."""


def _unit(history: History, seed: int) -> Unit:
    return Unit(
        id=history.id,
        cases=tuple(_case(asked, history.user, seed) for asked in history.questions),
        history=history.sessions,
    )


def _case(asked: Asked, user: str, seed: int) -> Case:
    shown, right = question(asked.id, asked.text, asked.options, asked.right, seed)
    placed = Placed(**shown.model_dump(), visible=asked.visible)
    return Case(id=asked.id, group=user, stratum=asked.type, input=placed, gold=right)


def _visible(case: Case) -> int:
    return int(case.input.visible)


def _named(outcome: Outcome, unit: Unit, visible: int, cut: float) -> Outcome:
    """The outcome with the cut, and every metric under the type of its question."""
    (case,) = [case for case in unit.cases if case.id == outcome.case]
    typed = with_suffix(outcome, case.stratum)
    return typed.model_copy(
        update={
            "scores": {**typed.scores, "cut_share": Score(value=cut)},
            "detail": {"type": case.stratum, "sessions": visible, **typed.detail},
        }
    )


def tail(sessions: Sequence[Session], tokens: int) -> tuple[str, float]:
    """The last `tokens` of what was said, "role: text" a line, oldest first, and which share of it is left out.

    The first message shown is cut at its beginning, to fill what is left. Tokens are estimated, as everywhere.
    """
    lines = [f"{message.role}: {message.content}" for session in sessions for message in session.messages]
    sizes = [count_tokens(line) for line in lines]
    kept: list[str] = []
    left = tokens
    for line, size in zip(reversed(lines), reversed(sizes), strict=True):
        if size > left:
            if part := line[len(line) - int(len(line) * left / size) :]:
                kept.append(part)
            left = 0
            break
        kept.append(line)
        left -= size
    total = sum(sizes)
    shown = min(total, tokens - left)
    text = "Earlier conversations:\n" + "\n".join(reversed(kept)) if kept else ""
    return text, 1 - shown / total if total else 0.0
