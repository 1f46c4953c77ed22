"""Memory policies: they read known memories and a conversation, and propose edits in the action language."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from agentmem.errors import ConfigError, boundary
from agentmem.policy.auto import DEFAULT, AutoPolicy
from agentmem.policy.base import MemoryPolicy, Observation, Proposal
from agentmem.policy.edits import Edit
from agentmem.policy.prompted import PromptedPolicy
from agentmem.policy.trained import TrainedPolicy, load_trained

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from agentmem.models.embed import Embedder

__all__ = [
    "DEFAULT",
    "AutoPolicy",
    "Edit",
    "MemoryPolicy",
    "Observation",
    "PromptedPolicy",
    "Proposal",
    "TrainedPolicy",
    "get_policy",
    "load_trained",
    "trained_folder",
]

POLICIES = ("auto", "offline", "trained", "prompted")


def get_policy(
    name: str,
    *,
    embedder: Callable[[], Embedder],
    model: Callable[[], BaseChatModel],
    cache: Path | None = None,
    device: str | None = None,
) -> MemoryPolicy:
    """The policy called `name`; it takes only what it needs of the embedder and the chat model.

    Args:
        name: "auto" (the trained policy; the offline one while its base cannot be had), "offline", "trained" (the
            adapter that ships), "prompted", or the folder of another (see `load_trained`).
        embedder: makes it.
        model: makes the chat model.
        cache: folder of downloaded models, for the base of an adapter; None is the user's cache folder.
        device: where a trained policy runs: cpu, cuda or mps; None chooses.

    Raises:
        ConfigError: no policy has this name, or the adapter cannot be used.
    """

    def offline() -> MemoryPolicy:
        from agentmem.policy.offline import OfflinePolicy

        return OfflinePolicy(embedder())

    if name == "auto":
        return AutoPolicy(offline, cache=cache, device=device)
    if name == "offline":
        return offline()
    if name == "prompted":
        from agentmem.models.judges import shipped
        from agentmem.policy.heard import HeardPolicy

        return HeardPolicy(PromptedPolicy(model()), embedder(), shipped("forgetting"))
    if name == "trained":
        return load_trained(DEFAULT, cache=cache, device=device)
    if folder := trained_folder(name):
        return load_trained(folder, cache=cache, device=device)
    raise ConfigError(f"policy {name!r}: choose one of {', '.join(POLICIES)}, or the folder of a trained adapter")


def trained_folder(name: str) -> Path | None:
    """The folder that the name of a policy is; None where it is none."""
    if name in POLICIES:
        return None
    with boundary(ConfigError, f"policy {name!r}"):
        folder = Path(name).expanduser()
    return folder if name and folder.is_dir() else None
