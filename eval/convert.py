"""Training data out of benchmarks: what their loaders give, as histories with probes (docs/training-data.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from pydantic import ValidationError

from agentmem.errors import ConfigError
from agentmem.session import Session
from agentmem.train.histories import History, Probe
from eval.benchmarks import personamem_data, prefeval
from eval.benchmarks.personamem_data import Asked
from eval.benchmarks.prefeval import Form, Pair
from eval.benchmarks.stale import Query, Stale
from eval.errors import DataError
from eval.mcq import question
from eval.reading import find_layout
from eval.settings import Settings
from eval.values import Unit

IMPLICIT: tuple[Form, ...] = ("choice", "persona")
"""The forms of PrefEval to learn from; in the explicit one the dialogue is the preference itself."""


class Converted(NamedTuple):
    """What became of a benchmark."""

    histories: list[History]
    licence: str
    """One line: the licence, and whether the histories may be shared."""
    notes: list[str]
    """What is not as in the benchmark; a line each."""


def convert(benchmark: str, settings: Settings) -> Converted:
    """The histories of a benchmark, all for training; agentmem.train.splits.split_users holds users out.

    Args:
        benchmark: a name in CONVERTERS.
        settings: `data` says where it lies, `seed` in which order options stand, the same as in its evaluation.

    Raises:
        ConfigError: it cannot be converted.
        DataError: its data is missing or broken.
    """
    if benchmark not in CONVERTERS:
        raise ConfigError(f"{benchmark!r} cannot be converted; choose one of {', '.join(CONVERTERS)}")
    return CONVERTERS[benchmark](settings)


def _history(user: str, name: str, sessions: Sequence[Session], probes: Iterable[Probe]) -> History:
    """A history. Raises DataError with its name in the benchmark when it cannot be one."""
    try:
        return History(user=user, sessions=tuple(sessions), probes=tuple(probes))
    except ValidationError as error:
        raise DataError(f"{name}: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from error


def _with_options(id: str, text: str, options: Sequence[str], right: int, seed: int) -> Probe:
    """A probe whose options stand in another order: in some benchmarks the first one is always right."""
    asked, place = question(id, text, options, right, seed)
    return Probe(id=id, question=text, options=asked.options, right=place)


# -- PersonaMem ------------------------------------------------------------------------------------------------------

_REPACKED = "PersonaMem v1, repacked: that copy states no licence, so keep the file to yourself; it must not be shared."
_V1 = "PersonaMem v1 (MIT): the file may be shared with the authors' licence beside it."
_V2 = "PersonaMem v2 (CC BY 4.0): the file may be shared if Bowen Jiang et al. (arXiv 2512.06688) are named."
_PERSONAMEM = {"ours": _REPACKED, "v1": _V1}


def _personamem(settings: Settings) -> Converted:
    """A context is a history, its questions are probes after the sessions that may be read for them."""
    layout, _ = find_layout(settings.data, personamem_data.LAYOUTS, personamem_data.SOURCE, personamem_data.FOLDER)
    histories, merged, unasked = [], 0, []
    for own in personamem_data.load_histories(settings):
        if not own.questions:
            unasked.append(own.id)
            continue
        histories.append(
            _history(own.user, own.id, own.sessions, (_asked(one, settings.seed) for one in own.questions))
        )
        merged += sum(len(set(one.options)) < len(one.options) for one in own.questions)
    notes = [f"{merged} questions have an option twice, which stands once in their probes"] if merged else []
    notes += [f"{id}: left out, since nothing is asked about it" for id in unasked]
    return Converted(histories, _PERSONAMEM.get(layout, _V2), notes)


def _asked(asked: Asked, seed: int) -> Probe:
    options = tuple(dict.fromkeys(asked.options))  # the right one is often the one that stands twice
    right = options.index(asked.options[asked.right])
    probe = _with_options(asked.id, asked.text, options, right, seed)
    return probe.model_copy(update={"after": asked.visible, "kind": asked.type})


# -- PrefEval --------------------------------------------------------------------------------------------------------


def _prefeval(settings: Settings) -> Converted:
    """Each implicit dialogue of a pair is a history of one session, with the pair's question.

    All pairs with the same preference are one user, so that a split keeps them together.
    """
    users: dict[str, str] = {}
    histories = []
    for pair in prefeval.load_pairs(settings):
        user = users.setdefault(pair.preference, pair.id)
        histories += [_dialogue(user, pair, form, settings.seed) for form in IMPLICIT]
    licence = "PrefEval (CC BY-NC 4.0): for research only; keep the file to yourself, it must not be shared."
    return Converted(histories, licence, [])


def _dialogue(user: str, pair: Pair, form: Form, seed: int) -> History:
    probe = _with_options(pair.id, pair.question, pair.options, 0, seed).model_copy(update={"kind": form})
    return _history(user, f"{pair.id}/{form}", [pair.dialogues[form]], [probe])


# -- STALE -----------------------------------------------------------------------------------------------------------


def _stale(settings: Settings) -> Converted:
    """A chain is a history, its queries are probes with the value as their answer.

    The chains of one slot are one user: they tell similar stories, and a split must keep them together.
    """
    licence = (
        "STALE-Chain (the file states CC BY 4.0, its repository has no licence): keep the file to yourself, "
        "it must not be shared."
    )
    return Converted([_chain(unit) for unit in Stale().load(settings)], licence, [])


def _chain(unit: Unit) -> History:
    (case,) = unit.cases
    queries: dict[str, Query] = case.input
    probes = [
        Probe(id=f"{case.id}/{name}", question=query.text, answer=case.gold.answers[name], kind=name)
        for name, query in queries.items()
    ]
    return _history(case.group, case.id, unit.history, probes)


CONVERTERS: dict[str, Callable[[Settings], Converted]] = {
    "personamem": _personamem,
    "prefeval": _prefeval,
    "stale": _stale,
}
