"""How the memory is shown to a model, in each presentation."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import get_args

import pytest

from agentmem import Agent
from agentmem.config import Config, PresentationName, load_config
from agentmem.errors import ConfigError
from agentmem.generate import PRESENTATIONS, memory_prompt, show
from agentmem.memory import Evidence, Fact, Memory, Preference, StandingInstruction
from agentmem.models.fake import FakeChatModel
from agentmem.policy import PromptedPolicy

TEA = Preference(id="p22222", text="Likes tea.", valid_at=date(2026, 1, 5),
                 evidence=(Evidence(quote="I like  tea", session="a", turn=0),))  # fmt: skip
LYON = Fact(id="f22222", text="Lives in Lyon.", valid_at=date(2026, 3, 1))
SHORT = StandingInstruction(id="i22222", text="Answer in one sentence.")
EUROS = StandingInstruction(id="i22223", text="Use euros.", when="converting amounts")
ALL: list[Memory] = [TEA, EUROS, LYON, SHORT]

SHOWN: dict[PresentationName, str] = {
    "lists": """The user:
- Likes tea.
- Lives in Lyon.

Rules for every reply:
- When converting amounts: Use euros.
- Answer in one sentence.""",
    "flat": """What you know of the user:
- Likes tea.
- Lives in Lyon.
- When converting amounts: Use euros.
- Answer in one sentence.""",
    "dated": """The user:
- Likes tea. (since 2026-01-05)
- Lives in Lyon. (since 2026-03-01)

Rules for every reply:
- When converting amounts: Use euros.
- Answer in one sentence.""",
    "evidence": """The user:
- Likes tea. (the user said: "I like tea")
- Lives in Lyon.

Rules for every reply:
- When converting amounts: Use euros.
- Answer in one sentence.""",
    "newest": """The user:
- Lives in Lyon.
- Likes tea.

Rules for every reply:
- When converting amounts: Use euros.
- Answer in one sentence.""",
    "prose": "You remember of the user: Likes tea. Lives in Lyon. When converting amounts: Use euros. "
    "Answer in one sentence.",
    "reminder": """The user has told you this about themselves:
- Likes tea.
- Lives in Lyon.
- When converting amounts: Use euros.
- Answer in one sentence.

Remember it: what you suggest has to suit this user, also where the user does not repeat it.""",
}


@pytest.mark.parametrize("name", get_args(PresentationName))
def test_each_presentation(name: PresentationName) -> None:
    assert show(ALL, name) == SHOWN[name]
    assert show([], name) == ""
    assert SHOWN[name] in memory_prompt(ALL, today=date(2026, 4, 1), presentation=name)


def test_every_presentation_that_can_be_set_is_in_the_table() -> None:
    assert set(PRESENTATIONS) == set(get_args(PresentationName)) == set(SHOWN)


def test_only_rules_or_only_what_the_user_is_like() -> None:
    assert show([SHORT]) == "Rules for every reply:\n- Answer in one sentence."
    assert show([LYON]) == "The user:\n- Lives in Lyon."


def test_the_setting_reaches_the_prompt(tmp_path: Path) -> None:
    edits = '+ preference: Likes tea. | "I like tea"'
    config = Config(presentation="prose", history_budget=0)
    policy = PromptedPolicy(FakeChatModel([edits]))
    model = FakeChatModel(["Noted."])
    with Agent("alice", root=tmp_path, config=config, policy=policy, model=model, embedder="hash") as agent:
        agent.observe([{"role": "user", "content": "I like tea"}], session="a", date=date(2026, 1, 5))
        asked = [{"role": "user", "content": "A drink?"}]
        assert "You remember of the user: Likes tea." in agent.context(asked).text
        agent.respond(asked)
    assert "You remember of the user: Likes tea." in model.calls[0][0].text


def test_an_unknown_presentation_is_refused() -> None:
    with pytest.raises(ConfigError, match="presentation = 'wild': must be 'lists', 'flat'"):
        load_config(env={}, presentation="wild")


def test_variables_of_the_evaluations_are_no_settings() -> None:
    assert load_config(env={"AGENTMEM_EVAL_CACHE": "/somewhere"}) == Config()
