"""Rollouts by vLLM, without vLLM: a server that keeps to its documented API, and a module that stands for it."""

from __future__ import annotations

import json
import random
import sys
import threading
import types
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
import torch

pytest.importorskip("peft", reason="needs the extra train")

from typer.testing import CliRunner

from agentmem.cli import app
from agentmem.errors import ConfigError, ModelError
from agentmem.models.sampling import sample
from agentmem.policy.edits import grammar
from agentmem.train.adapters import Adapted
from agentmem.train.learner import Learner
from agentmem.train.recipes import RFTRecipe, Rollouts
from agentmem.train.runs import read_metrics
from agentmem.train.synthetic import END, Lives
from agentmem.train.trainer import Trainer
from agentmem.train.values import Group, Trajectory
from agentmem.train.vllm_samplers import Grammatical, VLLMSampler, VLLMServerSampler
from tests.test_train_runs_whole import EDITS, HISTORIES, QUICK, base  # noqa: F401  a fixture
from tests.test_train_trainer import adapted, learner_of, low, tiny

COMPLETION = {"model", "prompt", "n", "max_tokens", "temperature", "top_p", "top_k", "min_p", "repetition_penalty",
              "presence_penalty", "frequency_penalty", "seed", "stop_token_ids", "return_token_ids",
              "structured_outputs"}  # fmt: skip
"""Fields of vLLM's CompletionRequest that are sent."""


class Served:
    """What vLLM's server does with these routes, over a tiny model: adapters by name, refusals as JSON with a code."""

    def __init__(
        self, model: Adapted, *, runtime_updating: bool = True, token_ids: bool = True, stop_in_ids=True
    ) -> None:
        self.model, self.loaded, self.requests, self.unloaded = model, dict[str, Path](), [], []
        self._updating, self._token_ids, self._stop_in_ids = runtime_updating, token_ids, stop_in_ids
        self._lock = threading.Lock()  # one model, with one adapter at a time

    def answer(self, path: str, body: dict) -> tuple[int, object]:
        with self._lock:
            self.requests.append((path, body))
            if path == "/v1/completions":
                return self._completion(body)
            if not self._updating or path not in ("/v1/load_lora_adapter", "/v1/unload_lora_adapter"):
                return 404, {"detail": "Not Found"}
            return self._load(body) if path == "/v1/load_lora_adapter" else self._unload(body)

    def _load(self, body) -> tuple[int, object]:
        assert body.keys() == {"lora_name", "lora_path"}
        name, folder = body["lora_name"], Path(body["lora_path"])
        if name in self.loaded:
            return 400, _error(f"The lora adapter '{name}' has already been loaded.")
        if not (folder / "adapter_config.json").is_file():
            return 404, _error(f"No adapter found for {folder}")
        self.model.read("policy", folder)
        self.loaded[name] = folder
        return 200, f"Success: LoRA adapter '{name}' added successfully."

    def _unload(self, body) -> tuple[int, object]:
        assert body.keys() == {"lora_name"}
        if self.loaded.pop(body["lora_name"], None) is None:
            return 404, _error("cannot be found")
        self.unloaded.append(body["lora_name"])
        return 200, "Success"

    def _completion(self, body) -> tuple[int, object]:
        assert body.keys() <= COMPLETION and all(isinstance(token, int) for token in body["prompt"])
        assert (body["n"], body["top_p"], body["top_k"], body["min_p"], body["repetition_penalty"]) == (1, 1, -1, 0, 1)
        if body["model"] not in self.loaded:
            return 404, _error(f"The model `{body['model']}` does not exist.")
        generator = torch.Generator().manual_seed(body["seed"])
        [ids] = sample(self.model.model, [body["prompt"]], stops=body["stop_token_ids"], max_tokens=body["max_tokens"],
                       temperature=body["temperature"], generator=generator)  # fmt: skip
        stopped = ids[-1] in body["stop_token_ids"]
        choice = {"index": 0, "text": "", "finish_reason": "stop" if stopped else "length",
                  "stop_reason": ids[-1] if stopped else None}  # fmt: skip
        if self._token_ids and body["return_token_ids"]:
            choice["token_ids"] = ids if self._stop_in_ids or not stopped else ids[:-1]
        return 200, {"object": "text_completion", "choices": [choice]}


def _error(message: str) -> dict:
    return {"error": {"message": message, "type": "BadRequestError", "code": 400}}


@pytest.fixture
def serve(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    started = []

    def start(served: Served) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status, found = served.answer(self.path, body)
                told = json.dumps(found).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(told)))
                self.end_headers()
                self.wfile.write(told)

            def log_message(self, format, *args) -> None:
                pass

        class Server(ThreadingHTTPServer):
            request_queue_size = 128  # as many as come at once

        server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        started.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in started:
        server.shutdown()
        server.server_close()


def blank() -> Adapted:
    """The base, with an adapter that does nothing yet."""
    return Adapted(tiny(), rank=4, alpha=8).double()


class Given(Lives):
    """The made-up task; the reward is the share of low tokens."""

    def play(self, places, times, rng):
        return [Group(group.name, [Trajectory(one.steps, low(one)) for one in group.trajectories])
                for group in super().play(places, times, rng)]  # fmt: skip


def test_the_server_samples_from_the_policy_as_it_is_in_each_iteration(serve, tmp_path):
    """The other way round: a sampler that is not told of a change would leave the ratio of probabilities."""
    model, served = adapted(("policy",)), Served(blank())
    learner = learner_of(model, tokens=256)
    sampler = VLLMServerSampler(serve(served), learner, tmp_path / "s", {END}, temperature=1.0)
    greedy = VLLMServerSampler(sampler.url + "/v1/", learner, tmp_path / "g", {END}, temperature=0.0)
    recipe = RFTRecipe(rate=0.03, rollouts=Rollouts(histories=2, group=4))
    trainer = Trainer(learner, Given(sampler, turns=2), recipe, sampler.ready)
    prompts = [[9, 5, 4], [12], [30, 31, 9, 9]]
    for number in range(3):
        made = trainer.iterate(number)
        assert served.model.weights("policy").keys() == model.weights("policy").keys()
        assert all(step.ids for group in made.groups for one in group.trajectories for step in one.steps)
        with greedy.ready():
            found = greedy.sample(prompts, 5, random.Random(0))
        with torch.no_grad():
            assert found == sample(model.model, prompts, stops={END}, max_tokens=5)
    names = [body["lora_name"] for path, body in served.requests if path == "/v1/load_lora_adapter"]
    assert len(set(names)) == len(names) == 6 and served.unloaded == [
        name for name in names if name not in served.loaded
    ]
    assert len(served.loaded) == 2 and all(folder.is_dir() for folder in served.loaded.values())
    assert len(list((tmp_path / "s").iterdir())) == 1  # files of older ones are gone
    seeds = [body["seed"] for path, body in served.requests if path == "/v1/completions" and body["temperature"]]
    assert len(set(seeds)) == len(seeds) == 3 * 2 * 4 * 2


def test_a_policy_that_has_not_changed_is_not_sent_again(serve, tmp_path):
    model, served = adapted(("policy",)), Served(blank())
    sampler = VLLMServerSampler(serve(served), learner_of(model), tmp_path, {END})
    for _ in range(2):
        with sampler.ready():
            pass
    assert [path for path, _ in served.requests] == ["/v1/load_lora_adapter"]


@pytest.mark.parametrize("stop_in_ids", [True, False])
def test_the_same_seed_gives_the_same_and_the_stop_is_part_of_it(serve, tmp_path, stop_in_ids):
    sampler = VLLMServerSampler(serve(Served(blank(), stop_in_ids=stop_in_ids)), learner_of(adapted(("policy",))),
                                tmp_path, {END, *range(20, 30)})  # fmt: skip
    with sampler.ready():
        one, other = (sampler.sample([[9]] * 24, 6, random.Random(3)) for _ in range(2))
        assert sampler.sample([], 6, random.Random(3)) == []
    assert one == other and len({tuple(ids) for ids in one}) > 12  # a group is not one answer many times
    stops = {END, *range(20, 30)}
    assert all(len(ids) == 6 or ids[-1] in stops for ids in one) and any(ids[-1] in stops for ids in one)
    assert not any(token in stops for ids in one for token in ids[:-1])


def test_grammars_go_to_the_server(serve, tmp_path):
    served = Served(blank())
    sampler = VLLMServerSampler(serve(served), learner_of(adapted(("policy",))), tmp_path, {END})
    rows = [grammar(["p1"]), grammar([])]
    with sampler.ready():
        sampler.sample([[9], [10]], 2, random.Random(0), [Grammatical().rows(rows)])  # type: ignore[list-item]
        sent = {body["prompt"][0]: body["structured_outputs"] for path, body in served.requests if "prompt" in body}
        assert sent == {9: {"grammar": rows[0]}, 10: {"grammar": rows[1]}}
        with pytest.raises(ConfigError, match="--sampler own"):
            sampler.sample([[9]], 2, random.Random(0), [lambda places: lambda ids, scores: scores])


def refused(sampler: VLLMServerSampler) -> str:
    with pytest.raises(ModelError) as caught, sampler.ready():
        sampler.sample([[9]], 2, random.Random(0))
    assert "\n" not in str(caught.value) and sampler.url in str(caught.value)
    return str(caught.value)


def test_errors_name_the_server_and_the_fix(serve, tmp_path):
    learner = learner_of(adapted(("policy",)))

    def at(url: str) -> VLLMServerSampler:
        return VLLMServerSampler(url, learner, tmp_path, {END})

    assert "see that it runs" in refused(at("http://127.0.0.1:9"))
    assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True" in refused(at(serve(Served(blank(), runtime_updating=False))))
    assert "newer vLLM" in refused(at(serve(Served(blank(), token_ids=False))))
    other = Served(blank())
    other._load = lambda body: (500, _error("LoRA rank 4 is greater than max_lora_rank 1.\nTraceback"))
    assert "max_lora_rank 1.; the server must have" in refused(at(serve(other)))
    gone = Served(blank())
    gone._load = lambda body: (200, "Success")
    assert "does not exist" in refused(at(serve(gone)))
    strange = Served(blank())
    strange._completion = lambda body: (200, {"choices": [{"token_ids": [5], "finish_reason": "stop"}]})
    assert "must serve the base" in refused(at(serve(strange)))


def test_a_run_from_the_command_line(serve, base, tmp_path):  # noqa: F811
    from agentmem.models.likelihood import load_causal

    served = Served(Adapted(load_causal(base, device="cpu")[0], rank=16, alpha=32))
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps(one) + "\n" for one in [*EDITS, *HISTORIES]), "utf-8")
    words = ["train", "rft", str(data), "--base", str(base), "--out", str(tmp_path / "run"), "--reward", "edits=1",
             "--reward", "unreadable=-1", *QUICK]  # fmt: skip
    done = CliRunner().invoke(
        app, [*words, "--sampler", serve(served), "--constrained", "--checkpointing"], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    assert len(read_metrics(tmp_path / "run")) == 2 and served.loaded
    assert all("root ::=" in body["structured_outputs"]["grammar"] for _, body in served.requests if "prompt" in body)


# -- an engine in this process


class FakeLLM:
    """vllm.LLM as far as it is used: it takes these arguments, and answers by a tiny model."""

    model: Adapted
    made: list[FakeLLM]

    def __init__(self, model, *, dtype, enable_lora, max_loras, max_lora_rank, gpu_memory_utilization,
                 enable_sleep_mode, seed, distributed_executor_backend=None):  # fmt: skip
        assert (Path(model) / "config.json").is_file() and dtype == "float32" and enable_lora and enable_sleep_mode
        assert max_lora_rank in (8, 16, 32, 64, 128, 256, 320, 512) and 0 < gpu_memory_utilization < 1
        assert max_loras == 1 and distributed_executor_backend is None and isinstance(seed, int)
        self.awake, self.requests, self.levels = True, [], []
        FakeLLM.made.append(self)

    def sleep(self, level=1):
        assert self.awake
        self.awake = False
        self.levels.append(level)

    def wake_up(self, tags=None):
        assert not self.awake
        self.awake = True

    def generate(self, prompts, sampling_params, *, lora_request, use_tqdm):
        assert self.awake and len(prompts) == len(sampling_params)
        if not self.requests or self.requests[-1] != lora_request:
            assert lora_request.lora_int_id > (self.requests[-1].lora_int_id if self.requests else 0)
            self.model.read("policy", Path(lora_request.lora_path))
            self.requests.append(lora_request)
        return [
            self._one(prompt["prompt_token_ids"], own) for prompt, own in zip(prompts, sampling_params, strict=True)
        ]

    def _one(self, ids, own):
        generator = torch.Generator().manual_seed(own["seed"])
        assert own.keys() | {"structured_outputs"} == (COMPLETION - {"model", "prompt", "return_token_ids"})
        [written] = sample(self.model.model, [ids], stops=own["stop_token_ids"], max_tokens=own["max_tokens"],
                           temperature=own["temperature"], generator=generator)  # fmt: skip
        stopped = written[-1] in own["stop_token_ids"]
        output = types.SimpleNamespace(token_ids=tuple(written), finish_reason="stop" if stopped else "length",
                                       stop_reason=written[-1] if stopped else None)  # fmt: skip
        return types.SimpleNamespace(outputs=[output])


class FakeRequest(types.SimpleNamespace):
    def __init__(self, lora_name, lora_int_id, lora_path):
        super().__init__(lora_name=lora_name, lora_int_id=lora_int_id, lora_path=lora_path)


@pytest.fixture
def vllm(monkeypatch):
    names = ["vllm", "vllm.sampling_params", "vllm.lora", "vllm.lora.request"]
    modules = {name: types.ModuleType(name) for name in names}
    for name, module in modules.items():
        module.__spec__ = ModuleSpec(name, None)
        monkeypatch.setitem(sys.modules, name, module)
    modules["vllm"].LLM = FakeLLM  # type: ignore[attr-defined]
    modules["vllm.sampling_params"].SamplingParams = dict  # type: ignore[attr-defined]
    modules["vllm.sampling_params"].StructuredOutputsParams = dict  # type: ignore[attr-defined]
    modules["vllm.lora.request"].LoRARequest = FakeRequest  # type: ignore[attr-defined]
    FakeLLM.made = []
    return FakeLLM


def engine_parts(base: Path) -> tuple[Learner, Adapted]:  # noqa: F811
    from agentmem.models.likelihood import load_causal

    models = [Adapted(load_causal(base, device="cpu")[0], rank=4, alpha=8) for _ in range(2)]
    return learner_of(models[0], rate=0.01), models[1]


def test_an_engine_in_this_process_has_the_policy_of_each_iteration_and_sleeps_between(vllm, base, tmp_path):  # noqa: F811
    learner, vllm.model = engine_parts(base)
    sampler = VLLMSampler(learner, tmp_path, {2}, rank=4, temperature=0.0)
    [engine] = vllm.made
    assert not engine.awake and engine.levels == [1]
    prompts = [[9, 5, 4], [12]]
    for number in range(2):
        with sampler.ready():
            found = sampler.sample(prompts, 5, random.Random(0))
            assert found == sample(learner.adapted.model, prompts, stops={2}, max_tokens=5)
            held = Grammatical().rows([grammar([])] * 2)
            sampler.sample(prompts, 5, random.Random(0), [held])  # type: ignore[list-item]
        assert not engine.awake and len(engine.requests) == number + 1
        with torch.no_grad():
            for parameter in learner.adapted.parameters_of("policy"):
                parameter += torch.randn_like(parameter)
    assert len({request.lora_name for request in engine.requests}) == 2


def test_without_vllm_the_fix_is_named(base, tmp_path):  # noqa: F811
    learner, _ = engine_parts(base)
    with pytest.raises(ConfigError, match=r"pip install 'agentmem\[vllm\]'"):
        VLLMSampler(learner, tmp_path, {2}, rank=4)
