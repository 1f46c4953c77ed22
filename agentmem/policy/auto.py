"""AutoPolicy: the trained policy that ships, or the offline one while the trained one's base cannot be had."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from agentmem.errors import ModelError
from agentmem.policy.base import MemoryPolicy, Observation, Proposal
from agentmem.policy.trained import load_trained

DEFAULT = Path(__file__).parent / "data" / "default"
"""The adapter that ships: what "trained" names (docs/default-policy.md; its recipe is `make train-default`)."""

_log = logging.getLogger("agentmem")


class AutoPolicy:
    """Whichever of both can be used; which it is is found out at the first use, and the same in the whole process.

    Args:
        offline: makes the policy that stands in.
        cache: folder of downloaded models; None is the user's cache folder.
        device: where the trained policy runs: cpu, cuda or mps; None chooses.
    """

    def __init__(
        self, offline: Callable[[], MemoryPolicy], *, cache: Path | None = None, device: str | None = None
    ) -> None:
        self._offline, self._cache, self._device = offline, cache, device

    @property
    def name(self) -> str:
        """Of the policy that writes, for the journal."""
        return self._chosen.name

    def propose(self, observations: Sequence[Observation], /) -> list[Proposal]:
        """One proposal an observation. Raises ModelError when a model that was loaded fails: nothing stands in then."""
        return self._chosen.propose(observations)

    @functools.cached_property
    def _chosen(self) -> MemoryPolicy:
        if missing(self._cache, self._device):
            return self._offline()
        return load_trained(DEFAULT, cache=self._cache, device=self._device)


def missing(cache: Path | None, device: str | None) -> str:
    """Why the trained policy cannot be used, empty if it can; its base is fetched and loaded to know it.

    Found out, and said in a warning, once a process: a memory is written by one policy as long as the process runs, and
    a network that is away is waited for once. The next process tries again.
    """
    with _ASKING:
        return _missing(cache, device)


_ASKING = threading.Lock()


@functools.lru_cache
def _missing(cache: Path | None, device: str | None) -> str:
    try:
        load_trained(DEFAULT, cache=cache, device=device, at_once=True)
    except ModelError as error:
        _log.warning(
            "the offline policy writes the memories: the trained one needs %s, which cannot be had now. The next start "
            'tries again; set policy to "offline" (agentmem config set policy offline) to stay with this one. %s',
            _base(), error,
        )  # fmt: skip
        return str(error)
    return ""


def _base() -> str:
    """What the adapter needs, with its size."""
    from agentmem.models.lora import adapter_config
    from agentmem.models.weights import WEIGHTS

    name = str(adapter_config(DEFAULT)["base_model_name_or_path"])
    return f"{name} ({WEIGHTS[name].size / 1e6:.0f} MB)" if name in WEIGHTS else name
