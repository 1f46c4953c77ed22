"""Where a memory policy is trained: it reads a history chunk by chunk and keeps a memory, then questions are asked.

It is the policy in its action space, the resolving of edits and the reconciling that the agent serves with; only the
store is left out: a memory that lives for one trajectory needs no disk. The questions come afterwards: no prompt of the
policy holds one.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

from agentmem.errors import ConfigError
from agentmem.memory import Memory
from agentmem.models.embed import Embedder
from agentmem.models.sampling import answer_text, prompt_ids
from agentmem.policy import Observation, Proposal, TrainedPolicy
from agentmem.policy.actions import EDITS, Actions
from agentmem.policy.marks import Marker
from agentmem.policy.resolve import to_ops
from agentmem.policy.trained import CHUNK_TOKENS, Question
from agentmem.reconcile import carry_out, reconcile
from agentmem.route import count_tokens
from agentmem.train.answerers import Answerer
from agentmem.train.histories import History
from agentmem.train.rewards import BUDGET, Asked, Ended, Mix, Scored, memory_text
from agentmem.train.samplers import Sampler
from agentmem.train.splits import Chunk, chunks
from agentmem.train.values import Group, Step, Trajectory
from agentmem.train.verdicts import ChatJudge

_WHOLE = 10**9
"""Tokens of a prompt: a chunk is never cut again."""


class Recorder:
    """A policy's Writer that samples, and keeps what was shown and written.

    Args:
        sampler: writes.
        tokenizer: of the model, with a chat template.
        stops: tokens that end an answer.
        max_tokens: of one answer.
        constraint: holds answers to the grammar, as agentmem.models.sampling.Constraint does; None for none. The
            probabilities that are trained on are those of the whole vocabulary either way.
        actions: what the policy writes.

    Raises:
        ConfigError: an answer cannot be as long as the actions need it.
    """

    def __init__(
        self, sampler: Sampler, tokenizer: Any, stops: Sequence[int], max_tokens: int, constraint: Any = None,
        actions: Actions = EDITS,
    ) -> None:  # fmt: skip
        if max_tokens < actions.least_tokens:
            raise ConfigError(f"rollouts.max_tokens {max_tokens}: the actions {actions.name!r} write a memory of up to "
                              f"{actions.least_tokens} tokens, and what is cut changes nothing; raise it to "
                              f"{actions.max_tokens}, or lower memory_tokens")  # fmt: skip
        self.actions = actions
        self._sampler, self._tokenizer, self._stops = sampler, tokenizer, frozenset(stops)
        self._max_tokens, self._constraint = max_tokens, constraint
        self.rng = random.Random(0)
        self.steps: list[Step] = []
        """Of the last `write`, one a prompt."""

    def write(self, prompts: Sequence[Sequence[Mapping[str, str]]], aliases: Sequence[Sequence[str]], /) -> list[str]:
        grammar = self.actions.grammar
        ids = [prompt_ids(self._tokenizer, messages) for messages in prompts]
        held = [self._constraint.rows([grammar(names) for names in aliases])] if self._constraint else []
        written = self._sampler.sample(ids, self._max_tokens, self.rng, held)
        answers = [answer_text(self._tokenizer, new, self._stops) for new in written]
        shown = [messages[-1]["content"] for messages in prompts]
        self.steps = [Step(*each) for each in zip(ids, written, shown, answers, strict=True)]
        return answers


@dataclass
class _Play:
    """One trajectory on its way."""

    chunks: Sequence[Chunk]
    rng: random.Random
    known: dict[str, Memory] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    edits: int = 0
    unreadable: int = 0
    unfaithful: int = 0

    def observation(self, turn: int) -> Observation:
        session = self.chunks[turn].session
        day = session.date or date(2026, 1, 1)
        return Observation(memories=tuple(self.known.values()), session=session, today=day)


class Histories:
    """Histories as an environment: a trajectory is one reading, its turns are the chunks.

    Args:
        histories: each with probes.
        recorder: samples from the policy.
        rewards: what a trajectory earns.
        answerer: answers the probes, where the rewards ask it.
        judge: judges the answers, where the rewards ask it.
        embedder: for reconciling proposals with what is known, as the agent does; None takes them as they are.
        chunk_tokens: of a chunk, at most.
        marker: finds the sentences that the policy is asked of, where its actions have marks; None: it reads all.
    """

    def __init__(
        self,
        histories: Sequence[History],
        recorder: Recorder,
        rewards: Mix,
        *,
        answerer: Answerer | None = None,
        judge: ChatJudge | None = None,
        embedder: Embedder | None = None,
        chunk_tokens: int = CHUNK_TOKENS,
        marker: Marker | None = None,
    ) -> None:
        self.histories = histories
        self._recorder, self._rewards, self._answerer, self._embedder = recorder, rewards, answerer, embedder
        self._judge = judge
        self._policy = TrainedPolicy(recorder, chunk_tokens=_WHOLE, actions=recorder.actions, marker=marker)
        self._budget = recorder.actions.memory_tokens or BUDGET
        self._chunks = [chunks(history, chunk_tokens) for history in histories]

    def __len__(self) -> int:
        return len(self.histories)

    def play(self, places: Sequence[int], times: int, rng: random.Random) -> list[Group]:
        plays = [_Play(self._chunks[place], random.Random(rng.random())) for place in places for _ in range(times)]
        for turn in range(max((len(play.chunks) for play in plays), default=0)):
            self._recorder.rng = random.Random(rng.random())
            reading = [play for play in plays if turn < len(play.chunks)]
            self._read(reading, turn)
            for play in reading:
                play.asked += [Asked(probe, tuple(play.known.values())) for probe in play.chunks[turn].probes]
        scored = self._rewards.all([self._ended(play) for play in plays])
        made = [_trajectory(play, own) for play, own in zip(plays, scored, strict=True)]
        starts = range(0, len(made), times)
        return [Group(self.histories[place].user, made[start : start + times])
                for place, start in zip(places, starts, strict=True)]  # fmt: skip

    def _read(self, reading: Sequence[_Play], turn: int) -> None:
        """Let the policy read the chunk of this turn. Of one in which nothing is marked it isn't asked."""
        observations = [play.observation(turn) for play in reading]

        def write(questions: Sequence[Question]) -> list[str]:
            answers = self._recorder.write([one.messages for one in questions], [one.aliases for one in questions])
            for question, answer, step in zip(questions, answers, self._recorder.steps, strict=True):
                notes = self._policy.read(question, answer).problems
                reading[question.place].steps.append(replace(step, notes=notes))
            return answers

        proposals = self._policy.answered(observations, write)
        for play, seen, proposal in zip(reading, observations, proposals, strict=True):
            self._take(play, seen, proposal)

    def _take(self, play: _Play, seen: Observation, proposal: Proposal) -> None:
        """Carry out what was proposed, as far as it is admitted."""
        ops, refused = to_ops(proposal.edits, seen, rng=play.rng)
        play.edits += len(proposal.edits)
        play.unreadable += bool(proposal.problems)
        play.unfaithful += len(refused)
        if ops and self._embedder is not None:
            ops, more = reconcile(ops, play.known.values(), embedder=self._embedder, today=seen.today)
            refused = [*refused, *more]
        for op in ops:
            carry_out(op, play.known)
        if play.steps and refused:
            last = play.steps[-1]
            play.steps[-1] = replace(last, notes=[*last.notes, *(refusal.reason for refusal in refused)])

    def _ended(self, play: _Play) -> Ended:
        return Ended(play.asked, tuple(play.known.values()), len(play.chunks), play.edits, play.unreadable,
                     play.unfaithful, self._answerer, budget=self._budget, judge=self._judge)  # fmt: skip


def _trajectory(play: _Play, scored: Scored) -> Trajectory:
    measured = {"edits": play.edits / max(1, len(play.chunks)),
                "memory_tokens": float(count_tokens(memory_text(tuple(play.known.values()))))}  # fmt: skip
    about = [f"{asked.probe.question} → {asked.probe.gold}" for asked in play.asked]
    return Trajectory(play.steps, scored.total, scored.parts, scored.failed, about, measured)
