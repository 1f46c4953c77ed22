"""The action language: reading, writing, the grammar, and from edits to ops."""

from __future__ import annotations

import json
import random
import re
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_gguf import write_tiny_gguf

from agentmem.errors import OutputError
from agentmem.memory import Add, Close, Fact, Forget, Preference, StandingInstruction, Update, full_text
from agentmem.models.local import LocalChatModel
from agentmem.policy import Edit, Observation
from agentmem.policy.edits import format_edits, grammar, parse_edits
from agentmem.policy.resolve import aliases_of, render_observation, to_ops
from agentmem.session import make_session

LINES = '''+ instruction: converting amounts => use euros. | "prices in euros please, I live in Lyon"
+ fact: Lives in Lyon. | "I live in Lyon"
+ preference?: Likes vegetarian food. | "I'll take the salad bar" | "no steak house please"
~ p1: Wants at most two sentences. | "shorter! two sentences max"
~ p1 p4: Wants short answers in plain words. | "short, and no jargon"
- f3 | "we moved to Porto last week" @2026-09-02
x f7 | "please forget my diagnosis"
x | "forget that I ever said \\"dance\\""'''

KNOWN = (
    Preference(id="p23456", text="Wants short answers."),
    StandingInstruction(id="i23456", when="booking flights", text="Aisle seat."),
    Fact(id="f23456", text="Lives in Lyon."),
)
TALK = [
    {"role": "user", "content": "Which hotel? I live in Lyon."},
    {"role": "assistant", "content": "1. The loud one\n2. The quiet one. You should always choose the quiet one."},
    {"role": "user", "content": "Option 2 please. It’s  “quiet”, and\nI sleep badly."},
]


def observe(start: int = 0, **more: Any) -> Observation:
    session = make_session(TALK, id="s", date=date(2026, 5, 1))
    return Observation(memories=KNOWN, session=session, start=start, today=date(2026, 6, 1), **more)


def ops_of(lines: str, observation: Observation | None = None) -> tuple[list, list]:
    return to_ops(parse_edits(lines).edits, observation or observe(), rng=random.Random(0))


def test_every_form_of_the_language_is_read_and_written_back() -> None:
    edits, problems = parse_edits(LINES)
    assert problems == ()
    assert [edit.sign for edit in edits] == list("+++~~-xx")
    assert (edits[0].when, edits[0].text) == ("converting amounts", "use euros.")
    assert edits[2].inferred and len(edits[2].quotes) == 2
    assert edits[4].aliases == ("p1", "p4")
    assert edits[5].day == date(2026, 9, 2)
    assert edits[7].aliases == () and edits[7].quotes == ('forget that I ever said "dance"',)
    assert format_edits(edits) == LINES
    assert parse_edits("=") == ((), ())


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("+ fact: Lives in Lyon.", "no evidence"),
        ('+ opinion: x | "y"', "not of the form of a + line"),
        ("+ fact: x | y", "the quote is no JSON string"),
        ('+ fact: x | ""', "the quote is empty"),
        ('+ fact: x | "y" and more', "only @YYYY-MM-DD may follow"),
        ('+ fact: x | "y" @2026-13-45', "month must be in 1..12"),
        ('+ instruction: a => b => c | "y"', "more than one =>"),
        ('+ instruction: => b | "y"', "nothing to remember"),
        ('- everything | "y"', "not of the form of a - line"),
        ("Sure, here are the edits:", "begins with none of"),
    ],
)
def test_what_cannot_be_read_is_named_and_nothing_else_is_lost(line: str, reason: str) -> None:
    edits, problems = parse_edits(f'+ fact: Lives in Lyon. | "I live in Lyon"\n{line}\n')
    assert len(edits) == 1
    assert len(problems) == 1 and problems[0].startswith("line 2: ") and reason in problems[0]


@pytest.mark.parametrize("answer", ["", "   \n", "I could not find any preferences.", "```\nnothing\n```", "{}"])
def test_an_unreadable_answer_is_never_an_empty_result(answer: str) -> None:
    with pytest.raises(OutputError) as caught:
        parse_edits(answer)
    assert caught.value.raw == answer


def test_the_wrapping_that_models_add_is_looked_through() -> None:
    assert len(parse_edits('```text\n1. + fact: Lives in Lyon. | "I live in Lyon"\n```').edits) == 1


TEXT = st.text(st.characters(blacklist_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=20).map(
    lambda text: " ".join(text.split())
)
ARROWS = st.sampled_from(["x => x", "a | b => c", "=> y"])  # as users type them, in code
SAID = ARROWS | TEXT.filter(lambda text: bool(text.strip()))
QUOTES = st.lists(
    st.text(st.characters(blacklist_categories=["Cs"]), min_size=1).filter(str.strip), min_size=1, max_size=3
).map(tuple)
DAYS = st.none() | st.dates(min_value=date(1000, 1, 1))
EDITS = st.one_of(
    st.builds(
        Edit,
        sign=st.just("+"),
        kind=st.sampled_from(["preference", "fact"]),
        inferred=st.booleans(),
        text=SAID,
        quotes=QUOTES,
        day=DAYS,
    ),
    st.builds(
        Edit,
        sign=st.just("+"),
        kind=st.just("instruction"),
        inferred=st.booleans(),
        when=SAID,
        text=SAID,
        quotes=QUOTES,
        day=DAYS,
    ),
    st.builds(
        Edit,
        sign=st.just("~"),
        aliases=st.just(("p1", "f12")),
        when=st.none() | SAID,
        text=SAID,
        quotes=QUOTES,
        day=DAYS,
    ),
    st.builds(Edit, sign=st.just("-"), aliases=st.just(("f3",)), quotes=QUOTES, day=DAYS),
    st.builds(Edit, sign=st.just("x"), aliases=st.sampled_from([(), ("f3",)]), quotes=QUOTES, day=DAYS),
)


@given(st.lists(EDITS, min_size=1, max_size=4))
def test_reading_inverts_writing(edits: list[Edit]) -> None:
    assert parse_edits(format_edits(edits)) == (tuple(edits), ())


def test_quotes_must_be_the_users_own_words() -> None:
    ops, refused = ops_of(
        '+ fact: Lives in Lyon. | "I live in Lyon"\n'
        '+ instruction: always => Choose the quiet one. | "You should always choose the quiet one."\n'
        '+ fact: Lives in Paris. | "I live in Paris"'
    )
    assert len(ops) == 1
    assert [refusal.reason.split(":")[0] for refusal in refused] == [
        "the quote was not said by the user",
        "the quote is in no message of the user",
    ]


def test_typography_is_bridged_and_the_users_characters_are_kept() -> None:
    [add], _ = ops_of('+ preference?: Likes quiet hotels. | "It\'s \\"quiet\\", and I sleep badly"')
    assert isinstance(add, Add)
    [evidence] = add.memory.evidence
    assert evidence.quote == "It’s  “quiet”, and\nI sleep badly"
    assert (evidence.turn, evidence.context) == (2, 1)
    assert evidence.quote in TALK[2]["content"]


def test_a_pick_among_options_points_to_the_options_as_context() -> None:
    [add, plain], _ = ops_of('+ preference: Likes quiet. | "Option 2 please"\n+ fact: Sleeps badly. | "I sleep badly"')
    assert add.memory.evidence[0].context == 1
    assert plain.memory.evidence[0].context is None


def test_basis_confidence_and_dates() -> None:
    [stated, inferred, dated], _ = ops_of(
        '+ fact: Lives in Lyon. | "I live in Lyon"\n'
        '+ preference?: Likes quiet. | "I sleep badly"\n'
        '+ fact: Lives there. | "I live in Lyon" @2020-01-01'
    )
    assert (stated.memory.basis, stated.memory.confidence) == ("stated", 0.95)
    assert (inferred.memory.basis, inferred.memory.confidence) == ("inferred", 0.7)
    assert (stated.memory.valid_at, dated.memory.valid_at) == (date(2026, 5, 1), date(2020, 1, 1))


def test_aliases_become_ids_and_unknown_ones_are_refused() -> None:
    ops, refused = ops_of(
        '~ i1: booking trains => Aisle seat. | "I live in Lyon"\n- f1 | "I live in Lyon"\n'
        'x p1 | "I live in Lyon"\nx | "I live in Lyon"\n- f9 | "I live in Lyon"'
    )
    update, close, forget, erase = ops
    assert (
        isinstance(update, Update)
        and update.replaces == ("i23456",)
        and full_text(update.memory) == "booking trains => Aisle seat."
    )
    assert update.memory.id != "i23456"
    assert isinstance(close, Close) and (close.id, close.on) == ("f23456", date(2026, 5, 1))
    assert isinstance(forget, Forget) and forget.id == "p23456"
    assert isinstance(erase, Forget) and erase.id is None and erase.evidence is not None
    assert [refusal.reason for refusal in refused] == ['no memory is called f9: - f9 | "I live in Lyon"']


def test_a_policy_sees_the_memory_with_aliases_and_the_new_messages() -> None:
    text, aliases = render_observation(observe(start=2))
    assert aliases == {"p1": "p23456", "i1": "i23456", "f1": "f23456"} == aliases_of(observe())
    assert "i1: booking flights => Aisle seat." in text
    assert "Conversation of 2026-05-01" in text
    assert "Which hotel?" not in text  # before the new messages, and not the one they answer
    assert text.endswith(TALK[2]["content"])


def test_of_a_large_memory_the_part_that_bears_on_the_messages_is_shown() -> None:
    rng = random.Random(3)
    many = tuple(
        Fact(
            id=f"f{n:05d}".replace("0", "a").replace("1", "b"), text=" ".join(rng.choices(["oak", "elm", "ash"], k=20))
        )
        for n in range(300)
    )
    observation = observe().model_copy(update={"memories": (*many, KNOWN[2])})
    text, aliases = render_observation(observation)
    assert "Lives in Lyon." in text and "more are not shown" in text
    assert len(aliases) < 301 and aliases["f301"] == "f23456"


# -- the grammar: a small GBNF sampler, so that what the grammar allows is really parsed -----------------------------


def sample(rules: dict[str, str], name: str, rng: random.Random) -> str:
    """A random text of the grammar; understands just the notation used in edits.grammar."""
    return _alternatives(rules, rules[name], rng)


def _alternatives(rules: dict[str, str], body: str, rng: random.Random) -> str:
    parts, depth, current = [], 0, ""
    for token in re.findall(r'"(?:\\.|[^"\\])*"|\[(?:\\.|[^\]\\])*\]|[()|?+*]|[a-z]+', body):
        depth += {"(": 1, ")": -1}.get(token, 0)
        if token == "|" and depth == 0:
            parts.append(current)
            current = ""
        else:
            current += token + " "
    return _sequence(rules, rng.choice([*parts, current]), rng)


def _sequence(rules: dict[str, str], body: str, rng: random.Random) -> str:
    tokens = re.findall(r'"(?:\\.|[^"\\])*"|\[(?:\\.|[^\]\\])*\]|[()?+*|]|[a-z]+', body)
    out, place = "", 0
    while place < len(tokens):
        end = place + 1
        if tokens[place] == "(":
            depth = 1
            while depth:
                depth += {"(": 1, ")": -1}.get(tokens[end], 0)
                end += 1
        unit = tokens[place:end]
        many = tokens[end] if end < len(tokens) and tokens[end] in "?+*" else ""
        for _ in range({"": 1, "?": rng.randint(0, 1), "+": rng.randint(1, 3), "*": rng.randint(0, 3)}[many]):
            out += _unit(rules, unit, rng)
        place = end + bool(many)
    return out


def _unit(rules: dict[str, str], unit: list[str], rng: random.Random) -> str:
    first = unit[0]
    if first == "(":
        return _alternatives(rules, " ".join(unit[1:-1]), rng)
    if first.startswith('"'):
        return json.loads(first)
    if first.startswith("["):
        allowed = re.compile(first)
        return rng.choice([c for c in map(chr, [*range(1, 128), 0xE9, 0x1F600]) if allowed.fullmatch(c)])
    return sample(rules, first, rng)


@pytest.mark.parametrize("aliases", [[], ["p1", "i12"]])
def test_all_that_the_grammar_allows_can_be_read(aliases: list[str]) -> None:
    rules = dict(line.split(" ::= ", 1) for line in grammar(aliases).splitlines() if line)
    rng = random.Random(7)
    signs = set()
    for _ in range(400):
        text = sample(rules, "root", rng)
        edits, problems = parse_edits(text)
        assert not problems, text
        signs |= {edit.sign for edit in edits}
    assert signs == (set("+~-x") if aliases else set("+x"))


@pytest.mark.parametrize("aliases", [[], ["p1", "i12"]])
def test_llama_cpp_takes_the_grammar_and_its_lines_can_be_read(tmp_path: Path, aliases: list[str]) -> None:
    """With random weights the grammar alone keeps an answer readable; texts are shortened, so that lines end."""
    model = LocalChatModel(path=write_tiny_gguf(tmp_path / "tiny.gguf"), max_tokens=400, temperature=1.0)
    whole = grammar(aliases)
    assert model.bind(grammar=whole, max_tokens=1).invoke("Edits:").text[0] in "=+~-x"
    root = 'root ::= ("=" | line ("\\n" line)*) "\\n"?'
    assert root in whole
    short = re.sub(r"(\]|char)\*", r"\1{0,5}", whole).replace(root, 'root ::= (line "\\n")+')
    signs = set()
    for seed in range(12):
        answer = model.bind(grammar=short, seed=seed).invoke("Edits:").text
        for line in answer.split("\n")[:-1]:  # the token limit may cut the last one
            edits, problems = parse_edits(line)
            assert not problems, line
            assert {alias for edit in edits for alias in edit.aliases} <= set(aliases)
            signs |= {edit.sign for edit in edits}
    assert signs == (set("+~-x") if aliases else set("+x"))
