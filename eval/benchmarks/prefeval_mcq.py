"""prefeval-mcq: does a reader choose the reply that heeds a preference, told nothing, the memory, or the preference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from agentmem.config import Config, PresentationName
from agentmem.generate import PRESENTATIONS, memory_prompt
from agentmem.memory import Preference
from agentmem.session import Session
from eval.benchmarks.prefeval import FOLDER, FORMS, SOURCE, Pair, filler_session, load_fillers, load_pairs
from eval.errors import UnsupportedError
from eval.harness import Benchmark, Run
from eval.mcq import metric_names, outcomes, question, spread_of, with_suffix
from eval.settings import Settings
from eval.systems import Guarded, UserMemory
from eval.systems.agentmem import DAY
from eval.values import Case, Metric, Outcome, Unit

REFERENCE = "gold"


class PrefEvalMCQ(Benchmark):
    """The classification task of PrefEval, letters replaced by the likelihood of the options where the reader is local.

    A case is a pair in one form (explicit, choice, persona), so bare names pool the forms. The memory is that of the
    preference dialogue, observed from empty, and of the filler turns, observed once for all cases and then taken over
    (a system that cannot do so observes them after the dialogue). With gold, the preference is the whole memory, shown
    as agentmem shows a memory, so that only the content differs.
    """

    name = "prefeval-mcq"
    about = "whether a reader chooses the reply that heeds a preference: without memory, with it, with the preference"
    source = SOURCE
    folder = FOLDER
    metrics = metric_names(REFERENCE)
    guarded = frozenset({"gain_share"})
    serial = True

    def load(self, settings: Settings) -> list[Unit]:
        """A unit, and a case, for each form of each pair; the forms of a pair follow each other."""
        filler_session(load_fillers(settings), settings.fillers)  # said now if there are too few
        return [_unit(pair, form, settings.seed) for pair in load_pairs(settings) for form in FORMS]

    def run(self, unit: Unit, run: Run) -> Iterator[Outcome]:
        """Observe the dialogue, take over the fillers, ask."""
        (case,) = unit.cases
        dialogue, pair = unit.history
        memory = run.open()
        memory.observe(dialogue)
        add_fillers(memory, run)
        told = gold_context(pair, run)
        for outcome in outcomes(
            [case], run, lambda one: memory.context(one.input.text, budget=run.settings.budget).text, REFERENCE,
            lambda one: told,
        ):  # fmt: skip
            yield with_suffix(outcome, case.stratum)
        memory.close()

    def derived(self, outcomes: Sequence[Outcome], settings: Settings) -> dict[str, Metric]:
        """The spread of a robustness run."""
        return spread_of(outcomes, settings)


def _unit(pair: Pair, form: str, seed: int) -> Unit:
    asked, right = question(pair.id, pair.question, pair.options, 0, seed)
    case = Case(id=f"{pair.id}/{form}", group=pair.id, stratum=form, input=asked, gold=right)
    return Unit(id=case.id, cases=(case,), history=(pair.dialogues[form], pair))  # pyright: ignore[reportArgumentType]


def add_fillers(memory: UserMemory, run: Run) -> None:
    """Have the memory know the run's filler turns too, as if it had observed them after all else."""
    if not run.settings.fillers:
        return
    session: Session = run.once("mcq fillers", lambda: filler_session(load_fillers(run.settings), run.settings.fillers))
    try:
        memory.absorb(run.once("mcq filler memory", lambda: _filler_memory(run, session)))
    except UnsupportedError:
        memory.observe(session)


def _filler_memory(run: Run, session: Session) -> UserMemory:
    memory = Guarded(run.system.open(run.shared_folder / "mcq-fillers"), run.system.name)
    memory.observe(session)
    return memory


def gold_context(pair: Pair, run: Run) -> str:
    """What a reader is told when the preference is all that is remembered."""
    shown: dict[str, PresentationName] = {str(known): known for known in PRESENTATIONS}
    how = shown.get(str(run.system.config.get("presentation")), Config().presentation)
    gold = Preference(id="p22222", text=pair.preference)
    return memory_prompt([gold], today=DAY, presentation=how)
