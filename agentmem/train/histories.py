"""Training data of memory policies: histories with questions, conversations with edits, and pairs of answers.

A file has one JSON object a line; docs/training-data.md is its description for people. The values check themselves,
so what was read can be used as it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

from pydantic import AfterValidator, Field, ValidationError, ValidationInfo, field_serializer, field_validator

from agentmem.errors import OutputError, TrainingDataError
from agentmem.memory import Value, one_line
from agentmem.policy.base import Observation
from agentmem.policy.edits import Edit, format_edit, parse_edits
from agentmem.policy.resolve import find_evidence
from agentmem.session import Message, Session, as_message

Split = Literal["train", "test"]
Day = date  # inside EditExample the name `date` is the field

_ALIAS = re.compile(r"[pif][0-9]+")


def _text(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty; fill it in")
    return text


def _name(name: str) -> str:
    if not name or name != one_line(name):
        raise ValueError(f"{name!r} is no name; give one line without surrounding blanks")
    return name


def _messages(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """Raises ValueError when nothing is said in them, or too much in one."""
    if not any(message.content.strip() for message in messages):
        raise ValueError("has no message with words in it; give its messages, or leave it out")
    return tuple(as_message(message, place) for place, message in enumerate(messages, start=1))


def _session(session: Session) -> Session:
    _name(session.id)
    _messages(session.messages)
    return session


def _distinct(names: Iterable[str], what: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"the {what} {_short(name)} is given twice; keep one, or name them apart")
        seen.add(name)


Text = Annotated[str, AfterValidator(_text)]
Name = Annotated[str, AfterValidator(_name)]


# -- values ----------------------------------------------------------------------------------------------------------


class Probe(Value):
    """A question that shows what a memory is worth: with options of which one is right, or with a free answer."""

    id: Name
    question: Text
    options: tuple[Text, ...] = ()
    right: int | None = Field(default=None, validate_default=True)
    """0-based place of the right option."""
    answer: Text | None = Field(default=None, validate_default=True)
    """What is right in words, where there are no options."""
    after: int | None = Field(default=None, ge=1)
    """Sessions that may be read before it is asked, the first ones of its history; None: all."""
    kind: str = ""
    """A free label, e.g. "preference"; results are broken down by it."""

    @property
    def gold(self) -> str:
        """The right option or answer, as text."""
        return self.answer if self.answer is not None else self.options[self.right or 0]

    @field_validator("options")
    @classmethod
    def _told_apart(cls, options: tuple[str, ...]) -> tuple[str, ...]:
        if len(options) == 1:
            raise ValueError("has one option; give two or more, or an answer in its place")
        _distinct(map(one_line, options), "option")
        return options

    @field_validator("right")
    @classmethod
    def _an_option(cls, right: int | None, info: ValidationInfo) -> int | None:
        options = info.data.get("options")
        if options is None:  # they are wrong themselves, which is said
            return right
        if options and right is None:
            raise ValueError("is missing; give the place of the right option, counted from 0")
        if right is not None and not 0 <= right < len(options):
            raise ValueError(f"{right} is none of the {len(options)} options, counted from 0; correct it")
        return right

    @field_validator("answer")
    @classmethod
    def _one_gold(cls, answer: str | None, info: ValidationInfo) -> str | None:
        options = info.data.get("options")
        if options and answer is not None:
            raise ValueError("stands beside options; give one of the two")
        if options == () and answer is None:
            raise ValueError("is missing; give an answer, or options and the right one")
        return answer


class Example(Value):
    """What all examples have."""

    user: Name
    """Whose it is. All of one user are either for training or for testing."""
    split: Split = "train"


class History(Example):
    """The conversations of one user in order, and questions about them."""

    sessions: tuple[Annotated[Session, AfterValidator(_session)], ...]
    probes: tuple[Probe, ...]
    memory: tuple[Text, ...] = ()
    """What a careful person would remember in the end, a line each; `agentmem train check` asks the probes with it."""

    @field_validator("sessions")
    @classmethod
    def _in_order(cls, sessions: tuple[Session, ...]) -> tuple[Session, ...]:
        if not sessions:
            raise ValueError("none; give one at least")
        _distinct((session.id for session in sessions), "id")
        dated = [(session.date, session.id) for session in sessions if session.date]
        for (before, first), (after, second) in pairwise(dated):
            if after < before:
                raise ValueError(f"{second} of {after} stands after {first} of {before}; order them by their dates")
        return sessions

    @field_validator("probes")
    @classmethod
    def _can_be_asked(cls, probes: tuple[Probe, ...], info: ValidationInfo) -> tuple[Probe, ...]:
        if not probes:
            raise ValueError("none; without a question a history teaches nothing: add one, or leave the history out")
        _distinct((probe.id for probe in probes), "id")
        count = len(info.data.get("sessions", ()))
        for place, probe in enumerate(probes):
            if count and probe.after is not None and probe.after > count:
                raise ValueError(f"[{place}].after: {probe.after} is more than the {count} sessions; correct it")
        return probes


class EditExample(Example):
    """A conversation, the memory before it, and the edits a careful person would make."""

    date: Day | None = None
    memory: dict[str, Text] = {}
    """Text by alias (p1, i1, f1 …), in the order in which it is shown."""
    messages: Annotated[tuple[Message, ...], AfterValidator(_messages)]
    edits: tuple[Edit, ...]
    """Empty where there is nothing to remember; in a file that is the line =."""
    note: str = ""
    """For people."""
    lang: str = "en"
    """Language of the conversation, an ISO 639-1 code."""

    @field_validator("memory")
    @classmethod
    def _aliases(cls, memory: dict[str, str]) -> dict[str, str]:
        for alias in memory:
            if not _ALIAS.fullmatch(alias):
                raise ValueError(f"{alias!r} is no alias; name memories p1, i1, f1 and so on by their kind")
        return memory

    @field_validator("edits", mode="before")
    @classmethod
    def _read(cls, lines: Any) -> Any:
        if lines == []:
            raise ValueError("is empty; give the line = where there is nothing to remember")
        if not isinstance(lines, list | tuple) or list(lines) == ["="]:
            return () if isinstance(lines, list | tuple) else lines
        return tuple(_edit(line, number) for number, line in enumerate(lines, start=1))

    @field_validator("edits")
    @classmethod
    def _grounded(cls, edits: tuple[Edit, ...], info: ValidationInfo) -> tuple[Edit, ...]:
        memory, messages = info.data.get("memory"), info.data.get("messages")
        if memory is None or messages is None:  # they are wrong themselves, which is said
            return edits
        said = Observation(memories=(), session=Session(id="example", messages=messages), today=Day.min)
        for number, edit in enumerate(edits, start=1):
            unknown = next((alias for alias in edit.aliases if alias not in memory), None)
            if unknown:
                raise ValueError(f"line {number}: no memory is called {unknown}; add it to memory, or correct the line")
            for quote in edit.quotes:
                try:
                    find_evidence(quote, said)
                except ValueError as error:
                    raise ValueError(f"line {number}: {error}: {_short(quote)}; copy the user's own words") from error
        return edits

    @field_serializer("edits")
    def _lines(self, edits: tuple[Edit, ...]) -> list[str]:
        return [format_edit(edit) for edit in edits] or ["="]


def _edit(line: Any, number: int) -> Edit:
    if isinstance(line, Edit):
        return line
    if not isinstance(line, str) or "\n" in line:
        raise ValueError(f"line {number}: is no text of one line; write one edit a line")
    try:
        parsed = parse_edits(line)
    except OutputError as error:
        raise ValueError(f"line {number}: {str(error).removeprefix('line 1: ')}; correct it") from error
    if not parsed.edits:
        raise ValueError(f"line {number}: = stands beside other lines; leave it out")
    return parsed.edits[0]


class PairExample(Example):
    """Two answers to one prompt, of which one is better."""

    prompt: Annotated[tuple[Message, ...], AfterValidator(_messages)]
    chosen: Text
    rejected: Text
    weight: float = Field(default=1.0, gt=0, allow_inf_nan=False)

    @field_validator("rejected")
    @classmethod
    def _another(cls, rejected: str, info: ValidationInfo) -> str:
        if rejected == info.data.get("chosen"):
            raise ValueError("is the same text as chosen; nothing can be learned from it: leave the pair out")
        return rejected


class Examples(NamedTuple):
    """What a file holds, each kind in the order of its lines."""

    histories: Sequence[History] = ()
    edits: Sequence[EditExample] = ()
    pairs: Sequence[PairExample] = ()


# -- reading and writing ---------------------------------------------------------------------------------------------


def read_examples(path: str | Path) -> Examples:
    """All examples of a file, or of the *.jsonl in a folder, in the order of their names.

    Raises:
        TrainingDataError: "file:line: field: what is wrong; what to do", for the first thing that is wrong.
    """
    histories: list[History] = []
    edits: list[EditExample] = []
    pairs: list[PairExample] = []
    for where, record in _records(Path(path)):
        own = {name: value for name, value in record.items() if name != "type"}
        # the authored dialogues were written before there was a type
        match record.get("type", "edits" if "edits" in record else None):
            case "history":
                histories.append(_checked(History, own, where))
            case "edits":
                edits.append(edit_example(own, where))
            case "pair":
                pairs.append(_checked(PairExample, own, where))
            case other:
                said = "is missing" if other is None else f"{_short(other)} is unknown"
                raise TrainingDataError(f"{where}: type: {said}; give history, edits or pair")
    if not (histories or edits or pairs):
        raise TrainingDataError(f"{path}: holds no example; write one JSON object a line (docs/training-data.md)")
    return Examples(tuple(histories), tuple(edits), tuple(pairs))


def edit_example(record: Mapping[str, Any], where: str = "record") -> EditExample:
    """An edits record, also one of agentmem/train/data/dialogues.

    Args:
        record: as read from JSON; `family` may stand for `user`, and `negative` says once more that there are no edits.
        where: what an error begins with, as "file:line".

    Raises:
        TrainingDataError: the record is not of the form.
    """
    own = {name: value for name, value in record.items() if name not in ("type", "negative")}
    if "family" in own and "user" not in own:
        own["user"] = own.pop("family")
    example = _checked(EditExample, own, where)
    if record.get("negative", not example.edits) != (not example.edits):
        raise TrainingDataError(f"{where}: negative: is {_short(record['negative'])}, but there are "
                                f"{len(example.edits) or 'no'} edits; correct one of the two")  # fmt: skip
    return example


def write_examples(path: str | Path, examples: Examples) -> None:
    """Write examples as `read_examples` reads them: histories, then edits, then pairs.

    The file takes its name when it is whole, so a stopped write leaves the old one. Raises TrainingDataError when it
    cannot be written, or could not be read again.
    """
    path = Path(path)
    draft = path.with_name(f"{path.name}.part")
    lines = []
    for kind, own in zip(("history", "edits", "pair"), examples, strict=True):
        for example in own:
            fields = {"type": kind, "user": example.user, "split": example.split}
            fields |= example.model_dump(mode="json", exclude_defaults=True)
            _check_texts(fields, f"{path}:{len(lines) + 1}")
            lines.append(json.dumps(fields, ensure_ascii=False) + "\n")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text("".join(lines), "utf-8", newline="\n")
        draft.replace(path)
    except OSError as error:
        raise TrainingDataError(f"{path}: cannot be written ({error.strerror}); choose another place") from error


def _records(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each line's "file:line", and the object on it. Blank lines are no records."""
    if path.is_dir():
        if not (files := sorted(path.glob("*.jsonl"))):
            raise TrainingDataError(f"{path}: holds no *.jsonl; give a JSONL file, or a folder of some")
        for file in files:
            yield from _records(file)
        return
    try:
        with path.open("rb") as file:
            for number, raw in enumerate(file, start=1):
                if raw.strip(b"\xef\xbb\xbf \t\r\n"):
                    yield f"{path}:{number}", _object(raw, f"{path}:{number}")
    except OSError as error:
        raise TrainingDataError(f"{path}: cannot be read ({error.strerror}); give a JSONL file") from error


def _object(raw: bytes, where: str) -> dict[str, Any]:
    try:
        value = json.loads(raw.decode("utf-8-sig"), object_pairs_hook=_without_repeats)
    except UnicodeDecodeError as error:
        raise TrainingDataError(f"{where}: is not UTF-8 text; save the file as UTF-8") from error
    except json.JSONDecodeError as error:
        raise TrainingDataError(f"{where}: is not JSON ({error.msg}); is the line complete?") from error
    except RecursionError as error:
        raise TrainingDataError(f"{where}: is nested too deeply to be an example; correct the line") from error
    except ValueError as error:  # a name given twice, a number of thousands of digits
        raise TrainingDataError(f"{where}: {error}; correct the line") from error
    if not isinstance(value, dict):
        raise TrainingDataError(f"{where}: is a {type(value).__name__}, not an object; write one object a line")
    _check_texts(value, where)
    return value


def _check_texts(value: Any, where: str) -> None:
    for field, text in _texts(value):
        if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
            raise TrainingDataError(f"{where}: {field}: holds a NUL byte or half a surrogate pair; remove it")


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; of a name given twice, JSON would silently keep the last."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice}: is given twice in one object")
    return found


def _texts(value: Any, field: str = "") -> Iterator[tuple[str, str]]:
    """Every text in a JSON value with the name of its field."""
    if isinstance(value, str):
        yield field, value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _texts(name, field)
            yield from _texts(inner, f"{field}.{name}".lstrip("."))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from _texts(inner, f"{field}[{place}]")


E = TypeVar("E", bound=Example)


def _checked(model: type[E], record: Mapping[str, Any], where: str) -> E:
    try:  # as JSON and strictly: dates are texts there, and a text or `true` is no number
        return model.model_validate_json(json.dumps(record), strict=True)
    except ValidationError as error:
        raise TrainingDataError(f"{where}: {_first(error)}") from error


def _first(error: ValidationError) -> str:
    """The first error as "field: what is wrong; what to do"."""
    first = error.errors()[0]
    field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).lstrip(".")
    said = {"missing": "is missing; add it", "extra_forbidden": "is no field of it; correct its name or leave it out"}
    if first["type"] == "value_error":
        text = str(first.get("ctx", {})["error"])
    else:
        wrong = first["msg"][:1].lower() + first["msg"][1:]
        text = said.get(first["type"], f"{_short(first['input'])} is wrong ({wrong}); correct it")
    return f"{field}{text}" if text.startswith("[") else f"{field}: {text}"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:57]}…"
