"""Whole-memory rewrite, the action of PersonaMem-v2 (arXiv 2512.06688): the policy writes the memory as it is now.

    preference: Likes quiet restaurants.
    instruction: giving prices => Use euros.
    fact?: Lives in Porto.
    forget: Takes sertraline.
    END

A line is a memory (`?`: inferred), or one to forget; END is the last one. An answer without it may be cut, and then
nothing changes: all memories after the cut would be gone. Else it is read as edits, by what differs from the memory
that was shown:

- A line that says what a memory says keeps it.
- A new line is `+`, or `~` of the memories that have no line any more and whose content words it shares most.
- A memory without a line is `-`, closed; `x`, forgotten for good, only after `forget:`. "Delete the cats from this
  picture" also asks to delete, and small models drop lines when they copy.

A rewrite quotes nobody, and each change needs the user's own words. They are looked for: the sentence of the new
messages that shares most content words with what changes (for `x` also a request without any). Where none shares a
word, the edit has no quote and is refused like a quote that nobody said; the memory stays. A small model drops lines
when it copies, and what nobody spoke of must not be lost by that; what it costs is that "tank's gone" does not close
"Heats the house with oil".

How many of the shipped examples come to the same memory when they are written as a rewrite and read back stands in
docs/training.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from random import Random
from typing import Literal, NamedTuple

from agentmem.errors import OutputError
from agentmem.memory import Forget, Kind, Memory, StandingInstruction, full_text
from agentmem.policy.asked import worded_as_request
from agentmem.policy.base import Observation, Proposal
from agentmem.policy.edits import BLANK, Edit
from agentmem.policy.forgetting import content
from agentmem.policy.resolve import aliases_of, conversation, shown_memories, to_ops
from agentmem.policy.spans import MAX_WORDS, sentences
from agentmem.prompts import render
from agentmem.reconcile import carry_out

MEMORY_TOKENS = 512
"""Of a memory that is written anew at every answer: shown, and held to by the prompt and the cost `oversize`."""
NEWS_TOKENS = 256
"""Of an answer, beyond the memory that was shown."""
REPLACES = 0.3
"""Share of content words, of the shorter text, from which on a new line replaces a memory that has no line any more.
Of the 219 memories replaced in agentmem/train/data/dialogues .97 have it, of 941 others beside a new text .12."""
END = "END"


@dataclass(frozen=True)
class Rewrite:
    """The policy writes the whole memory, a line each.

    Args:
        memory_tokens: of the memory that is shown and written, estimated. Of a larger one those memories are shown that
            share most words with the new messages; the others stay as they are.
    """

    memory_tokens: int = MEMORY_TOKENS
    name = "rewrite"

    @property
    def marks(self) -> None:
        return None

    @property
    def max_tokens(self) -> int:
        return self.memory_tokens + NEWS_TOKENS

    @property
    def least_tokens(self) -> int:
        return self.memory_tokens

    def prompt(self, observation: Observation, /) -> tuple[list[dict[str, str]], list[str]]:
        shown = shown_memories(observation, self.memory_tokens)
        lines = [as_line(memory) for memory in shown.values()]
        if hidden := len(observation.memories) - len(shown):
            lines.append(f"({hidden} more are not shown)")
        text = "Memory:\n" + ("\n".join(lines) or "(empty)") + f"\n\n{conversation(observation)}\nMemory now:"
        system = render("rewrite", memory_tokens=str(self.memory_tokens))
        return [{"role": "system", "content": system}, {"role": "user", "content": text}], list(shown)

    def read(self, answer: str, observation: Observation, aliases: Sequence[str], /) -> Proposal:
        try:
            lines = parse_lines(answer)
        except OutputError as error:
            return Proposal(raw=answer, problems=(str(error),))
        ids, by_id = aliases_of(observation), {memory.id: memory for memory in observation.memories}
        shown = {alias: by_id[ids[alias]] for alias in aliases}
        known = {_key(full_text(memory)) for memory in shown.values()}
        strange = [line for line in lines if line.kind == "forget" and line.key not in known]
        problems = tuple(f"no memory that was shown says what is to be forgotten: {line.said}" for line in strange)
        return Proposal(edits=tuple(_changes(shown, lines, observation)), raw=answer, problems=problems)

    def write(self, edits: Sequence[Edit], observation: Observation, /) -> str:
        known = {memory.id: memory for memory in shown_memories(observation, self.memory_tokens).values()}
        forgotten = []
        for op in to_ops(edits, observation, rng=Random(0))[0]:
            if isinstance(op, Forget) and op.id in known:
                forgotten.append(f"forget: {full_text(known[op.id])}")
            carry_out(op, known)
        return "\n".join([*map(as_line, known.values()), *forgotten, END])

    @staticmethod
    def grammar(aliases: Sequence[str] = (), /) -> str:
        return _GRAMMAR


_GRAMMAR = rf"""
root ::= line* "END" "\n"?
line ::= (("preference" | "instruction" | "fact") "?"? | "forget") ": " text "\n"
text ::= [^{BLANK}] [^\x00-\x1f\x7f]*
"""


# -- lines -----------------------------------------------------------------------------------------------------------


class Line(NamedTuple):
    """What one line says."""

    kind: Kind | Literal["forget"] | None
    """None where it doesn't say one: a fact, if it is new."""
    inferred: bool
    said: str
    """The text; of an instruction `when => text`, or without a condition."""

    @property
    def key(self) -> str:
        """The same for texts that differ in blanks, in case, in a full stop or in the condition "always" alone."""
        return _key(self.said)


_KINDS: dict[str, Kind | Literal["forget"]] = {
    "preference": "preference", "instruction": "instruction", "fact": "fact", "forget": "forget",
}  # fmt: skip
_LINE = re.compile(rf"(?:(?P<kind>{'|'.join(_KINDS)})(?P<inferred>\??)\s*:)?\s*(?P<said>.*)", re.IGNORECASE)
_MARK = re.compile(r"^(?:[-*•]|\d{1,2}[.)])\s+")
_NOISE = re.compile(r"```\w*|\(empty\)|\(\d+ more are not shown\)|")


def as_line(memory: Memory) -> str:
    """A memory as a line of the answer."""
    return f"{memory.kind}{'?' if memory.basis == 'inferred' else ''}: {full_text(memory)}"


def parse_lines(answer: str) -> list[Line]:
    """The lines of an answer up to END, each text once.

    Raises OutputError when there is no END or a line cannot be read: a rewrite is taken as a whole or not at all.
    """
    found: dict[str, Line] = {}
    for number, text in enumerate(map(str.strip, answer.split("\n")), start=1):
        if text == END:
            return list(found.values())
        if not _NOISE.fullmatch(text):
            line = _parse(text, number, answer)
            found[line.key] = max(found.get(line.key, line), line, key=_rank)
    why = "has no END, so it may be cut" if found else "is empty"
    raise OutputError(f"the answer {why}: the memory stays as it is", raw=answer)


def _parse(text: str, number: int, answer: str) -> Line:
    match = _LINE.fullmatch(_MARK.sub("", text, count=1))
    said = match["said"].strip() if match else ""
    kind = _KINDS.get((match["kind"] or "").lower()) if match else None
    if match is None or not said:
        raise OutputError(f"line {number}: nothing to remember in it: {text[:80]}", raw=answer)
    return Line(kind, bool(match["inferred"]), said)


def _rank(line: Line) -> tuple[bool, str, bool, str]:
    """Of lines that say the same the one that forgets, else one that doesn't depend on their order."""
    return line.kind == "forget", line.kind or "", line.inferred, line.said


def _key(text: str) -> str:
    key = " ".join(text.casefold().replace("=>", " => ").split()).rstrip(" .")
    return key.removeprefix("always => ")


# -- from lines to edits ---------------------------------------------------------------------------------------------


def _changes(shown: Mapping[str, Memory], lines: Sequence[Line], observation: Observation) -> Iterator[Edit]:
    """What turns the memories that were shown into these lines: new lines in their order, then what has none."""
    keys = {alias: _key(full_text(memory)) for alias, memory in shown.items()}
    forget = {line.key for line in lines if line.kind == "forget"}
    kept = {line.key for line in lines}
    new = [line for line in lines if line.kind != "forget" and line.key not in keys.values()]
    said = list(_said(observation))
    for alias, memory in shown.items():
        if keys[alias] in forget:
            yield Edit(sign="x", aliases=(alias,), quotes=_request(content(full_text(memory)), said))
    gone = {alias: memory for alias, memory in shown.items() if keys[alias] not in kept}
    successors = {alias: _successor(memory, new) for alias, memory in gone.items()}
    for line in new:
        replaced = {alias: shown[alias] for alias, successor in successors.items() if successor == line}
        yield _written(line, replaced, said)
    for alias, memory in gone.items():
        if successors[alias] is None:
            yield Edit(sign="-", aliases=(alias,), quotes=_support(content(full_text(memory)), said))


def _successor(memory: Memory, new: Sequence[Line]) -> Line | None:
    """The new line that a memory without a line lives on in."""
    own, instructs = content(full_text(memory)), isinstance(memory, StandingInstruction)
    shares = [
        (len(own & theirs) / min(len(own), len(theirs)), line.key, line)
        for line in new
        if (line.kind is None or (line.kind == "instruction") == instructs) and own and (theirs := content(line.said))
    ]
    best = max(shares, key=lambda share: share[:2], default=None)
    return best[2] if best and best[0] >= REPLACES else None


def _written(line: Line, replaced: Mapping[str, Memory], said: Sequence[_Said]) -> Edit:
    """A new line as an edit, with the sentence that tells its news."""
    own_kind: Kind = "fact" if line.kind is None or line.kind == "forget" else line.kind
    kinds: list[Kind] = [memory.kind for memory in replaced.values()]
    kind = kinds[0] if kinds else own_kind
    when, text = None, line.said
    if kind == "instruction":
        first, _, rest = (part.strip() for part in line.said.partition("=>"))
        when, text = (first or "always", rest) if rest else ("always", first or line.said)
    own = content(line.said)
    news = own.difference(*(content(full_text(memory)) for memory in replaced.values()))
    quotes = _support(news or own, said, own, inferred=line.inferred)
    shared = {"inferred": line.inferred, "when": when, "text": text, "quotes": quotes}
    if replaced:
        return Edit(sign="~", aliases=tuple(replaced), **shared)
    return Edit(sign="+", kind=kind, **shared)


def _request(needed: set[str], said: Sequence[_Said]) -> tuple[str, ...]:
    """The words that ask to forget something: a request that names it, else what names it, else a request."""
    requests = [one for one in said if worded_as_request(one.quote)]
    return _support(needed, requests) or _support(needed, said) or tuple(one.quote for one in requests[:1])


class _Said(NamedTuple):
    """A new sentence of the user's."""

    quote: str
    words: set[str]
    before: set[str]
    """Content words of the assistant's turn that it answers."""


def _said(observation: Observation) -> Iterator[_Said]:
    messages = observation.session.messages
    for turn, message in enumerate(messages[observation.start :], start=observation.start):
        if message.role != "user":
            continue
        before = messages[turn - 1].content if turn and messages[turn - 1].role == "assistant" else ""
        offered = content(before)
        for span in sentences(message.content):
            for part in _SHORT.finditer(message.content, span.start, span.end):
                yield _Said(part.group(), content(part.group()), offered)


_SHORT = re.compile(rf"\S+(?:\s+\S+){{0,{MAX_WORDS - 1}}}")
"""A sentence, in parts where it is a page without full stops."""


def _support(
    needed: Set[str], said: Sequence[_Said], besides: Set[str] = frozenset(), *, inferred: bool = False
) -> tuple[str, ...]:
    """The sentence that shares most of the needed words, then most of those besides; none where none shares one.

    What is inferred may be a choice ("the second one, please"): then the words of what was offered count as well.
    """

    def share(one: _Said) -> tuple[int, int, int]:
        offered = len(needed & one.before) if inferred else 0
        return len(needed & one.words), len(besides & one.words), offered

    best = max(said, key=share, default=None)
    if best is None:
        return ()
    direct, _, offered = share(best)
    return (best.quote,) if direct or offered else ()
