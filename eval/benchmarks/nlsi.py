"""NLSI: which standing instructions of a user apply to a request, and the API calls that follow from them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from agentmem.errors import AgentMemError
from agentmem.memory import Value
from eval.answers import Answer, ask
from eval.benchmarks.nlsi_calls import SetScores, call_scores, plain, read_calls, set_scores
from eval.errors import DataError
from eval.harness import Benchmark, Run
from eval.prompts import render
from eval.reading import Row, find_layout, read_json, read_jsonl
from eval.settings import Settings
from eval.systems import UserMemory
from eval.values import Case, Outcome, Score, Unit, unscored

LAYOUTS = {"ours": "examples.jsonl", "construction": "conversion/override_paraphrase.json", "splits": "test.json*"}
"""Our file; the files that the authors' repository has; the data set as published."""

CONSTRUCTION = {"override": "override_paraphrase.json", "old": "old_instructions_dataset.json"}
"""Of the authors' conversion folder, the two that say which instructions apply; by the prefix of our ids."""

REASONING = {
    "override": "Conflict",
    "simple": "Plain",
    "chains_simple": "MultiHop",
    "no_instructions": "NoneApplicable",
    "chains_domains": "MultiDomain",
    "multiple_instructions": "MultiPreference",
}
"""The paper's name of each example_type."""

SELECTION = ("em", "f1", "p", "r")
CALLS = ("api_em", "api_f1", "api_p", "api_r")

MAX_TOKENS = 200
"""Longest answer of the reader; the longest gold calls take about half of it."""

_TURN = re.compile(r"^[ \t]*(user|agent|system|assistant)[ \t]*:[ \t]*", re.MULTILINE | re.IGNORECASE)


class Request(Value):
    """What a system is asked."""

    profile: tuple[str, ...]
    dialogue: str
    """As in the file: "User: …" and "Agent: …", a turn a line."""
    slots: str = ""
    """Domains and their slots, one domain a line: those of all calls of the file together."""


class NLSI(Benchmark):
    """Selection is scored with every system; API calls only with `generate`, from the instructions it selected."""

    name = "nlsi"
    about = "which standing instructions apply to a request (em, f1, p, r); with --generate the API calls too (api_em)"
    source = (
        "Get train, validation and test (.json or .jsonl) from huggingface.co/datasets/nikitam/nlsi (CC BY-SA 4.0), "
        "or the folder conversion of github.com/nikitacs16/nlsi (no licence stated)."
    )
    folder = "nlsi"
    metrics = SELECTION

    def load(self, settings: Settings) -> list[Unit]:
        """One unit, and one case, an example; grouped by the dialogue it was made from."""
        layout, home = find_layout(settings.data, LAYOUTS, self.source, self.folder)
        cases = list(_READERS[layout](home, self.source))
        slots = _slots(case.gold["calls"] for case in cases)
        cases = [case.model_copy(update={"input": case.input.model_copy(update={"slots": slots})}) for case in cases]
        return [Unit(id=case.id, cases=(case,)) for case in cases]

    def run(self, unit: Unit, run: Run) -> Iterator[Outcome]:
        """Ask which instructions apply. Nothing is observed: the profile comes with the request."""
        memory = run.open()
        for case in unit.cases:
            yield _outcome(memory, case, run)
        memory.close()


def asked(dialogue: str) -> str:
    """What the user says in a dialogue, without the speaker marks; several turns of the user's a line each.

    The agent's turns are left out: a system is asked what to follow for the user's request.
    """
    marks = list(_TURN.finditer(dialogue))
    if not marks:
        return dialogue.strip()
    ends = [mark.start() for mark in marks[1:]] + [len(dialogue)]
    said = [(mark[1].lower(), dialogue[mark.end() : end].strip()) for mark, end in zip(marks, ends, strict=True)]
    return "\n".join(text for speaker, text in said if speaker == "user")


# -- running and scoring --------------------------------------------------------------------------------------------


def _outcome(memory: UserMemory, case: Case, run: Run) -> Outcome:
    request: Request = case.input
    detail: dict[str, Any] = {"dialogue": request.dialogue, "gold": case.gold["applicable"]}
    answer = Answer("", 0, 0)
    wanted = SELECTION + (CALLS if run.settings.generate else ())
    try:
        chosen = _selected(memory, request)
    except AgentMemError as error:
        scores = unscored(wanted, str(error))
        detail["error"] = str(error)
    else:
        scores = _named(SELECTION, set_scores(chosen, case.gold["applicable"]))
        detail["chosen"] = chosen
        if run.settings.generate:
            answer, called = _called(run, request, chosen, case.gold["calls"])
            scores |= called
            detail |= {"answer": answer.text, "gold_calls": case.gold["calls"]}
    by_type = {f"{name}_{case.stratum}": score for name, score in scores.items()} if case.stratum else {}
    return Outcome(
        case=case.id,
        group=case.group,
        scores=scores | by_type,
        prompt_tokens=answer.prompt_tokens,
        completion_tokens=answer.completion_tokens,
        detail=detail,
    )


def _selected(memory: UserMemory, request: Request) -> list[str]:
    """The instructions of the profile that the system selects; invented ones are left out, as officially."""
    known = {plain(one) for one in request.profile}
    return [one for one in memory.applicable(request.profile, asked(request.dialogue)) if plain(one) in known]


def _called(run: Run, request: Request, chosen: Sequence[str], gold: Sequence[str]) -> tuple[Answer, dict[str, Score]]:
    """The calls that the reader makes of the dialogue and the selected instructions, scored."""
    prompt = render(
        "nlsi_calls",
        schema=request.slots,
        dialogue=request.dialogue.strip(),
        instructions="\n".join(f"- {one}" for one in chosen) or "- (none)",
    )
    try:
        answer = ask(run, prompt, max_tokens=MAX_TOKENS)
    except AgentMemError as error:
        return Answer(f"failed: {error}", 0, 0), unscored(CALLS, str(error))
    predicted = read_calls(line.strip("`*- ") for line in answer.text.splitlines())
    return answer, _named(CALLS, call_scores(predicted, read_calls(gold)))


def _named(names: Sequence[str], scores: SetScores) -> dict[str, Score]:
    return {name: Score(value=value) for name, value in zip(names, scores, strict=True)}


# -- reading --------------------------------------------------------------------------------------------------------


def _slots(calls: Iterator[Sequence[str]]) -> str:
    """The domains of these calls with their slots, as a prompt shows them."""
    slots: dict[str, set[str]] = {}
    for call in (call for own in calls for call in read_calls(own)):
        slots.setdefault(call.domain, set()).update(call.slots)
    return "\n".join(f"{domain}: {', '.join(sorted(own))}" for domain, own in sorted(slots.items()))


def _case(id: str, group: str, kind: str, request: Request, gold: tuple[Sequence[str], Sequence[str]]) -> Case:
    return Case(
        id=id, group=group, stratum=kind, input=request, gold={"applicable": list(gold[0]), "calls": list(gold[1])}
    )


def _ours(home: Path, source: str) -> Iterator[Case]:
    for row in read_jsonl(home / "examples.jsonl", source):
        request = Request(
            profile=tuple(row.texts("all_standing_instructions")), dialogue=row.get("user_utterance", type=str)
        )
        gold = row.texts("applicable_standing_instructions"), row.texts("api_calls")
        yield _case(
            row.get("id", type=str),
            row.get("dialogue_id", type=str),
            row.get("reasoning_type", type=str),
            request,
            gold,
        )


def _construction(home: Path, source: str) -> Iterator[Case]:
    for prefix, name in CONSTRUCTION.items():
        path = home / "conversion" / name
        for place, row in enumerate(_rows(path, source)):
            request = Request(profile=tuple(row.texts("user_profile")), dialogue=row.get("utterance", type=str))
            gold = row.texts("standing_instructions"), row.texts("api_calls")
            # an example_id occurs several times in these files, its place does not
            yield _case(f"{prefix}/{place:03}", row.get("dialogue_id", type=str), _kind(row), request, gold)


def _splits(home: Path, source: str) -> Iterator[Case]:
    """The test split alone, as in the paper: it is what a number is compared with."""
    path = next(path for path in (home / "test.json", home / "test.jsonl") if path.is_file())
    for place, row in enumerate(_rows(path, source)):
        id = str(row.value.get("example_id", place))
        request = Request(
            profile=tuple(_worded(row, "all_standing_instructions")), dialogue=row.get("user_utterance", type=str)
        )
        gold = _worded(row, "applicable_standing_instructions"), row.texts("api_calls")
        about = row.row("metadata") if row.has("metadata") else row
        yield _case(f"test/{id}", str(about.value.get("dialogue_id", id)), _kind(about), request, gold)


def _worded(row: Row, name: str) -> list[str]:
    return [one.get("nl_instruction", type=str) for one in row.rows(name)]


def _kind(row: Row) -> str:
    kind = row.get("example_type", type=str) if row.has("example_type") else ""
    return REASONING.get(kind, kind)


def _rows(path: Path, source: str) -> list[Row]:
    """The records of a JSON list, or of a JSONL file whatever its name."""
    if path.suffix == ".jsonl":
        return list(read_jsonl(path, source))
    values = read_json(path, source)
    if not isinstance(values, list):
        raise DataError(f"{path}: not a list of examples")
    return [Row(value, f"{path}: [{place}]") for place, value in enumerate(values)]


_READERS = {"ours": _ours, "construction": _construction, "splits": _splits}
