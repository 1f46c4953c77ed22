"""Chat models by name; an OpenAI-compatible server is a real one on this machine."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tiny_gguf import write_tiny_gguf

from agentmem.errors import ConfigError
from agentmem.models import chat
from agentmem.models.chat import DEFAULT_MODEL, get_chat_model
from agentmem.models.weights import WEIGHTS


class _Server(ThreadingHTTPServer):
    requests: list[tuple[str | None, dict]]
    """Authorization and body of each."""


class _OpenAICompatible(BaseHTTPRequestHandler):
    """Answers every chat with the number of its messages."""

    def do_POST(self) -> None:
        assert isinstance(self.server, _Server)
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append((self.headers["Authorization"], body))
        answer = {"role": "assistant", "content": f"{len(body['messages'])} messages"}
        reply = json.dumps({
            "id": "1", "object": "chat.completion", "created": 0, "model": body["model"],
            "choices": [{"index": 0, "message": answer, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        }).encode()  # fmt: skip
        self.send_response(200 if self.path == "/v1/chat/completions" else 404)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[_Server]:
    server = _Server(("127.0.0.1", 0), _OpenAICompatible)
    server.requests = []
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for key in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "OPENAI_BASE_URL", "OPENAI_API_BASE"):
        monkeypatch.delenv(key, raising=False)


@pytest.mark.usefixtures("no_keys")
def test_any_openai_compatible_server_works_without_a_key(server: _Server) -> None:
    pytest.importorskip("langchain_openai")
    url = f"http://127.0.0.1:{server.server_port}/v1"
    model = get_chat_model("openai:my-model", base_url=url, max_tokens=7)
    assert model.invoke([("system", "be brief"), ("human", "hello")]).content == "2 messages"
    key, body = server.requests[0]
    assert body["model"] == "my-model" and body["temperature"] == 0.0
    assert 7 in (body.get("max_tokens"), body.get("max_completion_tokens"))
    assert key == "Bearer none"


def test_a_key_of_the_environment_is_used(server: _Server, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("langchain_openai")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-mine")
    get_chat_model("openai:m", base_url=f"http://127.0.0.1:{server.server_port}/v1").invoke("hello")
    assert server.requests[0][0] == "Bearer sk-mine"


@pytest.mark.usefixtures("no_keys")
def test_openais_reasoning_models_keep_their_own_temperature(server: _Server) -> None:
    pytest.importorskip("langchain_openai")
    url = f"http://127.0.0.1:{server.server_port}/v1"
    for name in ("gpt-5-mini", "o3"):
        get_chat_model(f"openai:{name}", base_url=url).invoke("hello")
    assert not any("temperature" in body and body["temperature"] == 0 for _, body in server.requests)


def test_local_weights_by_file(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "my.gguf")
    model = get_chat_model(f"local:{path}", max_tokens=3)
    assert model.bind(grammar='root ::= "yes"').invoke("x").content == "yes"


def test_the_fake_repeats(server: _Server) -> None:
    assert get_chat_model("fake").invoke("hello").content == "hello"


@pytest.mark.usefixtures("no_keys")
@pytest.mark.parametrize(
    ("name", "base_url", "said"),
    [
        ("openai:gpt-5", None, "set OPENAI_API_KEY, or choose a model that needs no key"),
        ("gpt-5", None, "provider:name, one of local:NAME.*openai:NAME, anthropic:NAME, ollama:NAME"),
        ("acme:large", None, "no such provider; known are local:NAME.*ollama:NAME"),
        ("local:large", None, "not one of smollm2-135m"),
        ("local:nowhere.gguf", None, "nowhere.gguf: no such GGUF file"),
        ("fake", "http://127.0.0.1:1/v1", "base_url is for openai:NAME"),
        ("", None, "provider:name"),
    ],
)
def test_a_name_that_cannot_work_says_why(name: str, base_url: str | None, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        get_chat_model(name, base_url=base_url)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("provider", ["openai", "anthropic", "ollama"])
def test_a_missing_extra_names_the_command(provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat, "_installed", lambda package: False)
    with pytest.raises(ConfigError, match=rf"pip install 'agentmem\[{provider}\]'"):
        get_chat_model(f"{provider}:any")


def test_the_default_is_a_local_tier() -> None:
    provider, _, name = DEFAULT_MODEL.partition(":")
    assert provider == "local" and name in WEIGHTS
