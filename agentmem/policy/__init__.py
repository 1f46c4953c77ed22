"""Memory policies: they read known memories and a conversation, and propose edits in the action language."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from agentmem.errors import ConfigError
from agentmem.policy.base import MemoryPolicy, Observation, Proposal
from agentmem.policy.edits import Edit
from agentmem.policy.prompted import PromptedPolicy

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from agentmem.models.embed import Embedder

__all__ = ["Edit", "MemoryPolicy", "Observation", "PromptedPolicy", "Proposal", "get_policy"]

POLICIES = ("offline", "prompted")


def get_policy(name: str, *, embedder: Callable[[], Embedder], model: Callable[[], BaseChatModel]) -> MemoryPolicy:
    """The policy called `name`; it takes only what it needs of the embedder and the chat model.

    Raises:
        ConfigError: no policy has this name.
    """
    if name == "offline":
        from agentmem.policy.offline import OfflinePolicy

        return OfflinePolicy(embedder())
    if name == "prompted":
        return PromptedPolicy(model())
    raise ConfigError(f"policy {name!r}: choose one of {', '.join(POLICIES)}")
