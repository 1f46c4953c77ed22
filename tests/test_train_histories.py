"""The format of training data: what is read, what is refused, how it is split and cut, and what leaks."""

from __future__ import annotations

import json
import re
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentmem.errors import AgentMemError, ConfigError, TrainingDataError
from agentmem.memory import one_line
from agentmem.policy.edits import parse_edits
from agentmem.route import MESSAGE_TOKENS, count_tokens
from agentmem.session import Message, Session
from agentmem.train.histories import (
    EditExample,
    Examples,
    History,
    PairExample,
    Probe,
    edit_example,
    read_examples,
    write_examples,
)
from agentmem.train.judges.records import records as records_of
from agentmem.train.leaks import leaks, strip_system
from agentmem.train.splits import chunks, split_users

HOME = Path(__file__).parent.parent
DIALOGUES = HOME / "agentmem" / "train" / "data" / "dialogues"

HISTORY: dict[str, Any] = {
    "type": "history",
    "user": "ana",
    "sessions": [
        {"id": "s1", "date": "2026-03-01", "messages": [{"role": "user", "content": "I pick olives off my pizza."}]},
        {"id": "s2", "date": "2026-03-09", "messages": [{"role": "user", "content": "We moved to Porto."}]},
    ],
    "probes": [
        {"id": "a", "question": "Which pizza tonight?", "options": ["No olives.", "Olives."], "right": 0, "after": 1},
        {"id": "b", "question": "In what city do I live?", "answer": "Porto", "kind": "update"},
    ],
}
EDITS: dict[str, Any] = {
    "type": "edits",
    "user": "ben",
    "memory": {"f1": "Works as a baker."},
    "messages": [{"role": "user", "content": "I sold the bakery."}, {"role": "assistant", "content": "Well done."}],
    "edits": ['- f1 | "I sold the bakery."'],
}
PAIR: dict[str, Any] = {
    "type": "pair",
    "user": "cleo",
    "prompt": [{"role": "user", "content": "What now?"}],
    "chosen": "Hiking.",
    "rejected": "No idea.",
}


def written(folder: Path, *records: Any) -> Path:
    path = folder / "data.jsonl"
    path.write_text("".join(f"{one if isinstance(one, str) else json.dumps(one)}\n" for one in records), "utf-8")
    return path


def changed(record: dict[str, Any], field: str, value: Any) -> dict[str, Any]:
    """A copy with the field (as "probes.0.right") set; None takes it away."""
    copy = json.loads(json.dumps(record))
    *above, last = field.split(".")
    inner: Any = copy
    for part in above:
        inner = inner[int(part) if part.isdigit() else part]
    if value is None:
        del inner[last]
    else:
        inner[int(last) if last.isdigit() else last] = value
    return copy


def history(user: str, *texts: str, probes: tuple[Probe, ...] = (), **fields: Any) -> History:
    """A history of one session, in which the user says these texts."""
    messages = tuple(Message(role="user", content=text) for text in texts)
    asked = probes or (Probe(id="p", question=f"What is on the mind of {user} today?", answer=user),)
    return History(user=user, sessions=(Session(id="s", messages=messages),), probes=asked, **fields)


# -- reading ---------------------------------------------------------------------------------------------------------


def test_the_three_types_are_read(tmp_path: Path) -> None:
    found = read_examples(written(tmp_path, HISTORY, "", EDITS, PAIR))
    (own,), (edits,), (pair,) = found
    assert (own.user, own.split, own.sessions[1].date) == ("ana", "train", date(2026, 3, 9))
    assert [(one.gold, one.after, one.kind) for one in own.probes] == [("No olives.", 1, ""), ("Porto", None, "update")]
    assert edits.edits == parse_edits(EDITS["edits"][0]).edits
    assert (pair.chosen, pair.weight) == ("Hiking.", 1.0)


def test_the_document_shows_lines_that_can_be_read(tmp_path: Path) -> None:
    text = (HOME / "docs" / "training-data.md").read_text("utf-8")
    (lines,) = re.findall(r"^```jsonl\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    found = read_examples(written(tmp_path, lines))
    assert [len(own) for own in found] == [1, 1, 1] and leaks(found) == []
    fields = {name for model in (History, Probe, EditExample, PairExample) for name in model.model_fields}
    assert all(f"`{name}`" in text for name in fields - {"id", "question"})


def test_of_a_folder_all_files_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name, said in (("b", "second"), ("a", "first")):
        line = {"user": name, "messages": [{"role": "user", "content": said}], "edits": ["="]}
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(line) + "\n", "utf-8")
    (tmp_path / "notes.txt").write_text("none", "utf-8")
    assert [one.messages[0].content for one in read_examples(tmp_path).edits] == ["first", "second"]
    (tmp_path / "b.jsonl").write_text("{", "utf-8")
    with pytest.raises(TrainingDataError, match=r"b\.jsonl:1"):
        read_examples(tmp_path)


def test_the_authored_dialogues_are_edits() -> None:
    found = read_examples(DIALOGUES)
    records = records_of("dialogues")
    assert len(found.edits) == len(records) and not found.histories
    assert found.edits[0] == edit_example(records[0])
    assert [one.user for one in found.edits] == [record["family"] for record in records]
    assert [not one.edits for one in found.edits] == [record["negative"] for record in records]
    train, test = split_users(found.edits, 0.15)
    assert leaks(Examples(edits=[*train, *test])) == []


ONE = HISTORY["sessions"][0]


@pytest.mark.parametrize(
    ("record", "field", "value", "said"),
    [
        (HISTORY, "type", "story", 'type: "story" is unknown; give history, edits or pair'),
        (HISTORY, "type", None, "type: is missing; give history, edits or pair"),
        (HISTORY, "name", "x", "name: is no field of it; correct its name or leave it out"),
        (HISTORY, "user", 7, "user: 7 is wrong (input should be a valid string); correct it"),
        (HISTORY, "user", " ", "user: ' ' is no name; give one line"),
        (HISTORY, "split", "dev", "split: \"dev\" is wrong (input should be 'train' or 'test')"),
        (HISTORY, "probes", None, "probes: is missing; add it"),
        (HISTORY, "probes", [], "probes: none; without a question a history teaches nothing"),
        (HISTORY, "probes.1.id", "a", 'probes: the id "a" is given twice'),
        (HISTORY, "probes.0.question", " ", "probes[0].question: is empty; fill it in"),
        (HISTORY, "probes.0.right", None, "probes[0].right: is missing; give the place of the right option"),
        (HISTORY, "probes.0.right", 2, "probes[0].right: 2 is none of the 2 options, counted from 0"),
        (HISTORY, "probes.0.right", -1, "probes[0].right: -1 is none of the 2 options"),
        (HISTORY, "probes.0.right", True, "probes[0].right: true is wrong (input should be a valid integer)"),
        (HISTORY, "probes.1.right", 0, "probes[1].right: 0 is none of the 0 options"),
        (HISTORY, "probes.0.options.1", "No  olives.", 'probes[0].options: the option "No olives." is given twice'),
        (HISTORY, "probes.0.options.1", "", "probes[0].options[1]: is empty"),
        (HISTORY, "probes.0.options", ["Olives."], "probes[0].options: has one option; give two or more"),
        (HISTORY, "probes.0.answer", "None.", "probes[0].answer: stands beside options; give one of the two"),
        (HISTORY, "probes.1.answer", None, "probes[1].answer: is missing; give an answer, or options"),
        (HISTORY, "probes.1.after", 3, "probes[1].after: 3 is more than the 2 sessions; correct it"),
        (HISTORY, "probes.1.after", 0, "probes[1].after: 0 is wrong"),
        (HISTORY, "sessions", [], "sessions: none; give one at least"),
        (HISTORY, "sessions.1", ONE, 'sessions: the id "s1" is given twice'),
        (HISTORY, "sessions.1.messages", [], "sessions[1]: has no message with words in it; give its messages"),
        (HISTORY, "sessions.1.messages.0.content", " ", "sessions[1]: has no message with words in it"),
        (HISTORY, "sessions.1.messages.0.role", "bot", 'sessions[1].messages[0].role: "bot" is wrong'),
        (HISTORY, "sessions.1.date", "2026-02-01", "sessions: s2 of 2026-02-01 stands after s1 of 2026-03-01; order"),
        (HISTORY, "sessions.1.date", 86400, "sessions[1].date: 86400 is wrong"),
        (HISTORY, "sessions.1.id", "a\nb", "sessions[1]: 'a\\nb' is no name"),
        (EDITS, "edits", [], "edits: is empty; give the line = where there is nothing to remember"),
        (EDITS, "edits.0", "remember this", "edits: line 1: begins with none of + ~ - x =: remember this; correct it"),
        (EDITS, "edits", [*EDITS["edits"], "="], "edits: line 2: = stands beside other lines; leave it out"),
        (EDITS, "edits", ["=\n="], "edits: line 1: is no text of one line; write one edit a line"),
        (EDITS, "edits.0", '- f2 | "I sold the bakery."', "edits: line 1: no memory is called f2; add it to memory"),
        (EDITS, "edits.0", '- f1 | "Sold."', 'line 1: the quote is in no message of the user: "Sold."; copy'),
        (EDITS, "edits.0", '- f1 | "Well done."', "edits: line 1: the quote was not said by the user"),
        (EDITS, "memory", {"m1": "x"}, "memory: 'm1' is no alias; name memories p1, i1, f1"),
        (EDITS, "messages", [], "messages: has no message with words in it"),
        (EDITS, "negative", True, "negative: is true, but there are 1 edits; correct one of the two"),
        (EDITS, "family", "x", "family: is no field of it"),
        (PAIR, "rejected", "Hiking.", "rejected: is the same text as chosen"),
        (PAIR, "weight", 0, "weight: 0 is wrong (input should be greater than 0); correct it"),
        (PAIR, "weight", float("nan"), "weight: NaN is wrong (input should be a finite number)"),
        (PAIR, "chosen", "a\0b", "chosen: holds a NUL byte or half a surrogate pair; remove it"),
        (PAIR, "prompt.0.content", "\ud83d", "prompt[0].content: holds a NUL byte or half a surrogate pair"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, record: dict[str, Any], field: str, value: Any, said: str) -> None:
    path = written(tmp_path, PAIR, "", changed(record, field, value))
    with pytest.raises(TrainingDataError) as caught:
        read_examples(path)
    message = str(caught.value)
    assert message.startswith(f"{path}:3: ") and said in message and "\n" not in message


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", ":1: is not JSON ("),
        ("[1]", ":1: is a list, not an object; write one object a line"),
        ('{"user": "a", "user": "b"}', ":1: user: is given twice in one object"),
        ("[" * 100_000, ":1: is nested too deeply"),
        ('{"a": ' + "9" * 5000 + "}", ":1: Exceeds the limit"),
        ("\n \n", ": holds no example; write one JSON object a line"),
    ],
)
def test_what_is_no_record_is_named(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(TrainingDataError, match=re.escape(said)):
        read_examples(written(tmp_path, line))


def test_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    for path, said in ((tmp_path, "holds no"), (tmp_path / "none.jsonl", "cannot be read")):
        with pytest.raises(TrainingDataError, match=f"{path}: {said} .*; give a JSONL file"):
            read_examples(path)
    latin = tmp_path / "latin.jsonl"
    latin.write_bytes(b'\n{"user": "Ren\xe9"}\n')
    with pytest.raises(TrainingDataError, match="latin.jsonl:2: is not UTF-8 text"):
        read_examples(latin)
    for content in ("a\0b", "\ud83d"):
        with pytest.raises(TrainingDataError, match=r"out.jsonl:1: sessions\[0\].messages\[0\].content: holds a NUL"):
            write_examples(tmp_path / "out.jsonl", Examples([history("ana", content)]))
    with pytest.raises(TrainingDataError, match="cannot be written"):
        write_examples(latin / "below.jsonl", Examples())


def test_a_byte_order_mark_and_windows_line_ends_are_no_matter(tmp_path: Path) -> None:
    path = tmp_path / "bom.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(PAIR).encode() + b"\r\n\r\n")
    assert len(read_examples(path).pairs) == 1


# -- laws ------------------------------------------------------------------------------------------------------------

LETTER = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
LABEL = st.text(LETTER, max_size=3)
TEXT = st.text(LETTER, min_size=1, max_size=40).filter(str.strip)
NAME = TEXT.map(one_line).filter(bool)
MESSAGE = st.builds(Message, role=st.sampled_from(["user", "assistant"]), content=TEXT, at=st.none() | st.datetimes())


@st.composite
def histories(draw: st.DrawFn) -> History:
    days = sorted(draw(st.lists(st.dates(date(2026, 1, 1), date(2026, 1, 4)), min_size=1, max_size=6)))
    sessions = tuple(
        Session(id=f"s{place}", date=draw(st.sampled_from([day, None])),
                messages=tuple(draw(st.lists(MESSAGE, min_size=1, max_size=4))))
        for place, day in enumerate(days)
    )  # fmt: skip
    after = st.none() | st.integers(1, len(sessions))
    free = st.builds(Probe, id=st.just("free"), question=TEXT, answer=TEXT, after=after, kind=LABEL)
    options = st.lists(TEXT, min_size=2, max_size=4, unique_by=one_line)
    chosen = options.map(lambda own: Probe(id="chosen", question="Which?", options=tuple(own), right=len(own) - 1))
    return History(
        user=draw(NAME),
        split=draw(st.sampled_from(["train", "test"])),
        sessions=sessions,
        probes=(draw(free), draw(chosen).model_copy(update={"after": draw(after)})),
    )


EDIT_EXAMPLE = st.builds(
    EditExample, user=NAME, date=st.none() | st.dates(), memory=st.just({"f1": "Bakes.", "p2": "Likes rye."}),
    messages=st.just((Message(role="user", content='I sold "it" | to Ben.'),)), note=LABEL,
    edits=st.sampled_from([("=",), ('x f1 | "I sold \\"it\\" | to"', '+ fact?: Sold. | "Ben." @2026-01-02')]),
)  # fmt: skip
PAIR_EXAMPLE = st.builds(
    PairExample, user=NAME, prompt=st.tuples(MESSAGE), chosen=st.just("yes"), rejected=st.just("no"),
    weight=st.floats(0.01, 9),
)  # fmt: skip


@settings(max_examples=50, deadline=None)
@given(st.lists(histories(), max_size=2), st.lists(EDIT_EXAMPLE, max_size=2), st.lists(PAIR_EXAMPLE, max_size=2))
def test_what_is_written_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, own: Any, edits: Any, pairs: Any
) -> None:
    path = tmp_path_factory.mktemp("law") / "new" / "data.jsonl"
    examples = Examples(tuple(own), tuple(edits), tuple(pairs))
    write_examples(path, examples)
    assert [one.name for one in path.parent.iterdir()] == ["data.jsonl"]
    if any(examples):
        assert read_examples(path) == examples
    else:
        assert path.read_text("utf-8") == ""


@settings(max_examples=50, deadline=None)
@given(histories(), st.integers(1, 60), st.booleans())
def test_chunks_hold_every_message_once_and_in_order(own: History, tokens: int, mix: bool) -> None:
    found = chunks(own, tokens, mix_dates=mix)
    said = [(session.date_of(turn), message.role, message.content)
            for session in own.sessions for turn, message in enumerate(session.messages)]  # fmt: skip
    assert [(chunk.session.date_of(turn), message.role, message.content)
            for chunk in found for turn, message in enumerate(chunk.session.messages)] == said  # fmt: skip
    if not mix:
        assert [one for chunk in found for one in chunk.session.messages] == [
            one for session in own.sessions for one in session.messages
        ]
    for chunk in found:
        sizes = [count_tokens(one.content) + MESSAGE_TOKENS for one in chunk.session.messages]
        assert sizes and (sum(sizes) <= tokens or len(sizes) == 1)
    assert len({chunk.session.id for chunk in found}) == len(found)
    # where a probe is asked, exactly its sessions have been read
    read = 0
    for chunk in found:
        read += len(chunk.session.messages)
        for probe in chunk.probes:
            assert read == sum(len(session.messages) for session in own.sessions[: probe.after])
    assert sorted(probe.id for chunk in found for probe in chunk.probes) == ["chosen", "free"]


# -- splits and chunks -----------------------------------------------------------------------------------------------


def test_a_split_keeps_users_whole_and_does_not_depend_on_others() -> None:
    many = [history(f"u{number % 200}", f"text {number}") for number in range(400)]
    train, test = split_users(many, 0.25, seed=3)
    assert {one.user for one in train}.isdisjoint(one.user for one in test) and len(train) + len(test) == 400
    assert 30 <= len({one.user for one in test}) <= 70
    assert {one.split for one in train} == {"train"} and {one.split for one in test} == {"test"}
    assert split_users(many, 0.25, seed=3) == (train, test) != split_users(many, 0.25, seed=4)
    fewer, held_out = split_users(many[:150], 0.25, seed=3)
    assert set(map(str, fewer)) <= set(map(str, train)) and set(map(str, held_out)) <= set(map(str, test))
    for share in (0.001, 0.999):  # no side is empty
        assert all(split_users(many[:2], share))


def test_one_user_cannot_be_split() -> None:
    with pytest.raises(TrainingDataError, match="mine.jsonl: all are of one user, 'ana'; a split needs two users"):
        split_users([history("ana", "x"), history("ana", "y")], 0.5, where="mine.jsonl")
    with pytest.raises(AgentMemError, match="there are none; a split needs"):
        split_users([], 0.5)
    for share in (0, 1, float("nan")):
        with pytest.raises(ConfigError, match="must lie between 0 and 1"):
            split_users([history("ana", "x"), history("ben", "y")], share)


def test_chunks_by_hand() -> None:
    """Each message costs 4 + 4 tokens."""

    def session(id: str, day: int | None, count: int) -> Session:
        messages = tuple(Message(role="user", content=f"{id:<14}{n:02}") for n in range(count))
        return Session(id=id, date=date(2026, 1, day) if day else None, messages=messages)

    own = History(
        user="ana",
        sessions=(session("a", 1, 1), session("b", 1, 1), session("c", 2, 1), session("d", 2, 5), session("e", None, 1),
                  session("f", None, 1), session("g", None, 1)),
        probes=(Probe(id="p", question="Why?", answer="So.", after=6),),
    )  # fmt: skip

    def cut(**how: Any) -> list[tuple[str, int, int]]:
        return [(one.session.id, len(one.session.messages), len(one.probes)) for one in chunks(own, **how)]

    parts = [("d/1", 2, 0), ("d/2", 2, 0), ("d/3", 1, 0)]
    assert cut(tokens=16) == [("a..b", 2, 0), ("c", 1, 0), *parts, ("e..f", 2, 1), ("g", 1, 0)]
    assert cut(tokens=64) == [("a..b", 2, 0), ("c..d", 6, 0), ("e..f", 2, 1), ("g", 1, 0)]
    assert cut(tokens=64, mix_dates=True) == [("a..d", 8, 0), ("e..f", 2, 1), ("g", 1, 0)]
    assert [one.session.date for one in chunks(own, 64)] == [date(2026, 1, 1), date(2026, 1, 2), None, None]
    with pytest.raises(ConfigError, match="tokens 0"):
        chunks(own, 0)


# -- leaks -----------------------------------------------------------------------------------------------------------

LONG_QUESTION = "Which of the two ferries across the fjord should I book for the dog and me?"


def lines(examples: Examples, other: Examples | None = None) -> list[str]:
    found = [str(leak) for leak in leaks(examples, other)]
    assert all("\n" not in line for line in found)
    return found


def asked(question: str = LONG_QUESTION, answer: str = "the slow one") -> tuple[Probe, ...]:
    return (Probe(id="p", question=question, answer=answer),)


def test_clean_examples_have_no_leaks() -> None:
    train = history("ana", "I get seasick on fast boats.", probes=asked())
    test = history("ben", "My cat hates trains.", split="test")
    assert lines(Examples([train, test])) == [] == lines(Examples([train]), Examples([test]))
    assert lines(Examples()) == []


def test_users_on_both_sides_are_found() -> None:
    train = history("ana", "I get seasick on fast boats.")
    same = history("ana", "My cat hates trains.", split="test")
    assert "user ana: is in train and in test; give each user one side" in lines(Examples([train, same]))
    other = Examples([history("ana", "Something else.")])
    assert "user ana: is in both files; give each user one side" in lines(Examples([train]), other)
    edits = EditExample(user="ana", split="test", messages=(Message(role="user", content="Hello."),), edits=())
    assert lines(Examples([train], [edits])) == ["user ana: is in train and in test; give each user one side"]


def test_a_user_under_two_names_is_found() -> None:
    train = history("ana", "I get seasick.", "My cat hates trains.", "I live in Bergen.", "Good morning!")
    test = history("ben", "i get seasick", "My cat hates trains.", "Good  morning!", "New here.", split="test")
    (line,) = lines(Examples([train, test]))
    assert line.startswith("users ana and ben: share 3 of 4 user messages, so one user is in train and in test")
    half = history("ben", "I get seasick.", "My cat hates trains.", "Nothing.", "New here.", split="test")
    assert lines(Examples([train, half])) == []


@pytest.mark.parametrize(
    ("message", "question", "said"),
    [
        (f"By the way: {LONG_QUESTION.upper()} Thanks.", LONG_QUESTION, "its question stands in session s, message 1"),
        ("ferries across the fjord should I book for the dog, you think?", LONG_QUESTION, "9 words of its question"),
        ("ferries across the fjord should I book for our dog, you think?", LONG_QUESTION, ""),
        ("And now?", "And now?", "its question stands"),
        ("And now? I said.", "And now?", ""),
        ("What do I drink? Tea.", "What do I drink?", "by the user (“what do i drink”); reword it"),
        ("What do I drink? The slow one.", "What do I drink?", "with its answer; reword it, or leave it out"),
        ("Where do my two dogs sleep? Right: the slow one.", "Where do my dogs sleep?", "asks nearly the same, with"),
        ("Where do my two dogs sleep?", "Where do my dogs sleep?", ""),
        ("I love the slow one.", "Where do my dogs sleep?", ""),
    ],
)
def test_questions_in_their_history_are_found(message: str, question: str, said: str) -> None:
    found = lines(Examples([history("ana", "Hm.", message, probes=asked(question))]))
    assert len(found) == bool(said)
    assert all(line.startswith("user ana, probe p: ") and said in line for line in found)


def test_the_answer_in_the_next_message_counts() -> None:
    (line,) = lines(Examples([history("ana", LONG_QUESTION, "Take the slow one.", probes=asked())]))
    assert "its question stands in session s, message 0, by the user" in line and "with its answer" in line


def test_system_messages_are_found_and_stripped() -> None:
    told = Session(id="t", messages=(Message(role="system", content="The user is a sailor."),))
    mixed = Session(id="m", messages=(*told.messages, Message(role="user", content="Ahoy.")))
    probes = (Probe(id="p", question=LONG_QUESTION, answer="x", after=2), Probe(id="q", question="Who?", answer="y"))
    own = History(user="ana", sessions=(told, mixed), probes=probes)
    edits = EditExample(user="ben", messages=mixed.messages, edits=())
    examples = Examples([own], [edits])
    assert lines(examples) == [
        "user ana: 2 system messages in what a policy reads; take them out (strip_system)",
        "user ben: 1 system messages in what a policy reads; take them out (strip_system)",
    ]
    clean = strip_system(examples)
    assert lines(clean) == [] and [one.id for one in clean.histories[0].sessions] == ["m"]
    assert [one.after for one in clean.histories[0].probes] == [1, None]
    assert [one.content for one in clean.edits[0].messages] == ["Ahoy."]
    early = own.model_copy(update={"probes": (probes[0].model_copy(update={"after": 1}),)})
    for wrong in (early, own.model_copy(update={"sessions": (told,), "probes": probes[1:]})):
        with pytest.raises(TrainingDataError, match="only system messages come before it"):
            strip_system(Examples([wrong]))


def test_a_question_in_anybodys_system_message_is_found() -> None:
    pair = PairExample(user="cleo", prompt=(Message(role="system", content=f"Expect: {LONG_QUESTION}"),),
                       chosen="a", rejected="b")  # fmt: skip
    own = Examples([history("ana", "Hm.", probes=asked())])
    (line,) = lines(own, Examples(pairs=[pair]))
    assert line.startswith("user ana, probe p: its question stands in a system message of user cleo")
    assert lines(Examples(own.histories, pairs=[pair])) == [line]


def test_options_that_can_be_guessed_are_found() -> None:
    def one(number: int, options: tuple[str, ...], right: int) -> History:
        probe = Probe(id="p", question=f"Which of {number}?", options=options, right=right)
        return history(f"u{number}", f"Text {number}.", probes=(probe,))

    longest = [one(n, ("a", "b", "a long one", "c"), 2) for n in range(8)] + [one(9, ("no", "b", "a long one"), 0)]
    (line,) = lines(Examples(longest))
    assert line.startswith("train, 9 probes with options: the longest option is right for 89% (chance 26%); make")
    first = [one(n, ("as", "is", "it", "so"), 0) for n in range(8)]
    assert lines(Examples(first)) == [
        "train, 8 probes with options: the first option is right for 100% (chance 25%); shuffle them"
    ]
    assert lines(Examples([one(n, ("as", "is", "it", "so"), n % 4) for n in range(8)])) == []
    assert lines(Examples(longest[:1])) == []  # one probe shows nothing


def test_the_same_probe_on_both_sides_is_found() -> None:
    train = history("ana", "I get seasick.", probes=asked())
    test = history("ben", "Cats.", probes=asked(LONG_QUESTION.lower(), "The slow one."), split="test")
    (line,) = lines(Examples([train, test]))
    assert line.startswith("user ana, probe p: has question and answer of user ben, probe p, so it is in train and in")
    other = history("ben", "Cats.", probes=asked(answer="the fast one"), split="test")
    assert lines(Examples([train, other])) == []
