"""Reading PersonaMem: v1 and v2 as their authors publish them, v1 as repacked, and a hand-copied sample of v2."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from agentmem.session import Message, Session
from eval.errors import DataError
from eval.reading import Row, find_layout, read_csv, read_json, read_jsonl
from eval.settings import Settings

FOLDER = "personamem_v1"
SOURCE = (
    "Get questions_32k.csv and shared_contexts_32k.jsonl from huggingface.co/datasets/bowen-upenn/PersonaMem-v1 (MIT), "
    "or benchmark/text/benchmark.csv with its chat histories from huggingface.co/datasets/bowen-upenn/PersonaMem-v2 "
    "(CC BY 4.0)."
)
LAYOUTS = {
    "ours": "documents.jsonl",
    "v1": "questions_*.csv",
    "v2": "benchmark/text/benchmark.csv",
    "v2 repository": "data/benchmark/text/benchmark.csv",
    "v2 sample": "sample_records.jsonl",
}
SIZES = ("32k", "128k", "1M")
"""Lengths of contexts that v1 comes in; the shortest that is there is read."""


class Asked(NamedTuple):
    """One question of a history."""

    id: str
    type: str
    text: str
    options: tuple[str, ...]
    right: int
    visible: int
    """Sessions that may be read for it: the first ones of its history."""


class History(NamedTuple):
    """The sessions of one user in order, without the system messages, which give the persona away."""

    id: str
    user: str
    sessions: tuple[Session, ...]
    questions: tuple[Asked, ...]


def load_histories(settings: Settings) -> list[History]:
    """All histories with their questions, in the order of the files. Raises DataError."""
    layout, home = find_layout(settings.data, LAYOUTS, SOURCE, FOLDER)
    if layout == "ours":
        return list(_ours(home))
    if layout == "v1":
        return list(_v1(home))
    if layout == "v2 sample":
        return list(_v2_sample(home))
    return list(_v2(home if layout == "v2" else home / "data", home))


# -- v1, repacked ---------------------------------------------------------------------------------------------------

_TURN = re.compile(r"^\[(SYSTEM|USER|ASSISTANT)\] ?", re.MULTILINE)
_NAMED = re.compile(r"\A(?:User: [^\n]*\n\n)?(?:User: )?")
"""The repacked questions begin with the user's name."""
_SPEAKER = re.compile(r"\A(?:User|Assistant|Patient|Therapist): ")


def _ours(home: Path) -> Iterator[History]:
    documents: dict[str, list[Row]] = {}
    for row in read_jsonl(home / "documents.jsonl", SOURCE):
        documents.setdefault(row.get("context_id", type=str), []).append(row)
    questions: dict[str, list[Row]] = {}
    for row in read_jsonl(home / "questions.jsonl", SOURCE):
        questions.setdefault(row.get("context_id", type=str), []).append(row)
    for context, rows in questions.items():
        if context not in documents:
            raise DataError(f"{rows[0].where}: field context_id: documents.jsonl has no document of {context}")
        own = sorted(documents[context], key=_place)
        ids = [row.get("id", type=str) for row in own]
        yield History(
            id=context,
            user=rows[0].get("persona_id", type=str),
            sessions=tuple(_document(row) for row in own),
            questions=tuple(_repacked(row, ids) for row in rows),
        )


def _place(row: Row) -> int:
    number = row.get("id", type=str).rpartition("_")[2]
    if not number.isdigit():
        raise DataError(f"{row.where}: field id does not end in the session's number")
    return int(number)


def _document(row: Row) -> Session:
    _, *parts = _TURN.split(row.get("content", type=str))
    turns = [
        {"role": role.lower(), "content": text.strip()} for role, text in zip(parts[::2], parts[1::2], strict=True)
    ]
    messages = _messages(turns)
    if not messages:
        raise DataError(f"{row.where}: field content has no line that begins with [USER] or [ASSISTANT]")
    return Session(id=row.get("id", type=str), messages=messages)


def _repacked(row: Row, ids: Sequence[str]) -> Asked:
    options = row.row("options")
    letters = sorted(options.value)
    answer = row.get("answer", type=str)
    if answer not in letters or len(letters) < 2:
        raise DataError(f"{row.where}: field answer is {answer!r}, but the options are {', '.join(letters) or 'none'}")
    visible = row.texts("visible_documents")
    if sorted(visible) != sorted(ids[: len(visible)]):
        raise DataError(f"{row.where}: field visible_documents are not the first sessions of the context")
    return Asked(
        id=row.get("id", type=str),
        type=row.get("question_type", type=str),
        text=_NAMED.sub("", row.get("query", type=str), count=1),
        options=tuple(options.get(letter, type=str) for letter in letters),
        right=letters.index(answer),
        visible=len(visible),
    )


# -- v1, the authors' ------------------------------------------------------------------------------------------------


def _v1(home: Path) -> Iterator[History]:
    size = next((size for size in SIZES if (home / f"questions_{size}.csv").is_file()), None)
    if size is None:
        raise DataError(f"{home}: no questions_32k.csv, questions_128k.csv or questions_1M.csv. {SOURCE}")
    contexts = _contexts(home / f"shared_contexts_{size}.jsonl")
    questions: dict[str, list[Row]] = {}
    for row in read_csv(home / f"questions_{size}.csv", SOURCE):
        questions.setdefault(row.get("shared_context_id", type=str), []).append(row)
    for context, rows in questions.items():
        if context not in contexts:
            raise DataError(f"{rows[0].where}: field shared_context_id: shared_contexts_{size}.jsonl has no {context}")
        ends = [_number(row, "end_index_in_shared_context") for row in rows]
        sessions, visible = _cut(context, contexts[context], ends)
        user = rows[0].get("persona_id", type=str) if rows[0].has("persona_id") else context
        yield History(
            id=context,
            user=user,
            sessions=sessions,
            questions=tuple(_official(row, visible[end]) for row, end in zip(rows, ends, strict=True)),
        )


def _contexts(path: Path) -> dict[str, list[Row]]:
    contexts: dict[str, list[Row]] = {}
    for row in read_jsonl(path, SOURCE):
        for id in row.value:
            contexts[str(id)] = row.rows(str(id))
    return contexts


def _cut(id: str, turns: Sequence[Row], ends: Iterable[int]) -> tuple[tuple[Session, ...], dict[int, int]]:
    """The sessions of a context, and how many of them lie before each end.

    A session begins at a system message; one that a question sees only in part is cut in two there.
    """
    starts = [place for place, turn in enumerate(turns) if turn.get("role", type=str) == "system"]
    bounds = sorted({0, *starts, *(min(end, len(turns)) for end in ends), len(turns)})
    sessions: list[Session] = []
    before = {0: 0}
    for start, end in zip(bounds, bounds[1:], strict=False):
        plain = [{name: turn.get(name, type=str) for name in ("role", "content")} for turn in turns[start:end]]
        if messages := _messages(plain):
            sessions.append(Session(id=f"{id}_{len(sessions)}", messages=messages))
        before[end] = len(sessions)
    return tuple(sessions), {end: before[min(end, len(turns))] for end in ends}


def _official(row: Row, visible: int) -> Asked:
    name = "user_question_or_message" if "user_question_or_message" in row.value else "question"
    letters, options = [], []
    for place, option in enumerate(_listed(row, "all_options")):
        found = re.match(r"\A\s*\(([a-z])\)\s*", option)
        letters.append(found[1] if found else "abcdefghij"[place])
        options.append(option[found.end() :] if found else option)
    answer = row.get("correct_answer", type=str).strip("() ").lower()
    if answer not in letters:
        raise DataError(f"{row.where}: field correct_answer is {answer!r}, but the options are {', '.join(letters)}")
    return Asked(
        id=row.get("question_id", type=str),
        type=row.get("question_type", type=str),
        text=_SPEAKER.sub("", row.get(name, type=str)),
        options=tuple(options),
        right=letters.index(answer),
        visible=visible,
    )


# -- v2 -------------------------------------------------------------------------------------------------------------


def _v2(home: Path, root: Path) -> Iterator[History]:
    rows: dict[str, list[tuple[int, Row]]] = {}
    path = home / "benchmark" / "text" / "benchmark.csv"
    for number, row in enumerate(read_csv(path, SOURCE)):
        name = "chat_history_32k_link" if "chat_history_32k_link" in row.value else "chat_history_link"
        rows.setdefault(row.get(name, type=str), []).append((number, row))
    for link, own in rows.items():
        file = next((base / link for base in (root, home) if (base / link).is_file()), root / link)
        sessions = _chat_history(file)
        yield History(
            id=Path(link).stem,
            user=own[0][1].get("persona_id", type=str),
            sessions=sessions,
            questions=tuple(_implicit(row, f"v2-{number:05}", len(sessions)) for number, row in own),
        )


def _chat_history(path: Path) -> tuple[Session, ...]:
    value = read_json(path, SOURCE)
    turns = value if isinstance(value, list) else Row(value, str(path)).get("chat_history", type=list)
    rows = [Row(turn, f"{path}: [{place}]") for place, turn in enumerate(turns)]
    return _cut(path.stem, rows, [])[0]


def _implicit(row: Row, id: str, visible: int) -> Asked:
    query = _read(row, "user_query") if row.get("user_query", type=str).lstrip().startswith("{") else None
    text = Row(query, f"{row.where}: user_query").get("content", type=str) if query else row.get("user_query", type=str)
    return Asked(
        id=id,
        type=row.get("pref_type", type=str),
        text=text,
        options=(row.get("correct_answer", type=str), *_listed(row, "incorrect_answers")),
        right=0,
        visible=visible,
    )


def _v2_sample(home: Path) -> Iterator[History]:
    """Every record's conversation is a session; all come before the questions, as in the authors' histories."""
    people: dict[int, list[Row]] = {}
    for row in read_jsonl(home / "sample_records.jsonl", SOURCE):
        people.setdefault(row.get("persona_id", type=int), []).append(row)
    for person, rows in people.items():
        sessions = []
        for row in rows:
            turns = [
                {name: turn.get(name, type=str) for name in ("role", "content")} for turn in row.rows("conversations")
            ]
            if messages := _messages(turns):
                sessions.append(Session(id=row.get("id", type=str), messages=messages))
        asked = [
            Asked(
                id=row.get("id", type=str),
                type=row.get("pref_type", type=str) if row.has("pref_type") else "sensitive_info",
                text=row.get("user_query", type=str),
                options=(row.get("correct_answer", type=str), *row.texts("incorrect_answers")),
                right=0,
                visible=len(sessions),
            )
            for row in rows
            if row.has("user_query") and row.has("incorrect_answers")
        ]
        yield History(id=f"v2-{person}", user=str(person), sessions=tuple(sessions), questions=tuple(asked))


# -- all ------------------------------------------------------------------------------------------------------------


def _messages(turns: Iterable[dict[str, str]]) -> tuple[Message, ...]:
    """The turns of user and assistant; a leading "User: " or "Therapist: " only repeats the role."""
    return tuple(
        Message(role=turn["role"], content=_SPEAKER.sub("", turn["content"]))  # pyright: ignore[reportArgumentType]
        for turn in turns
        if turn["role"] in ("user", "assistant")
    )


def _number(row: Row, name: str) -> int:
    text = row.get(name, type=str)
    if not text.strip().isdigit():
        raise DataError(f"{row.where}: field {name} is {text!r}, not a whole number")
    return int(text)


def _listed(row: Row, name: str) -> list[str]:
    """A field that holds a list of texts as JSON or as Python prints it."""
    value = _read(row, name)
    if not isinstance(value, list) or len(value) < 2 or not all(isinstance(one, str) for one in value):
        raise DataError(f"{row.where}: field {name} is no list of two or more texts")
    return value


def _read(row: Row, name: str) -> Any:
    text = row.get(name, type=str)
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        try:
            return ast.literal_eval(text)
        except (ValueError, SyntaxError) as error:
            raise DataError(f"{row.where}: field {name} is neither JSON nor a Python value") from error
