"""The main job with the real models: what a newcomer sees (`make slow`)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from agentmem import Agent
from agentmem.importers import read_sessions
from agentmem.models.judges import shipped_tagger
from agentmem.models.weights import cached
from agentmem.policy import Observation, PromptedPolicy, auto, marks
from agentmem.policy.auto import missing
from agentmem.session import make_session

EXAMPLES = Path(__file__).parent.parent / "examples"
MEAT = re.compile(
    r"\b(chicken|beef|pork|steak|salmon|fish|ham|bacon|lamb|turkey|shrimp|meat|meatballs)\b", re.IGNORECASE
)
DINNER = [{"role": "user", "content": "What should I cook for dinner tonight?"}]
GUESTS = [{"role": "user", "content": "Which dish should I cook for my guests?"}]


def learn(agent: Agent) -> None:
    for name in ("lisbon.json", "porto.json"):
        for session in read_sessions(EXAMPLES / name):
            agent.observe(session)


needs_default = pytest.mark.skipif(
    cached("qwen2.5-coder-1.5b") is None, reason="the default model is not fetched: make slow"
)
needs_small = pytest.mark.skipif(cached("smollm2-135m") is None, reason="smollm2-135m is not fetched: make slow")


@pytest.mark.slow
@needs_default
def test_the_default_model_follows_what_the_offline_policy_remembered(tmp_path: Path) -> None:
    with Agent("alice", root=tmp_path, policy="offline") as agent:
        learn(agent)
        texts = [memory.text for memory in agent.memories()]
        assert "Is vegetarian." in texts
        assert "Moved to Porto last week!" in texts and "Lives in Lyon." not in texts
        assert not any("fado" in text for text in texts)  # the sister's taste
        reply = agent.respond(DINNER)
        assert re.search("vegetarian|tofu|vegetable", reply.text, re.IGNORECASE)
        assert not MEAT.search(reply.text)
        known = {memory.id: memory.text for memory in agent.memories()}
        assert "Is vegetarian." in [known[id] for id in reply.used]
    with Agent("nobody", root=tmp_path) as stranger:
        assert MEAT.search(stranger.respond(GUESTS).text)


@pytest.mark.slow
@needs_default
@needs_small
def test_the_default_model_follows_what_the_trained_policy_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever words it finds for it."""
    monkeypatch.setattr(auto, "missing", missing)
    monkeypatch.setattr(marks, "shipped_tagger", shipped_tagger)
    with Agent("alice", root=tmp_path) as agent:
        learn(agent)
        assert {change.policy for change in agent.history()} == {f"trained:{auto.DEFAULT.name}"}
        known = {memory.id: memory.text for memory in agent.memories()}
        diet = {id for id, text in known.items() if "vegetarian" in text.lower()}
        assert diet
        reply = agent.respond(DINNER)
        assert not MEAT.search(reply.text) and diet & set(reply.used)


@pytest.mark.slow
@needs_small
def test_what_a_local_model_writes_under_the_grammar_can_always_be_read(tmp_path: Path) -> None:
    """The smallest model cannot extract, but whatever it writes is of the language: held to it by the grammar."""
    agent = Agent("alice", root=tmp_path, model="local:smollm2-135m", policy="prompted")
    policy = agent._parts.policy
    assert policy.name == PromptedPolicy.name
    for text in ("I live in Lyon and I never eat meat.", "what is the capital of Peru?"):
        session = make_session([{"role": "user", "content": text}])
        [proposal] = policy.propose([Observation(memories=(), session=session, today=agent._parts.today())])
        assert proposal.raw.strip()
        last = f"line {len(proposal.raw.splitlines())}:"  # may be cut where the model ran out of tokens
        assert not [problem for problem in proposal.problems if not problem.startswith(last)]
        assert proposal.edits or proposal.raw.strip() == "="
