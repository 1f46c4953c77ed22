"""The Markdown format: what is written reads back, and what a person wrote is kept byte for byte."""

from __future__ import annotations

import random
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentmem.errors import MarkdownError
from agentmem.markdown import dumps, loads
from agentmem.memory import Evidence, Fact, Memory, Preference, StandingInstruction
from agentmem.store.draft import Draft, from_memories

NASTY = [
    *(
        "^p3f9xm",
        " ^f23456",
        "=>",
        " => ",
        "·",
        " · because x",
        '"',
        "\\",
        "- ",
        "# ",
        "<!--",
        "-->",
        "```",
        "🙂",
        "\u2028",
    ),
    *("\x85", "\x00", "---", "version: 3", "stated · confidence 1", "(session a, turn 1)", "always", "'"),
]
FRONT = "---\nformat: agentmem/1\nuser: alice\nversion: 3\n---\n"

texts = st.lists(st.one_of(st.text(max_size=12), st.sampled_from(NASTY)), min_size=1, max_size=5).map("".join)
lines = texts.filter(lambda text: text.split())
dates = st.none() | st.dates()
evidence = st.builds(
    Evidence,
    quote=texts,
    session=lines.map(lambda text: " ".join(text.split())),
    turn=st.integers(0, 10**6),
    context=st.none() | st.integers(0, 99),
)
ids = st.text("23456789abcdefghjkmnpqrstvwxyz", min_size=5, max_size=5)


@st.composite
def memories(draw: st.DrawFn) -> Memory:
    kind = draw(st.sampled_from([Preference, StandingInstruction, Fact]))
    fields = {
        "id": draw(st.sampled_from("pif")) + draw(ids),
        "text": draw(lines),
        "evidence": tuple(draw(st.lists(evidence, max_size=3))),
        "basis": draw(st.sampled_from(["stated", "inferred"])),
        "confidence": draw(st.floats(0, 1)),
        "valid_at": draw(dates),
        "invalid_at": draw(dates),
        "closed_because": draw(st.none() | texts),
        "edited_at": draw(dates),
    }
    if kind is StandingInstruction and draw(st.booleans()):
        fields["when"] = draw(lines.filter(lambda text: "=>" not in " ".join(text.split())))
    return kind(**fields)


several = st.lists(memories(), max_size=6, unique_by=lambda memory: memory.id)


@settings(deadline=None)
@given(several)
def test_what_is_written_reads_back(known: list[Memory]) -> None:
    text = dumps(from_memories(known, "alice", 3))
    read = loads(text)
    assert {memory.id: memory for memory in read.memories} == {memory.id: memory for memory in known}
    assert all(entry.has_id and not entry.notes for entry in read.entries)
    assert dumps(read) == text


@settings(deadline=None)
@given(several, st.sampled_from(["## Food", "## My => notes", "# Top"]))
def test_any_kind_reads_back_from_a_section_of_the_persons_own(known: list[Memory], heading: str) -> None:
    document = loads(FRONT + heading + "\n")
    draft = Draft(document)
    for memory in known:
        draft.put(memory, title=heading.lstrip("# ") if heading.startswith("##") else None)
    read = loads(dumps(draft.document()))
    assert {memory.id: memory for memory in read.memories} == {memory.id: memory for memory in known}


pieces = st.lists(
    st.one_of(
        texts.map(lambda text: text + "\n"),
        st.sampled_from(
            [
                *(
                    "- Likes tea\n",
                    "- Likes tea ^p23456\n",
                    "  - stated · confidence 0.5\r\n",
                    "  a note\n",
                    "\n",
                    "\r\n",
                ),
                *("## Preferences\n", "### deeper\n", "| a | b |\n", "```\n- no memory\n```\n", "<!-- c\n- no -->\n"),
                *("* * *\n", "1. one\n", "- wrapped\n  line ^p34567\n", '\t- "q" (session s, turn 1)\n', "> quote\n"),
            ]
        ),
    ),
    max_size=12,
).map("".join)


@settings(deadline=None, max_examples=300)
@given(pieces, st.sampled_from(["", "\ufeff"]), st.booleans())
def test_text_that_loads_is_given_back_byte_for_byte(body: str, mark: str, crlf: bool) -> None:
    text = mark + FRONT + body
    text = text.replace("\n", "\r\n") if crlf else text
    try:
        document = loads(text)
    except MarkdownError:
        return
    assert dumps(document) == text


@settings(deadline=None)
@given(pieces, memories())
def test_other_text_survives_a_change(body: str, new: Memory) -> None:
    try:
        document = loads(FRONT + body)
    except MarkdownError:
        return
    if new.id in {entry.memory.id for entry in document.entries}:
        return
    draft = Draft(document)
    draft.put(new)
    after = dumps(draft.document())
    left = iter(after)
    assert all(char in left for char in FRONT + body)  # nothing lost, nothing reordered
    assert new in loads(after).memories
    again = Draft(loads(after))
    again.drop(new.id)
    assert all(entry.raw in after for entry in document.entries)


def test_lines_of_a_person() -> None:
    body = (
        "\n## standing instructions\n- booking flights => aisle seat\n- Answer in French\n"
        "\n## Preferences\n* Likes tea ^p23456\n\n  a paragraph of mine\n"
        "\n## About\n- Lives in Porto ^f23456\n  - since spring\n\n## Food\n- No nuts\n- when cooking => weigh\n"
    )
    read = loads(FRONT + body, rng=random.Random(1))
    flights, french, tea, porto, nuts, cooking = read.entries
    assert isinstance(flights.memory, StandingInstruction) and flights.memory.when == "booking flights"
    assert isinstance(french.memory, StandingInstruction) and french.memory.when == "always"
    assert tea.memory.id == "p23456" and tea.notes == "\n  a paragraph of mine\n" and not tea.has_details
    assert porto.memory.kind == "fact" and porto.notes == "  - since spring\n"
    assert nuts.memory.kind == "preference" and not nuts.has_id
    assert isinstance(cooking.memory, StandingInstruction) and cooking.memory.text == "weigh"


def test_a_doubled_id_stays_with_the_first_line() -> None:
    read = loads(FRONT + "## About\n- One ^f23456\n- Two ^f23456\n- Three\n")
    assert [entry.has_id for entry in read.entries] == [True, False, False]
    assert len({memory.id for memory in read.memories}) == 3


def test_a_line_that_an_editor_wrapped_is_one_memory() -> None:
    [entry] = loads(
        FRONT + "## About\n- Lives in\n  Porto with two\n  cats. ^f23456\n  - stated · confidence 0.5\n"
    ).entries
    assert entry.memory == Fact(id="f23456", text="Lives in Porto with two cats.", confidence=0.5)


def test_the_form_of_the_specification() -> None:
    memory = StandingInstruction(
        id="i7f3ak",
        when="booking flights",
        text="Choose an aisle seat.",
        evidence=(Evidence(quote="aisle seat please", session="2026-03-02-9f2c11aa", turn=4, context=3),),
        confidence=0.95,
        valid_at=date(2026, 3, 2),
    )
    assert (
        "## Standing instructions\n\n- booking flights => Choose an aisle seat. ^i7f3ak\n"
        '  - "aisle seat please" (session 2026-03-02-9f2c11aa, turn 4, answering turn 3)\n'
        "  - stated · confidence 0.95 · since 2026-03-02\n\n## Preferences\n"
    ) in dumps(from_memories([memory], "alice", 7))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "memory.md:1: no front matter"),
        ("- Likes tea\n", "memory.md:1: no front matter; put the lines '---', 'format: agentmem/1'"),
        ("---\nformat: agentmem/1\nuser: a\nversion: 1\n", "memory.md:1: the front matter is not closed"),
        ("---\nformat: agentmem/2\nuser: a\nversion: 1\n---\n", "memory.md:2: format is 'agentmem/2'"),
        ("---\nformat: agentmem/1\nuser: a\n---\n", "memory.md:1: the front matter has no 'version:'"),
        ("---\nformat: agentmem/1\nuser: a\nversion: x\n---\n", "version is 'x', not a whole number"),
        ("---\nformat: agentmem/1\nuser: a\nversion: 1\nversion: 2\n---\n", "memory.md:5: a second 'version:'"),
        (FRONT.replace("alice", "bob"), "memory.md:3: belongs to user 'bob', not 'alice'"),
        (FRONT + "<!-- oops\n- Likes tea\n", "memory.md:6: this comment is never closed"),
        (FRONT + "\n```\n- Likes tea\n", "memory.md:7: this code block is never closed"),
        (FRONT + "<<<<<<< HEAD\n", "memory.md:6: a conflict marker"),
        (FRONT + "- ^p23456\n", "memory.md:6: the line of ^p23456 has no text"),
    ],
)
def test_a_broken_file_is_refused_with_place_and_fix(text: str, says: str) -> None:
    with pytest.raises(MarkdownError, match=r"^memory\.md:\d+: .+[;,] .+") as caught:
        loads(text, user="alice")
    assert says in str(caught.value)


def test_a_detail_line_that_does_not_parse_is_the_persons_note() -> None:
    odd = '  - stated · confidence 9\n  - "broken (session x, turn 1)\n  - stated · since 2026-13-40\n'
    [entry] = loads(FRONT + "## About\n- Lives in Porto ^f23456\n" + odd).entries
    assert entry.notes == odd and not entry.has_details
