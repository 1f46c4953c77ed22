"""Whole-memory rewrite: what it is shown, how an answer becomes edits, its grammar, and that nothing is lost by it."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentmem import Agent
from agentmem.errors import ConfigError, OutputError
from agentmem.memory import Close, Fact, Forget, Memory, Preference, StandingInstruction, Update, full_text
from agentmem.models.fake import FakeWriter
from agentmem.models.local import LocalChatModel
from agentmem.policy import Observation, Proposal, TrainedPolicy
from agentmem.policy.actions import EDITS, Actions, actions_of, check_start, get_actions, keep_actions
from agentmem.policy.edits import format_edits
from agentmem.policy.resolve import to_ops
from agentmem.policy.rewrite import MEMORY_TOKENS, Rewrite, as_line, parse_lines
from agentmem.prompts import render
from agentmem.reconcile import carry_out
from agentmem.route import count_tokens
from agentmem.session import make_session
from tests.test_edits import sample
from tests.tiny_gguf import write_tiny_gguf

REWRITE = Rewrite()
KNOWN = (
    Preference(id="p22222", text="Likes quiet restaurants."),
    StandingInstruction(id="i22222", text="Use euros.", when="giving prices"),
    StandingInstruction(id="i33333", text="Answer in French."),
    Fact(id="f22222", text="Lives in Lyon with two cats.", basis="inferred"),
)
LINES = [
    "preference: Likes quiet restaurants.", "instruction: giving prices => Use euros.",
    "instruction: Answer in French.", "fact?: Lives in Lyon with two cats.",
]  # fmt: skip


def seen(*said: str, known: Sequence[Memory] = KNOWN, start: int = 0) -> Observation:
    session = make_session([{"role": "user", "content": text} for text in said], id="s")
    return Observation(memories=tuple(known), session=session, start=start, today=date(2026, 1, 1))


def read(observation: Observation, *lines: str, actions: Rewrite = REWRITE) -> Proposal:
    return actions.read("\n".join([*lines, "END"]), observation, actions.prompt(observation)[1])


def edits(observation: Observation, *lines: str) -> str:
    proposal = read(observation, *lines)
    assert proposal.problems == ()
    return format_edits(proposal.edits)


def after(observation: Observation, proposal: Proposal) -> dict[str, Memory]:
    known = {memory.id: memory for memory in observation.memories}
    for op in to_ops(proposal.edits, observation, rng=random.Random(0))[0]:
        carry_out(op, known)
    return known


# -- the prompt


def test_the_prompt_shows_the_memory_as_it_is_to_be_written() -> None:
    messages, aliases = REWRITE.prompt(seen("hello"))
    assert [message["role"] for message in messages] == ["system", "user"]
    assert messages[1]["content"] == "Memory:\n" + "\n".join(LINES) + (
        "\n\nConversation of 2026-01-01:\nuser: hello\nMemory now:")  # fmt: skip
    assert aliases == ["p1", "i1", "i2", "f1"] and "at most 512 tokens" in messages[0]["content"]
    assert "Memory:\n(empty)\n" in REWRITE.prompt(seen("hello", known=()))[0][1]["content"]
    assert count_tokens(render("rewrite", memory_tokens="512")) <= 120


def test_of_a_larger_memory_some_are_shown_and_the_others_stay() -> None:
    facts = [Fact(id=f"f2222{letter}", text=f"Owns a boat called {letter}.") for letter in "abcdefghjk"]
    small, known = Rewrite(memory_tokens=30), seen("I sold the boat called k", known=facts)
    messages, aliases = small.prompt(known)
    assert "called k." in messages[1]["content"] and "more are not shown)" in messages[1]["content"]
    assert 1 < len(aliases) < 10
    proposal = small.read("END", known, aliases)
    gone = {memory.text for memory in facts} - {memory.text for memory in after(known, proposal).values()}
    assert "Owns a boat called k." in gone and len(gone) <= len(aliases)


# -- from lines to edits


def test_new_lines_are_added_with_the_sentence_that_tells_them() -> None:
    said = seen("Thanks! My sister Ana lives in Rome. And always write short answers, please.")
    assert edits(said, *LINES, "fact: Sister Ana lives in Rome.", "instruction: Write short answers.") == (
        '+ fact: Sister Ana lives in Rome. | "My sister Ana lives in Rome."\n'
        '+ instruction: always => Write short answers. | "And always write short answers, please."')  # fmt: skip


def test_a_line_in_place_of_another_updates_it_and_two_become_one() -> None:
    moved = [*LINES[:3], "fact: Lives in Porto with two cats."]
    assert edits(seen("We moved to Porto."), *moved) == (
        '~ f1: Lives in Porto with two cats. | "We moved to Porto."')  # fmt: skip
    known = (Fact(id="f22222", text="Has a dog."), Fact(id="f33333", text="The dog is called Rex."))
    assert edits(seen("Rex, my dog, is nine", known=known), "fact: Has a dog called Rex, nine years old.") == (
        '~ f1 f2: Has a dog called Rex, nine years old. | "Rex, my dog, is nine"')  # fmt: skip


def test_an_instruction_is_replaced_by_an_instruction_only() -> None:
    said = seen("Prices in dollars please, no euros any more.")
    assert edits(said, LINES[0], "instruction: giving prices => Use dollars.", *LINES[2:]).startswith(
        "~ i1: giving prices => Use dollars. |")  # fmt: skip
    added, closed = read(said, LINES[0], "fact: Wants prices in dollars.", *LINES[2:]).edits
    assert (added.sign, added.kind, closed.sign, closed.aliases) == ("+", "fact", "-", ("i1",))


def test_a_missing_line_closes_its_memory_where_the_user_speaks_of_it() -> None:
    assert edits(seen("hi", "I don't care for quiet restaurants any more"), *LINES[1:]) == (
        '- p1 | "I don\'t care for quiet restaurants any more"')  # fmt: skip


def test_what_nobody_spoke_of_is_refused_and_stays() -> None:
    quiet = seen("What's the weather like?")
    for lines in (LINES[1:], [], [*LINES[:3], "fact: Lives in Porto."], [*LINES, "fact: Owns a horse."]):
        proposal = read(quiet, *lines)
        ops, refused = to_ops(proposal.edits, quiet, rng=random.Random(0))
        assert ops == [] and len(refused) == len(proposal.edits) > 0
        assert all("nothing that the user says here supports it" in refusal.reason for refusal in refused)
    known = "I love my two cats"  # says nothing of what is new in the line
    assert read(seen(known), *LINES[:3], "fact: Lives in Porto with two cats.").edits[0].quotes == ()


def test_forgetting_is_no_closing() -> None:
    said = seen("Please forget where I live. And the euros, delete that.")
    known = ("fact?: Lives in Lyon with two cats.",)
    assert edits(said, *LINES[:3], "forget: Lives in Lyon with two cats.") == 'x f1 | "Please forget where I live."'
    assert edits(said, LINES[0], *LINES[2:]) == '- i1 | "And the euros, delete that."'  # left out
    vague = seen("That diagnosis of mine. Delete it, please.")
    assert edits(vague, *LINES[:3], f"forget: {known[0][7:]}").startswith("x f1 |")
    assert read(seen("nice weather"), *LINES[:3], f"forget: {known[0][7:]}").edits[0].quotes == ()
    unknown = read(said, *LINES, "forget: Has a horse.")
    assert unknown.edits == () and "no memory that was shown says" in unknown.problems[0]


def test_a_choice_is_evidence_for_what_is_inferred_from_it() -> None:
    messages = [{"role": "assistant", "content": "1. A night club. 2. A quiet farm."}, {"role": "user", "content": "2"}]
    told = Observation(memories=(), session=make_session(messages, id="s"), today=date(2026, 1, 1))
    assert edits(told, "preference?: Prefers quiet farms.") == '+ preference?: Prefers quiet farms. | "2"'
    assert read(told, "preference: Prefers quiet farms.").edits[0].quotes == ()


def test_only_new_words_of_the_user_count_and_a_page_is_cut() -> None:
    assert read(seen("We moved to Porto.", "hi", start=1), *LINES[:3], "fact: Lives in Porto.").edits[0].quotes == ()
    page = "word " * 200 + "Porto " + "word " * 200
    [edit] = read(seen(page), *LINES, "fact: Knows Porto.").edits
    assert "Porto" in edit.quotes[0] and len(edit.quotes[0].split()) <= 90


def test_the_reader_is_tolerant() -> None:
    said = seen("My sister lives in Rome (B2).")
    lines = ["```", "- Preference: likes  quiet restaurants", "2. giving prices => use euros.", "Answer in French",
             "FACT: Lives in Lyon with two cats.", "(empty)", "", "Sister lives in Rome (B2) now.", "```"]  # fmt: skip
    assert edits(said, *lines) == '+ fact: Sister lives in Rome (B2) now. | "My sister lives in Rome (B2)."'
    assert edits(seen("x"), *LINES, *LINES, "instruction: always => Answer in French.") == "="


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ("", "the answer is empty"),
        ("(empty)", "the answer is empty"),
        ("She lives in Lyon!", "has no END, so it may be cut"),
        (f"{LINES[0]}\nEN", "has no END"),
        (f"{LINES[0]}\nfact:\nEND", "line 2: nothing to remember in it"),
        ("instruction?: \nEND", "line 1: nothing"),
    ],
)
def test_what_cannot_be_read_changes_nothing(answer: str, problem: str) -> None:
    spoken = seen("I don't care for quiet restaurants, euros, French or Lyon any more")
    proposal = REWRITE.read(answer, spoken, REWRITE.prompt(spoken)[1])
    assert proposal.edits == () and problem in proposal.problems[0] and proposal.raw == answer
    with pytest.raises(OutputError):
        parse_lines(answer)


# -- laws

WORDS = st.sampled_from(
    ["tea", "Lyon", "cats", "quiet", "euros", "trains", "=", "=>", "|", "fact:", "END", "(", "é", "茶", "~", "- ", "2.",
     "x", "always", "forget", "delete"]
)  # fmt: skip
TEXTS = st.lists(WORDS, min_size=1, max_size=5).map(" ".join)
SAID = st.lists(TEXTS, min_size=1, max_size=4)
SHUFFLED = st.randoms(use_true_random=False)


@st.composite
def memories(draw: st.DrawFn) -> list[Memory]:
    found: list[Memory] = []
    for number, text in enumerate(draw(st.lists(TEXTS, max_size=5))):
        shared: dict[str, Any] = {"text": text, "basis": draw(st.sampled_from(["stated", "inferred"]))}
        kind = draw(st.sampled_from([Preference, StandingInstruction, Fact]))
        if kind is StandingInstruction:
            shared["when"] = draw(st.sampled_from(["always", "giving prices", "Lyon"]))
        found.append(kind(id=f"{kind.model_fields['kind'].default[0]}2222{number + 2}", **shared))
    return found


@given(memories(), SAID, SHUFFLED)
def test_the_same_lines_are_no_edit_in_whatever_order(known, said, rng) -> None:
    observation = seen(*said, known=known)
    lines = list(map(as_line, known))
    rng.shuffle(lines)
    assert edits(observation, *lines) == edits(observation, *(f"  {line.swapcase()} " for line in lines)) == "="
    assert after(observation, read(observation, *lines)) == {memory.id: memory for memory in known}


@given(memories(), memories(), SAID, SHUFFLED)
def test_the_order_of_lines_does_not_matter(known, wanted, said, rng) -> None:
    observation = seen(*said, known=known)
    lines = list(map(as_line, wanted))
    first = read(observation, *lines).edits
    rng.shuffle(lines)
    second = read(observation, *lines).edits
    assert sorted(map(str, first)) == sorted(map(str, second))


@given(memories(), memories(), SAID, st.data())
def test_nothing_is_lost_by_a_cut(known, wanted, said, data) -> None:
    answer = "\n".join([*map(as_line, wanted), "END"])
    cut = answer[: data.draw(st.integers(0, len(answer) - 1))]
    observation = seen(*said, known=known)
    proposal = REWRITE.read(cut, observation, REWRITE.prompt(observation)[1])
    assert proposal.edits == () and len(proposal.problems) == 1


@given(memories(), memories(), SAID)
def test_nothing_is_lost_silently(known, wanted, said) -> None:
    """What is gone was named by a change, and the change rests on words of the user's."""
    observation = seen(*said, known=known)
    proposal = read(observation, *map(as_line, wanted))
    ops, refused = to_ops(proposal.edits, observation, rng=random.Random(0))
    assert len(ops) + len(refused) == len(proposal.edits)
    left, accounted = after(observation, proposal), set()
    for op in ops:
        if isinstance(op, Update):
            accounted |= set(op.replaces)
            quotes = [evidence.quote for evidence in op.memory.evidence]
        elif isinstance(op, Close | Forget):
            accounted.add(op.id)
            quotes = [op.evidence.quote] if op.evidence else []
        else:
            quotes = [evidence.quote for evidence in op.memory.evidence]
        assert quotes and all(any(quote in text for text in said) for quote in quotes)
    assert {memory.id for memory in known} - left.keys() <= accounted


def texts(known: Iterable[Memory]) -> set[str]:
    """As they are compared; an edit has no bar, and one arrow, of which one at an end of the text is no part."""
    lines = [parse_lines(f"{as_line(memory)}\nEND")[0].key for memory in known]
    return {" ".join(re.sub("=>|->", " ", line.replace("|", "/")).split()) for line in lines}


@given(memories(), memories())
def test_a_rewrite_with_all_its_support_comes_to_the_lines_that_were_written(known, wanted) -> None:
    observation = seen(*map(full_text, [*known, *wanted]), "x", known=known)  # each line is spoken, old and new
    proposal = read(observation, *map(as_line, wanted))
    left = texts(after(observation, proposal).values())
    if all(edit.quotes for edit in proposal.edits):
        assert left == texts(wanted)
    else:  # texts without a content word have no support
        assert left <= texts(known) | texts(wanted)


def test_of_hand_written_examples_nine_in_ten_survive_being_rewritten() -> None:
    pytest.importorskip("torch")
    from agentmem.train.histories import read_examples
    from agentmem.train.sft import observed

    counts: Counter[str] = Counter()
    examples = read_examples(Path("agentmem/train/data/dialogues")).edits
    for example in examples:
        observation, gold = observed(example)
        answer = REWRITE.write(gold, observation)
        proposal = REWRITE.read(answer, observation, REWRITE.prompt(observation)[1])
        assert proposal.problems == ()
        wanted, came = (Counter(map(as_line, after(observation, one).values()))
                        for one in (Proposal(edits=tuple(gold)), proposal))  # fmt: skip
        counts["edited"] += bool(gold)
        counts["same"] += bool(gold) and wanted == came
        counts["nothing"] += not gold and not proposal.edits
        counts["edits"] += len(proposal.edits)
        counts["refused"] += sum(not edit.quotes for edit in proposal.edits)
    assert counts["edited"] + counts["nothing"] == len(examples)  # nothing to remember is no edit, always
    assert counts["same"] >= 0.89 * counts["edited"] and counts["refused"] <= 0.06 * counts["edits"]
    said = (
        f"Of the {counts['edited']:,} shipped examples with edits, {counts['same']:,} come to the same memory "
        f"through a rewrite; {counts['refused']} of {counts['edits']:,} changes find no words of the user's."
    )
    assert said in " ".join(Path("docs/training.md").read_text("utf-8").split())


# -- the grammar


def test_all_that_the_grammar_allows_can_be_read() -> None:
    rules = dict(line.split(" ::= ", 1) for line in REWRITE.grammar([]).splitlines() if line)
    rng, kinds = random.Random(7), set()
    for _ in range(400):
        kinds |= {line.kind for line in parse_lines(sample(rules, "root", rng))}
    assert kinds == {"preference", "instruction", "fact", "forget"}


def test_llama_cpp_takes_the_grammar_and_its_answers_can_be_read(tmp_path: Path) -> None:
    model = LocalChatModel(path=write_tiny_gguf(tmp_path / "tiny.gguf"), max_tokens=400, temperature=1.0)
    short = re.sub(r"\]\*", "]{0,5}", REWRITE.grammar([])).replace("line*", "line line")
    for seed in range(6):
        answer = model.bind(grammar=short, seed=seed).invoke("Memory now:").text
        assert 1 <= len(parse_lines(answer)) <= 2


# -- served


def test_an_agent_serves_it_and_says_what_it_refused(tmp_path: Path) -> None:
    answers = ["fact: Lives in Lyon.\nfact: Has a horse.\nEND", "fact: Lives in Porto.\nEND", "END"]
    policy = TrainedPolicy(FakeWriter(answers), actions=REWRITE)
    with Agent("alice", root=tmp_path, policy=policy, embedder="hash") as agent:
        first = agent.observe([{"role": "user", "content": "I live in Lyon."}])
        assert ["nothing that the user says" in refusal.reason for refusal in first.refused] == [True]
        agent.observe([{"role": "user", "content": "We moved to Porto."}])
        assert [memory.text for memory in agent.memories()] == ["Lives in Porto."]
        agent.observe([{"role": "user", "content": "Good morning!"}])
        assert [memory.text for memory in agent.memories()] == ["Lives in Porto."]


def test_pieces_of_a_long_conversation_are_read_against_the_same_memory() -> None:
    said = ["I live in Porto. " + "word " * 300, "My cat is called Tom. " + "word " * 300]
    writer = FakeWriter(lambda text: "\n".join([*LINES, "fact: The cat is called Tom.", "END"])
                        if "Tom" in text.split("Conversation")[1] else "\n".join([*LINES, "END"]))  # fmt: skip
    [proposal] = TrainedPolicy(writer, chunk_tokens=300, actions=REWRITE).propose([seen(*said)])
    assert len(writer.calls[0]) > 1 and {edit.text for edit in proposal.edits} == {"The cat is called Tom."}


# -- by name


@pytest.mark.parametrize("actions", [EDITS, get_actions("edits", 100), REWRITE, Rewrite(64)])
def test_an_adapter_says_its_actions(tmp_path: Path, actions: Actions) -> None:
    (tmp_path / "adapter_config.json").touch()
    assert actions_of(tmp_path) is EDITS  # as adapters were before there was a choice
    keep_actions(actions, tmp_path)
    assert actions_of(tmp_path) == actions
    check_start(get_actions(actions.name), tmp_path)
    other = "edits" if actions.name == "rewrite" else "rewrite"
    with pytest.raises(ConfigError, match=f"was trained for the actions '{actions.name}'"):
        check_start(get_actions(other), tmp_path)


def test_actions_that_are_none(tmp_path: Path) -> None:
    assert get_actions("rewrite").memory_tokens == MEMORY_TOKENS
    with pytest.raises(ConfigError, match="choose edits or rewrite"):
        get_actions("magic")
    with pytest.raises(ConfigError, match="memory_tokens 0: give 1 or more"):
        get_actions("rewrite", 0)
    for text in ("{", "[]", json.dumps({"actions": "magic"}), json.dumps({"actions": "edits", "memory_tokens": "x"})):
        (tmp_path / "agentmem.json").write_text(text)
        with pytest.raises(ConfigError, match="agentmem.json: "):
            actions_of(tmp_path)
