"""mem0 and langmem as systems: run where they are installed (pip install 'agentmem[peers]'), else refused in words."""

from __future__ import annotations

import importlib.util
import json
import threading
from collections.abc import Iterator
from datetime import date
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from langchain_core.messages import HumanMessage

from agentmem.errors import ConfigError
from agentmem.memory import Source
from agentmem.models.embed import Embedder
from agentmem.models.local import LocalChatModel
from agentmem.session import Session, make_session
from eval.benchmarks import get_benchmark
from eval.errors import SystemFailedError, UnsupportedError
from eval.harness import evaluate
from eval.settings import Settings
from eval.systems import Guarded, SystemSpec, UserMemory, make_system
from eval.systems.langmem import ToolCaller, calls_schema
from tests.tiny_gguf import write_tiny_gguf

MISSING = "mem0 and langmem are not installed: pip install 'agentmem[peers]'"

ROME = make_session(
    [
        {"role": "user", "content": "I live in Rome and never eat almonds."},
        {"role": "assistant", "content": "Rome, and no almonds: noted."},
        {"role": "user", "content": "Which pasta keeps well?"},
        {"role": "assistant", "content": " "},
    ],
    id="s1",
    date=date(2024, 1, 1),
)
MILAN = make_session([{"role": "user", "content": "I live in Milan now."}], id="s2", date=date(2024, 2, 1))


def _peers() -> None:
    # not importorskip, which would import mem0 with its telemetry on
    if any(importlib.util.find_spec(package) is None for package in ("mem0", "qdrant_client", "langmem")):
        pytest.skip(MISSING)


@pytest.fixture(params=["mem0", "langmem"])
def plain(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[UserMemory]:
    """The memory of each peer with infer off, which has seen both sessions."""
    _peers()
    memory = make_system(SystemSpec(label=request.param, embedder="hash")).open(tmp_path / "user")
    memory.observe(ROME)
    memory.observe(MILAN)
    yield memory
    memory.close()


@pytest.mark.parametrize("label", ["mem0", "mem0:infer", "langmem", "langmem:infer"])
def test_a_missing_package_is_named_with_what_to_type(label: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    gone = {"mem0", "langmem"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name in gone else real(name, *rest))
    with pytest.raises(ConfigError, match=rf"system {label}: needs a package .* pip install 'agentmem\[peers\]'"):
        make_system(SystemSpec(label=label, embedder="hash"))


def test_plain_texts_are_found_with_the_turns_they_were_said_in(plain: UserMemory) -> None:
    hits = plain.search("Where do I live? In Rome?", 2)
    assert [hit.sources for hit in hits] == [(Source(session="s1", turn=0),), (Source(session="s2", turn=0),)]
    assert hits[0].text == "I live in Rome and never eat almonds." and hits[0].kind == "turn"
    assert hits[0].score > hits[1].score
    assert len(plain.search("almonds", 10)) == 4, "both roles are kept, the blank message is not"
    assert not plain.search("almonds", 10, kinds=("memory",)), "nothing was written"


def test_a_search_as_of_a_day_finds_nothing_later(plain: UserMemory) -> None:
    assert {hit.sources[0].session for hit in plain.search("I live in Milan now.", 5, at=date(2024, 1, 15))} == {"s1"}


def test_user_turns_are_listed_as_facts_with_their_own_words(plain: UserMemory) -> None:
    listed = plain.memories()
    assert [one.text for one in listed] == [
        "I live in Rome and never eat almonds.", "Which pasta keeps well?", "I live in Milan now.",
    ]  # fmt: skip
    assert [(e.session, e.turn) for one in listed for e in one.evidence] == [("s1", 0), ("s1", 2), ("s2", 0)]
    assert [one.valid_at for one in listed] == [date(2024, 1, 1), date(2024, 1, 1), date(2024, 2, 1)]


def test_a_fork_goes_on_alone_and_absorbing_takes_over_everything(plain: UserMemory, tmp_path: Path) -> None:
    copy = plain.fork(tmp_path / "copy")
    copy.observe(make_session([{"role": "user", "content": "My cat is called Otto."}], id="s3"))
    assert copy.search("cat Otto", 1)[0].sources == (Source(session="s3", turn=0),)
    assert len(copy.memories()) == 4 and len(plain.memories()) == 3
    plain.absorb(make_other(plain, tmp_path))
    assert plain.search("violin lessons", 1)[0].sources == (Source(session="s9", turn=0),)
    assert len(plain.memories()) == 7
    copy.close()


def make_other(like: UserMemory, tmp_path: Path) -> UserMemory:
    other = make_system(SystemSpec(label=like.name, embedder="hash")).open(tmp_path / "other")
    said = ["I take violin lessons.", "Thanks!", "Thanks!", "Thanks!"]  # one text several times, as people do
    other.observe(make_session([{"role": "user", "content": text} for text in said], id="s9"))
    return other


def test_the_context_lists_what_was_found_within_the_budget(plain: UserMemory) -> None:
    whole = plain.context("Where do I live?")
    assert whole.text.startswith("Memories of the user:\n- I live in ") and whole.tokens <= 2000
    assert plain.context("Where do I live?", budget=20).text.count("\n- ") == 1
    assert plain.context("Where do I live?", budget=6).text == ""


def test_the_nearest_standing_instruction_is_taken(plain: UserMemory) -> None:
    profile = ["Use euros for amounts.", "Put jazz first when I ask for music."]
    assert plain.applicable(profile, "Recommend some music, please.") == [profile[1]]
    assert len(plain.memories()) == 3, "the profile does not stay"


def test_only_mem0_keeps_files(plain: UserMemory) -> None:
    if plain.name == "mem0":
        assert (plain.root() / "history.db").is_file() and (plain.root() / "qdrant").is_dir()
    else:
        with pytest.raises(UnsupportedError):
            plain.root()


@pytest.mark.parametrize("label", ["mem0", "langmem"])
def test_they_run_in_the_harness(label: str, tmp_path: Path) -> None:
    _peers()
    settings, spec = Settings(limit=6), SystemSpec(label=label, embedder="hash")
    report = evaluate(get_benchmark("tiny"), spec, settings, tmp_path / "run.json")
    assert {"recall@5", "value_recall"} <= set(report.metrics)
    assert all(metric.unscored == 0 and metric.n for metric in report.metrics.values())


def test_the_speed_benchmark_times_every_peer_against_agentmem(hashed: Embedder, tmp_path: Path) -> None:
    _peers()
    from benchmarks.peers import side_by_side

    rows = list(side_by_side(tmp_path, hashed, 40, 4))
    peers = ("mem0 on Chroma", "mem0 on Qdrant", "langmem's store", "embedding alone")
    assert [row.what for row in rows] == [
        f"{what} 40, p{quantile}: {peer}" for what in ("add to", "search in") for quantile in (50, 95) for peer in peers
    ]
    assert all(row.ms > 0 and row.against == "agentmem" and row.target is None for row in rows)


# -- memories written by a chat model ---------------------------------------------------------------------------------


class _Server:
    """An OpenAI-compatible server on 127.0.0.1 that answers what it is told to."""

    def __init__(self) -> None:
        self.replies: list[dict[str, object]] = []
        self.asked: list[dict[str, object]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                message = {"role": "assistant", "content": None} | outer.replies.pop(0)
                choice = {"index": 0, "message": message, "finish_reason": "stop"}
                usage = {"prompt_tokens": 100, "completion_tokens": 7, "total_tokens": 107}
                reply = {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
                body = json.dumps(reply | {"usage": usage}).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._http = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}/v1"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Server]:
    made = _Server()
    monkeypatch.setenv("OPENAI_BASE_URL", made.url)
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    monkeypatch.delenv("OPENROUTER_API_KEY", raising=False)
    yield made
    made.close()


def _remember(*texts: str) -> dict[str, object]:
    """A reply in mem0's form."""
    return {"content": json.dumps({"memory": [{"id": str(n), "text": text} for n, text in enumerate(texts)]})}


def _call(text: str) -> dict[str, object]:
    """A reply in langmem's form."""
    call = {"name": "Memory", "arguments": json.dumps({"content": text})}
    return {"tool_calls": [{"id": "c1", "type": "function", "function": call}]}


@pytest.mark.parametrize("label", ["mem0:infer", "langmem:infer"])
def test_written_memories_rest_on_the_user_turns_of_their_session(label: str, server: _Server, tmp_path: Path) -> None:
    _peers()
    system = make_system(SystemSpec(label=label, embedder="hash", model="openai:scripted"))
    memory = system.open(tmp_path / "user")
    reply = _remember if label == "mem0:infer" else _call
    server.replies = [reply("Lives in Rome"), reply("Lives in Milan")]
    memory.observe(ROME)
    memory.observe(MILAN)
    hit = memory.search("Lives in Rome", 1)[0]
    assert (hit.kind, hit.text) == ("memory", "Lives in Rome")
    assert hit.sources == (Source(session="s1", turn=0), Source(session="s1", turn=2))
    assert not memory.search("Lives in Rome", 1, kinds=("turn",))
    assert [(one.text, one.valid_at, one.evidence) for one in memory.memories()] == [
        ("Lives in Rome", date(2024, 1, 1), ()), ("Lives in Milan", date(2024, 2, 1), ()),
    ]  # fmt: skip
    assert system.usage == {"calls": 2, "prompt_tokens": 200, "completion_tokens": 14}  # pyright: ignore
    assert "almonds" in json.dumps(server.asked[0]) and server.asked[0]["model"] == "scripted"
    memory.close()


@pytest.mark.parametrize(
    ("label", "reply"),
    [
        ("mem0:infer", {"content": "The user lives in Rome."}),
        ("mem0:infer", {"content": '{"facts": ["Lives in Rome"]}'}),
        ("mem0:infer", {"content": ""}),
        ("mem0:infer", {"content": '{"memory": ["Lives in Rome"]}'}),
        ("langmem:infer", {"content": "The user lives in Rome."}),
    ],
)
def test_a_reply_that_a_peer_drops_is_a_failure_not_an_empty_memory(
    label: str, reply: dict[str, object], server: _Server, tmp_path: Path
) -> None:
    _peers()
    system = make_system(SystemSpec(label=label, embedder="hash", model="openai:scripted"))
    memory = Guarded(system.open(tmp_path / "user"), label)
    server.replies = [reply]
    with pytest.raises(SystemFailedError):
        memory.observe(ROME)
    memory.close()


def test_nothing_to_remember_is_no_failure(server: _Server, tmp_path: Path) -> None:
    _peers()
    memory = make_system(SystemSpec(label="mem0:infer", embedder="hash", model="openai:scripted")).open(tmp_path / "u")
    server.replies = [_remember(), _remember("Lives in Rome"), _remember("Lives in Rome")]
    for id in ("a", "b", "c"):
        memory.observe(Session(id=id, messages=ROME.messages))
    assert [one.text for one in memory.memories()] == ["Lives in Rome"], "the third said what was known"
    memory.close()


@pytest.mark.parametrize("label", ["mem0:infer", "langmem:infer"])
def test_a_model_without_a_server_is_refused(label: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _peers()
    with pytest.raises(ConfigError, match=f"system {label}: its chat model must be local:NAME or openai:NAME"):
        make_system(SystemSpec(label=label, embedder="hash", model="ollama:x"))
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ConfigError, match="set OPENAI_API_KEY"):
        make_system(SystemSpec(label=label, embedder="hash", model="openai:x"))
    with pytest.raises(ConfigError, match="choose "):
        make_system(SystemSpec(label=label.replace("infer", "other"), embedder="hash"))


# -- the local model, which needs no peers ----------------------------------------------------------------------------


def test_the_local_engine_serves_an_openai_api_under_its_key(tmp_path: Path) -> None:
    openai = pytest.importorskip("openai", reason="the openai client is not installed")
    model = LocalChatModel(path=write_tiny_gguf(tmp_path / "tiny.gguf"), context=512, threads=1)
    url, key = model.endpoint()
    assert url.startswith("http://127.0.0.1:") and url.endswith("/v1")
    ask = [{"role": "user", "content": "hi"}]
    reply = openai.OpenAI(base_url=url, api_key=key).chat.completions.create(model="m", messages=ask, max_tokens=3)
    assert reply.usage.completion_tokens == 3
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=url, api_key="wrong").chat.completions.create(model="m", messages=ask)


def test_tool_calls_of_a_model_that_knows_none_can_be_read(tmp_path: Path) -> None:
    form = {"type": "object", "properties": {"likes_tea": {"type": "boolean"}}, "required": ["likes_tea"]}
    tool = {"type": "function", "function": {"name": "Memory", "description": "Store", "parameters": form}}
    inner = LocalChatModel(path=write_tiny_gguf(tmp_path / "tiny.gguf"), context=2048, threads=1, max_tokens=400)
    reply = ToolCaller(inner=inner).bind_tools([tool]).invoke([HumanMessage("I like tea")])
    assert all(call["name"] == "Memory" and set(call["args"]) == {"likes_tea"} for call in reply.tool_calls)
    assert reply.usage_metadata and reply.response_metadata["calls"] == (len(reply.tool_calls) or None)


def test_the_schema_of_calls_has_every_tool_and_its_definitions() -> None:
    inner = {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"type": "string"}}}
    schema = calls_schema([{"name": "One", "parameters": inner}, {"name": "Two", "parameters": {"type": "object"}}])
    assert schema["$defs"] == {"A": {"type": "string"}}
    forms = schema["properties"]["calls"]["items"]["anyOf"]
    assert [form["properties"]["name"]["const"] for form in forms] == ["One", "Two"]
    assert "$defs" not in forms[0]["properties"]["arguments"]
