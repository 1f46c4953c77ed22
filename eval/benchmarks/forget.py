"""forget: "please forget that …" is said: no trace of it may be left anywhere, and all else must stay."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from agentmem.errors import AgentMemError
from agentmem.index.entries import telling_words
from agentmem.memory import Memory, Value, full_text
from agentmem.session import Message, Session
from eval.benchmarks import prefeval, stale
from eval.benchmarks.prefeval import Pair, load_pairs
from eval.errors import DataError, UnsupportedError
from eval.harness import Benchmark, Run, scored
from eval.reading import find_layout
from eval.settings import Settings
from eval.systems import UserMemory
from eval.values import Case, Outcome, Score, Unit, unscored

BEFORE, AFTER = 3, 2
"""Dialogues of other pairs that are observed before and after the one to be forgotten."""

MORE = 3
"""Sessions of a chain that state no value of it, and are observed too."""

TELLING = 5
"""Letters of a word that can tell; shorter ones stand anywhere."""

DEPTH = 20
"""Hits of a search that are looked at."""

OF_CLAUSE = (
    "Please forget that {}.",
    "Forget that I ever said {}.",
    "Don't remember that {} anymore, please.",
    "Please don't remember anymore that {}.",
    "Could you delete from your memory that {}?",
)
OF_VALUE = (
    "Please forget that my {slot} is {value}.",
    "Forget what I said about {value}.",
    "Don't remember {value} anymore, please.",
    "Please delete what you know about {value}.",
)
"""The requests, one chosen by seed for each case."""

CONTROL = ("I like tea.", "Please forget that I like tea.")
"""Observed once, to learn which words a system's files have of their own."""

TRACES = ("traces", "traces_memories", "traces_search", "traces_files")
AFTERWARDS = (*TRACES, "forgotten")


class Asked(Value):
    """What is observed and said."""

    before: tuple[Session, ...]
    """Holds nothing of what will be forgotten."""
    told: tuple[Session, ...]
    """The conversation that tells it, and what comes after."""
    request: Session
    queries: tuple[str, ...]
    """Searches that would find it."""


class Forget(Benchmark):
    """A request to forget is a message of the user's in a conversation of its own, a few days' talks after the fact.

    PrefEval: the preference was stated by itself among the dialogues of five other pairs of other topics. (One that was
    only implied has no words of its own, of which a trace could be told.) STALE: the last value of a chain, which the
    sessions that state its values, and three others, are about.

    A trace is a telling word that stands nowhere else in what was observed (of a preference: its words of five letters
    and more but the commonest; of STALE: the value as it stands) and is found in a memory, active or closed, its quotes
    included; in a hit of a search for it; or in any byte of any file under the memory's folder. Words that the files
    held before it was told, or hold of themselves (headings, names of fields), do not count. Without files of its own a
    system is judged by the first two.

    known is the share of items of which a trace was found before the request: who stores nothing cannot forget.
    traces (a number of items), in all and by place, and forgotten (the share without) are scored where it was known.
    kept is the share of the other active memories, those that hold none of its words, that are still there afterwards.
    """

    name = "forget"
    about = 'after "please forget that …": no trace of it in memories, searches and files, and all else still there'
    source = f"{prefeval.SOURCE} Or: {stale.Stale.source}"
    metrics = ("known", *AFTERWARDS, "kept")
    counts = frozenset(TRACES)

    def load(self, settings: Settings) -> list[Unit]:
        """One unit, and one case, a preference and a chain; whichever of the two is there."""
        units: list[Unit] = []
        if _is_there(settings.data, prefeval.LAYOUTS, prefeval.FOLDER):
            units += _of_pairs(load_pairs(settings), settings.seed)
        if _is_there(settings.data, stale.LAYOUTS, stale.Stale.folder):
            units += [one for unit in stale.Stale().load(settings) if (one := _of_chain(unit, settings.seed))]
        if not units:
            raise DataError(f"{settings.data}: neither PrefEval nor STALE is there. {self.source}")
        return units

    def run(self, unit: Unit, run: Run) -> Iterator[Outcome]:
        """Observe, ask to forget, and look everywhere."""
        case = unit.cases[0]
        detail: dict[str, Any] = {"request": case.input.request.messages[0].content}
        try:
            plain = run.once("words of the files themselves", lambda: _of_themselves(run))
            scores = _scores(case, run.open(), plain, detail)
        except AgentMemError as error:
            scores = unscored(self.metrics, str(error))
            detail["error"] = str(error)
        by_source = {f"{name}_{case.stratum}": score for name, score in scores.items() if name in ("forgotten", "kept")}
        yield Outcome(case=case.id, group=case.group, scores=scores | by_source, detail=detail)


# -- looking for traces ---------------------------------------------------------------------------------------------


def _scores(case: Case, memory: UserMemory, plain: bytes, detail: dict[str, Any]) -> dict[str, Score]:
    asked: Asked = case.input
    for session in asked.before:
        memory.observe(session)
    _found(memory, asked.queries)  # so that an index, too, is in the files that are looked at
    strange = set(traces_in([_files(memory), plain], case.gold))
    own = tuple(word for word in case.gold if word not in strange)
    for session in asked.told:
        memory.observe(session)
    if not own:
        return unscored(Forget.metrics, "none of its words stands in this conversation alone")
    detail["words"] = list(own)
    known = bool(traces_in(_memory_texts(memory), own) or traces_in(_found(memory, asked.queries), own))
    others = {full_text(one) for one in _active(memory) if not traces_in(_texts_of(one), own)}
    memory.observe(asked.request)
    scores = {"known": Score(value=float(known))}
    if known:
        scores |= _traces(memory, asked.queries, own, detail)
    else:
        scores |= unscored(AFTERWARDS, "nothing of it was stored")
    scores |= scored(["kept"], lambda: _kept(memory, others, detail))
    memory.close()
    return scores


def _of_themselves(run: Run) -> bytes:
    """What a system's files hold whatever was said, before and after something was forgotten."""
    memory = run.open()
    held: list[bytes] = []
    for place, text in enumerate(CONTROL):
        memory.observe(Session(id=f"control/{place}", messages=(Message(role="user", content=text),)))
        _found(memory, CONTROL)
        held.append(_files(memory))
    memory.close()
    return b"\n".join(held)


def _traces(memory: UserMemory, queries: Sequence[str], own: Sequence[str], detail: dict[str, Any]) -> dict[str, Score]:
    found = {
        "traces_memories": traces_in(_memory_texts(memory), own),
        "traces_search": traces_in(_found(memory, queries), own),
        "traces_files": traces_in([_files(memory)], own),
    }
    detail["traces"] = {place: words for place, words in found.items() if words}
    scores = {place: Score(value=float(bool(words))) for place, words in found.items()}
    if not _has_files(memory):
        scores["traces_files"] = Score(value=None, reason=f"{memory.name} keeps nothing in files of its own")
    left = any(found.values())
    return scores | {"traces": Score(value=float(left)), "forgotten": Score(value=float(not left))}


def traces_in(texts: Iterable[str | bytes], own: Sequence[str]) -> list[str]:
    """Which of the words stand in any of the texts: in bytes anywhere, in text as whole words; whatever the case."""
    found: dict[str, None] = {}
    for text in texts:
        folded = text.lower()
        for word in (one.lower() for one in own):
            if isinstance(folded, bytes):
                here = word.encode() in folded
            else:
                here = word in folded and re.search(rf"(?<!\w){re.escape(word)}(?!\w)", folded) is not None
            if here:
                found[word] = None
    return [word for word in own if word.lower() in found]


def _kept(memory: UserMemory, others: set[str], detail: dict[str, Any]) -> dict[str, Score]:
    still = {full_text(one) for one in _active(memory)}
    detail["lost"] = sorted(others - still)
    if not others:
        return unscored(["kept"], "nothing else was remembered")
    return {"kept": Score(value=len(others & still), weight=len(others))}


def _active(memory: UserMemory) -> list[Memory]:
    try:
        return [one for one in memory.memories() if one.status == "active"]
    except UnsupportedError:
        return []


def _memory_texts(memory: UserMemory) -> list[str]:
    try:
        return [text for one in memory.memories() for text in _texts_of(one)]
    except UnsupportedError:
        return []


def _texts_of(memory: Memory) -> list[str]:
    return [full_text(memory), *(evidence.quote for evidence in memory.evidence)]


def _found(memory: UserMemory, queries: Iterable[str]) -> list[str]:
    try:
        return [hit.text for query in queries for hit in memory.search(query, DEPTH)]
    except UnsupportedError:
        return []


def _has_files(memory: UserMemory) -> bool:
    try:
        memory.root()
    except UnsupportedError:
        return False
    return True


def _files(memory: UserMemory) -> bytes:
    """All that stands under the memory's folder, names of files included."""
    if not _has_files(memory):
        return b""
    root: Path = memory.root()
    parts = [path.relative_to(root).as_posix().encode() for path in sorted(root.rglob("*"))]
    parts += [path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()]
    return b"\n".join(parts)


# -- making the items -----------------------------------------------------------------------------------------------


def _is_there(data: Path, layouts: dict[str, str], folder: str) -> bool:
    try:
        find_layout(data, layouts, "", folder)
    except DataError:
        return False
    return True


def _of_pairs(pairs: Sequence[Pair], seed: int) -> Iterator[Unit]:
    for pair in pairs:
        rng = random.Random(f"{seed}/{pair.id}")
        elsewhere = [one for one in pairs if one.topic != pair.topic]
        others = [_talk(one) for one in rng.sample(elsewhere, min(len(elsewhere), BEFORE + AFTER))]
        said = clause(pair.preference)
        words = own_words(said, [message.content for other in others for message in other.messages])
        asked = Asked(
            before=tuple(others[:BEFORE]),
            told=(_talk(pair), *others[BEFORE:]),
            request=_request(rng.choice(OF_CLAUSE).format(said), None),
            queries=(pair.preference, pair.question),
        )
        yield _unit(pair.id, pair.id, "explicit", asked, words)


def _talk(pair: Pair) -> Session:
    """The dialogue that states a preference, under an id that holds none of its words as that of a topic may."""
    session = pair.dialogues["explicit"]
    return session.model_copy(update={"id": f"talk {hashlib.sha256(pair.id.encode()).hexdigest()[:8]}"})


def clause(preference: str) -> str:
    """The first sentence of a stated preference, as it stands in the middle of another sentence."""
    said = re.split(r"(?<=[.!?])\s", preference.strip(" \"'“”"))[0].rstrip(".! ")
    first = said.split(maxsplit=1)[0] if said else ""
    return said if first == "I" or first.startswith(("I'", "I’")) else said[:1].lower() + said[1:]


def own_words(said: str, others: Iterable[str]) -> tuple[str, ...]:
    """The words that tell what was said, and stand nowhere in the other texts, not even as parts of words."""
    elsewhere = " ".join([*others, *OF_CLAUSE]).lower()
    words = (word for word in telling_words(said) if len(word) >= TELLING and word.isascii() and word.isalpha())
    return tuple(word for word in words if word not in elsewhere)


def _of_chain(unit: Unit, seed: int) -> Unit | None:
    """The item of a chain; None where its last value is not said in any session but earlier ones."""
    case = unit.cases[0]
    values = [state.value for state in case.gold.chain]
    sessions: Sequence[Session] = unit.history
    telling = [place for place, session in enumerate(sessions) if _says(session, values)]
    rest = [place for place in range(len(sessions)) if place not in telling]
    rng = random.Random(f"{seed}/{case.id}")
    places = sorted([*telling, *rng.sample(rest, min(len(rest), MORE))])
    first = next((at for at, place in enumerate(places) if _says(sessions[place], values[-1:])), None)
    if first is None:
        return None
    seen = [sessions[place] for place in places]
    request = rng.choice(OF_VALUE).format(slot=case.group, value=values[-1])
    asked = Asked(
        before=tuple(seen[:first]),
        told=tuple(seen[first:]),
        request=_request(request, seen[-1]),
        queries=(values[-1], case.input["current"].text),
    )
    return _unit(case.id, case.group, "stale", asked, (values[-1],))


def _says(session: Session, values: Sequence[str]) -> bool:
    return any(traces_in([message.content], values) for message in session.messages)


def _request(text: str, after: Session | None) -> Session:
    day = after.date if after is not None else None
    return Session(id="request", messages=(Message(role="user", content=text),), date=day)


def _unit(id: str, group: str, source: str, asked: Asked, words: tuple[str, ...]) -> Unit:
    return Unit(id=id, cases=(Case(id=id, group=group, stratum=source, input=asked, gold=words),))
