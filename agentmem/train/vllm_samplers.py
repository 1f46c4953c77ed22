"""Rollouts by vLLM: a server of its own, or an engine in this process. Each change of the policy goes there as a file.

vLLM keeps keys and values of prompts by the *name* of an adapter: weights under a name that it knows would meet the
caches of the old ones. So each change has a name of its own. Sampled are the same distributions as elsewhere, up to
vLLM's arithmetic; what is trained on are the trainer's own probabilities. A seed does not fix vLLM's results to the
last bit: they depend on what else is in the batch.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import logging
import random
import shutil
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from agentmem.errors import ConfigError, ModelError, boundary
from agentmem.models.sampling import RowProcessor
from agentmem.train.adapters import Adapted

RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""That vLLM can be told as the greatest."""

_log = logging.getLogger("agentmem")


class Processes(Protocol):
    """What a sampler needs of a learner."""

    adapted: Adapted
    rank: int
    ranks: int

    def gathered(self, value: Any) -> list[Any]:
        """The value of every process."""
        ...


@dataclass(frozen=True)
class Grammars:
    """GBNF, a grammar a row; for a sampler that holds answers to grammars itself, in the place of a processor."""

    rows: Sequence[str]


class Grammatical:
    """Stands where a `Constraint` does, for samplers that take `Grammars`."""

    def rows(self, grammars: Sequence[str]) -> Grammars:
        return Grammars(tuple(grammars))


class _Sent:
    """The policy's weights as files for somebody else, a folder and a name for each change."""

    def __init__(self, learner: Processes, folder: Path) -> None:
        self.learner, self._folder = learner, folder.absolute()
        [self._run, *_] = learner.gathered(uuid.uuid4().hex[:8])  # two runs may use one server
        self._last: Mapping[str, Tensor] = {}
        self.number = 0

    @property
    def name(self) -> str:
        """Of what was sent last; empty before."""
        return f"agentmem-{self._run}-{self.number:05d}" if self.number else ""

    def changed(self) -> bool:
        """Whether the policy is another one than at the last call, which counts it; all processes call it."""
        now = self.learner.adapted.weights("policy")
        same = now.keys() == self._last.keys() and all(torch.equal(now[name], self._last[name]) for name in now)
        same = all(self.learner.gathered(same))  # processes that disagreed would wait for each other
        self._last, self.number = now, self.number + (not same)
        return not same

    def written(self) -> Path:
        """The weights' folder; those before are removed. One process of those that share a disk calls it."""
        for old in self._folder.glob("agentmem-*"):
            shutil.rmtree(old)
        self.learner.adapted.save(self._folder / self.name, {"policy": self._last})
        return self._folder / self.name / "policy"


class VLLMServerSampler:
    """Samples from a vLLM server, one request a prompt, by its OpenAI-like /v1/completions.

    The server has the same base and is started with leave to change adapters:
    `VLLM_ALLOW_RUNTIME_LORA_UPDATING=True vllm serve BASE --enable-lora --max-lora-rank RANK`. It reads adapters from
    `folder`, which must lie on a disk that it sees under the same path. Of several processes the first one sends.

    Args:
        url: of the server, such as http://127.0.0.1:8000.
        learner: the model that is trained, on its processes.
        folder: for the adapter's files; older ones there are removed.
        stops: tokens that end an answer.
        temperature: that the rows are then read at, too.
        key: that the server asks for (--api-key).
        at_once: requests.
        seconds: that an answer may take.

    Raises:
        ConfigError: httpx is missing.
    """

    def __init__(
        self,
        url: str,
        learner: Processes,
        folder: Path,
        stops: Collection[int],
        *,
        temperature: float = 1.0,
        key: str = "",
        at_once: int = 64,
        seconds: float = 600.0,
    ) -> None:
        if importlib.util.find_spec("httpx") is None:
            raise ConfigError("rollouts by a vLLM server need httpx: pip install 'agentmem[train]'")
        import httpx

        self.url = url.rstrip("/").removesuffix("/v1")
        self._sent, self._stops, self._temperature, self._at_once = _Sent(learner, folder), stops, temperature, at_once
        limits = httpx.Limits(max_connections=at_once)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._client = httpx.Client(base_url=self.url, headers=headers, timeout=seconds, limits=limits)

    @contextlib.contextmanager
    def ready(self) -> Iterator[None]:
        """For rollouts: the server has the policy as it is now. All processes enter it; raises ModelError."""
        old = self._sent.name
        if self._sent.changed():
            if self._sent.learner.rank == 0:
                self._exchange(old)
            self._sent.learner.gathered(None)  # nobody samples before it is there
        yield

    def _exchange(self, old: str) -> None:
        if old:  # before the new one: the server may have room for one, and drop the old one to make it
            self._post("unload_lora_adapter", {"lora_name": old}, needed=False)
        path = self._sent.written()
        fix = f"the server must have the same base, a --max-lora-rank that suffices, and see {path}"
        self._post("load_lora_adapter", {"lora_name": self._sent.name, "lora_path": str(path)}, fix=fix)

    def sample(
        self,
        prompts: Sequence[Sequence[int]],
        max_tokens: int,
        rng: random.Random,
        processors: Sequence[RowProcessor] = (),
    ) -> list[list[int]]:
        """As `Sampler` has it. Raises ModelError, ConfigError for processors other than `Grammars`."""
        grammars = _grammars(processors, len(prompts))
        seeds = [rng.getrandbits(31) for _ in prompts]  # one seed for a group would make its trajectories alike
        with ThreadPoolExecutor(self._at_once) as pool:
            return list(pool.map(self._one, prompts, seeds, grammars, repeat(max_tokens)))

    def _one(self, prompt: Sequence[int], seed: int, grammar: str | None, max_tokens: int) -> list[int]:
        body = {"model": self._sent.name, "prompt": list(prompt), "return_token_ids": True}
        body |= _settings(max_tokens, self._temperature, seed, self._stops)
        if grammar is not None:
            body["structured_outputs"] = {"grammar": grammar}
        found = self._post("completions", body)
        with boundary(ModelError, f"{self.url}: the answer"):
            [choice] = found["choices"]
            ids = choice.get("token_ids")
        if ids is None:
            raise ModelError(f"{self.url}: answers without token ids; a newer vLLM gives them (return_token_ids)")
        return _ended(ids, choice.get("finish_reason"), choice.get("stop_reason"), self._stops, self.url)

    def _post(self, path: str, body: Mapping[str, Any], *, fix: str = "", needed: bool = True) -> Any:
        """What the server answers. Raises ModelError, for a refusal only where the answer is `needed`."""
        import httpx

        try:
            answer = self._client.post(f"/v1/{path}", json=body)
        except httpx.HTTPError as error:
            said = str(error) or type(error).__name__
            raise ModelError(f"{self.url}: no answer from the vLLM server ({said}); see that it runs") from error
        if answer.is_success:
            return _json(answer)
        message = _message(answer)
        if answer.status_code == 404 and path != "completions" and message == "Not Found":  # no such route
            fix = "start vLLM with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True"
        said = f"{self.url}/v1/{path}: {answer.status_code}: {message}{fix and '; '}{fix}"
        if needed:
            raise ModelError(said)
        _log.warning("%s", said)
        return None


class VLLMSampler:
    """Samples from a vLLM engine in this process, which sleeps while the policy is trained.

    Several processes have an engine each, on their own device, as TRL starts them.

    Args:
        learner: the model that is trained, on its processes.
        folder: for the adapter's files. Each process has a folder of its own in it.
        stops: tokens that end an answer.
        rank: of the adapter.
        temperature: that the rows are then read at, too.
        memory: share of the device's memory for vLLM's weights and cache, while it is awake.
        seed: of the engine.

    Raises:
        ConfigError: vLLM is missing, or cannot be started.
    """

    def __init__(
        self,
        learner: Processes,
        folder: Path,
        stops: Collection[int],
        *,
        rank: int,
        temperature: float = 1.0,
        memory: float = 0.4,
        seed: int = 0,
    ) -> None:
        if importlib.util.find_spec("vllm") is None:
            raise ConfigError("rollouts by vLLM in this process need it: pip install 'agentmem[vllm]'")
        if rank > RANKS[-1]:
            raise ConfigError(f"rank {rank}: vLLM takes adapters up to {RANKS[-1]}; a lower rank, or --sampler own")
        self._vllm = importlib.import_module("vllm")
        self._params = importlib.import_module("vllm.sampling_params")
        self._request = importlib.import_module("vllm.lora.request").LoRARequest
        self._sent = _Sent(learner, folder / str(learner.rank))
        self._stops, self._temperature, self._lora = stops, temperature, None
        base = learner.adapted.model.get_base_model()
        launcher = {"distributed_executor_backend": "external_launcher"} if learner.ranks > 1 else {}
        with boundary(ConfigError, "vLLM cannot be started"):
            self._llm = self._vllm.LLM(
                model=base.name_or_path, dtype=str(base.dtype).removeprefix("torch."), enable_lora=True, max_loras=1,
                max_lora_rank=min(one for one in RANKS if one >= rank), gpu_memory_utilization=memory,
                enable_sleep_mode=True, seed=seed, **launcher,
            )  # fmt: skip
            self._llm.sleep(level=1)

    @contextlib.contextmanager
    def ready(self) -> Iterator[None]:
        """For rollouts: the engine is awake and has the policy as it is now. All processes enter it."""
        if self._sent.changed():
            self._sent.learner.gathered(None)  # the first process has begun the run's folder before others write there
            self._lora = self._request(self._sent.name, self._sent.number, str(self._sent.written()))
        with boundary(ModelError, "vLLM"):
            self._llm.wake_up()
        try:
            yield
        finally:
            self._llm.sleep(level=1)

    def sample(
        self,
        prompts: Sequence[Sequence[int]],
        max_tokens: int,
        rng: random.Random,
        processors: Sequence[RowProcessor] = (),
    ) -> list[list[int]]:
        """As `Sampler` has it. Raises ModelError, ConfigError for processors other than `Grammars`."""
        if not prompts:
            return []
        settings = []
        for grammar in _grammars(processors, len(prompts)):
            own = _settings(max_tokens, self._temperature, rng.getrandbits(31), self._stops)
            if grammar is not None:
                own["structured_outputs"] = self._params.StructuredOutputsParams(grammar=grammar)
            settings.append(self._params.SamplingParams(**own))
        with boundary(ModelError, "vLLM"):
            found = self._llm.generate(
                [{"prompt_token_ids": list(prompt)} for prompt in prompts], settings, lora_request=self._lora,
                use_tqdm=False,
            )  # fmt: skip
        ended = [one.outputs[0] for one in found]
        return [_ended(one.token_ids, one.finish_reason, one.stop_reason, self._stops, "vLLM") for one in ended]


# -- what they share -------------------------------------------------------------------------------------------------


def _settings(max_tokens: int, temperature: float, seed: int, stops: Collection[int]) -> dict[str, Any]:
    """Of one answer. All that bends the distribution is named: a server else takes the model's generation settings."""
    return {"n": 1, "max_tokens": max_tokens, "temperature": temperature, "top_p": 1.0, "top_k": -1, "min_p": 0.0,
            "repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0, "seed": seed,
            "stop_token_ids": sorted(stops)}  # fmt: skip


def _grammars(processors: Sequence[Any], rows: int) -> Sequence[str | None]:
    """A grammar a row, or None a row."""
    if not processors:
        return [None] * rows
    [held, *more] = processors
    if more or not isinstance(held, Grammars):
        raise ConfigError("vLLM holds answers to grammars alone; other constraints of rollouts need --sampler own")
    return held.rows


def _ended(
    ids: Sequence[int], finish: str | None, stop: int | str | None, stops: Collection[int], who: str
) -> list[int]:
    """The ids with the stop that ended them, which vLLM's token ids hold too; where they do not, it is put there."""
    found = list(ids)
    if finish == "stop" and (not found or found[-1] not in stops):
        if stop not in stops:
            raise ModelError(f"{who}: ended an answer at a token that ends none here ({stop or found[-1:]}); it must "
                             "serve the base that is trained")  # fmt: skip
        found.append(int(stop))  # type: ignore[arg-type]
    return found


def _json(answer: Any) -> Any:
    """The body of an answer; nothing where it is no JSON object."""
    try:
        found = answer.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _message(answer: Any) -> str:
    """The first line of what went wrong, as {"error": {"message": …}}, {"message": …} or {"detail": …}."""
    found = _json(answer)
    error = found.get("error", found)
    said = error.get("message", error.get("detail")) if isinstance(error, dict) else error
    return (str(said or answer.text or answer.reason_phrase).splitlines() or [""])[0][:300]
