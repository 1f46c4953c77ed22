"""PrefEval (arXiv 2502.09597): pairs of a preference and a question, the preference told in three forms; fillers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, get_args

from agentmem.memory import Value
from agentmem.session import Message, Session
from eval.errors import DataError
from eval.reading import Row, find_layout, read_json, read_jsonl
from eval.settings import Settings

Form = Literal["explicit", "choice", "persona"]
FORMS: tuple[Form, ...] = get_args(Form)

FOLDER = "prefeval"
SOURCE = (
    "Get benchmark_dataset/ of github.com/amazon-science/PrefEval (CC BY-NC 4.0; "
    "the filler messages come from LMSYS-Chat-1M, under its own terms)."
)
LAYOUTS = {
    "ours": "pairs.jsonl",
    "repository": "benchmark_dataset/explicit_preference/*.json",
    "dataset": "explicit_preference/*.json",
}
"""Ours; the authors' repository; its folder benchmark_dataset alone."""

_CHOICE: tuple[tuple[Literal["user", "assistant"], str], ...] = (
    ("user", "query"),
    ("assistant", "assistant_options"),
    ("user", "user_selection"),
    ("assistant", "assistant_acknowledgment"),
)
_SELECTION = 2
"""Place of user_selection among them."""


class Pair(Value):
    """A preference, and a question that is answered wrongly by whoever does not know it."""

    id: str
    """topic/number; the number is its place in the topic's upstream file, with three digits."""
    topic: str
    preference: str
    question: str
    explanation: str
    """Why the question is a trap, and what an answer should heed."""
    options: tuple[str, str, str, str]
    """Answers to the question; the first one is right."""
    dialogues: dict[Form, Session]
    """The conversation that reveals the preference, by form; explicit: the preference alone, said by the user."""
    keys: dict[Form, tuple[int, ...]]
    """Turns that count as found, by form. explicit: the statement; choice: the selection; persona: any user turn,
    since nobody annotated which one tells."""


def load_pairs(settings: Settings) -> list[Pair]:
    """All pairs, in the order of the topics' names and then of their files. Raises DataError."""
    layout, home = find_layout(settings.data, LAYOUTS, SOURCE, FOLDER)
    return list(_ours(home) if layout == "ours" else _upstream(_dataset(layout, home)))


def load_fillers(settings: Settings) -> tuple[Message, ...]:
    """The filler messages in the official order: all conversations of the file, one after the other.

    user and assistant take turns, beginning with the user. Raises DataError.
    """
    return tuple(message for conversation in load_filler_conversations(settings) for message in conversation)


def load_filler_conversations(settings: Settings) -> list[tuple[Message, ...]]:
    """The filler messages by conversation, in the order of the file. Raises DataError."""
    layout, home = find_layout(settings.data, LAYOUTS, SOURCE, FOLDER)
    if layout == "ours":
        rows = read_jsonl(home / "filler_messages.jsonl", SOURCE)
        talks = [list(own) for _, own in groupby(rows, key=lambda row: row.get("conversation_id", type=str))]
    else:
        talks = [talk.rows("conversation") for talk in _rows(_dataset(layout, home) / "filtered_inter_turns.json")]
    return [tuple(_filler(row, place) for place, row in enumerate(talk)) for talk in talks]


def filler_session(messages: Sequence[Message], n: int) -> Session:
    """The official "n inter-turns": the first 2n messages. Raises DataError when there are fewer."""
    if len(messages) < 2 * n:
        raise DataError(f"the data has {len(messages) // 2} filler turns, fewer than {n}. {SOURCE}")
    return Session(id="fillers", messages=tuple(messages[: 2 * n]))


def _filler(row: Row, place: int) -> Message:
    expected: Literal["user", "assistant"] = "assistant" if place % 2 else "user"
    if row.get("role", type=str) != expected:
        raise DataError(f"{row.where}: field role is {row.value['role']!r}, but it is the {expected}'s turn")
    return Message(role=expected, content=row.get("content", type=str))


# -- our layout -----------------------------------------------------------------------------------------------------


def _ours(home: Path) -> Iterator[Pair]:
    for row in read_jsonl(home / "pairs.jsonl", SOURCE):
        persona = row.row("persona").rows("turns")
        yield _pair(row.get("id", type=str), row, row.row("choice", "conversation"), persona, row, "mcq_options")


# -- the authors' layout --------------------------------------------------------------------------------------------


def _dataset(layout: str, home: Path) -> Path:
    return home / "benchmark_dataset" if layout == "repository" else home


def _upstream(home: Path) -> Iterator[Pair]:
    """The four files of a topic belong together by place: row 7 of each is the same pair."""
    for path in sorted((home / "explicit_preference").glob("*.json")):
        explicit = _rows(path)
        choice, persona, options = (
            _beside(home / folder / path.name, explicit)
            for folder in ("implicit_preference/choice-based", "implicit_preference/persona-driven", "mcq_options")
        )
        for place, row in enumerate(explicit):
            turns = persona[place].row("conversation")
            yield _pair(
                f"{path.stem}/{place:03}",
                row,
                choice[place].row("conversation"),
                [turns.row(name) for name in turns.value],  # "0", "1", …, in the order of the file, as officially
                options[place],
                "classification_task_options",
            )


def _rows(path: Path) -> list[Row]:
    """The records of a file that is a JSON list."""
    values: Any = read_json(path, SOURCE)
    if not isinstance(values, list):
        raise DataError(f"{path}: a {type(values).__name__}, not a list of records")
    return [Row(value, f"{path}: [{place}]") for place, value in enumerate(values)]


def _beside(path: Path, explicit: Sequence[Row]) -> list[Row]:
    """The records of a topic's other file, checked to be about the same questions as the explicit ones."""
    rows = _rows(path)
    if len(rows) != len(explicit):
        raise DataError(f"{path}: {len(rows)} records, but {len(explicit)} in {explicit[0].where.partition(': [')[0]}")
    for row, other in zip(rows, explicit, strict=True):
        if row.get("question", type=str) != other.get("question", type=str):
            raise DataError(f"{row.where}: field question is another one than in {other.where}")
    return rows


# -- both -----------------------------------------------------------------------------------------------------------


def _pair(id: str, row: Row, choice: Row, persona: Sequence[Row], with_options: Row, options: str) -> Pair:
    preference = row.get("preference", type=str)
    own = with_options.texts(options)
    if len(own) != 4:
        raise DataError(f"{with_options.where}: field {options} has {len(own)} options, not 4")
    if not persona:
        raise DataError(f"{row.where}: the persona conversation of {id} has no turns")
    messages: dict[Form, list[Message]] = {
        "explicit": [Message(role="user", content=preference)],
        "choice": [Message(role=role, content=choice.get(name, type=str)) for role, name in _CHOICE],
        "persona": [
            Message(role=role, content=turn.get(role, type=str)) for turn in persona for role in ("user", "assistant")
        ],
    }
    return Pair(
        id=id,
        topic=id.partition("/")[0],
        preference=preference,
        question=row.get("question", type=str),
        explanation=row.get("explanation", type=str),
        options=(own[0], own[1], own[2], own[3]),
        dialogues={form: Session(id=f"{id}/{form}", messages=tuple(own)) for form, own in messages.items()},
        keys={"explicit": (0,), "choice": (_SELECTION,), "persona": tuple(range(0, 2 * len(persona), 2))},
    )
