"""The local chat model on a real (tiny, random) GGUF file."""

from __future__ import annotations

import http.client
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, SystemMessage
from tiny_gguf import write_tiny_gguf

from agentmem.errors import ConfigError, ModelError
from agentmem.models.local import LocalChatModel, _engine, check_file, default_threads, physical_cores
from agentmem.models.weights import cached

pytest.importorskip("xllamacpp")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> LocalChatModel:
    path = write_tiny_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf")
    return LocalChatModel(path=path, max_tokens=24, context=1024, threads=1)


def test_a_reply_is_deterministic_and_counted(tiny: LocalChatModel) -> None:
    first, second = tiny.invoke("Hello"), tiny.invoke("Hello")
    assert first.content == second.content != ""
    assert isinstance(first, AIMessage) and first.usage_metadata is not None
    assert first.usage_metadata["output_tokens"] == 24
    assert first.response_metadata["finish_reason"] == "length"
    assert first.response_metadata["model_name"] == "tiny.gguf"


def test_streamed_pieces_join_to_the_reply(tiny: LocalChatModel) -> None:
    pieces = list(tiny.stream("Hello"))
    assert "".join(str(piece.content) for piece in pieces) == tiny.invoke("Hello").content
    assert len(pieces) > 5
    whole = pieces[0]
    for piece in pieces[1:]:
        whole += piece
    assert isinstance(whole, AIMessageChunk) and whole.usage_metadata is not None
    assert whole.usage_metadata["output_tokens"] == 24


def test_a_grammar_constrains_the_reply(tiny: LocalChatModel) -> None:
    assert tiny.bind(grammar='root ::= "yes" | "no"').invoke("Is water wet?").content in ("yes", "no")
    assert tiny.bind(grammar='root ::= "a" "b"+ "c"', max_tokens=5).invoke("x").content[:2] == "ab"


def test_stop_max_tokens_and_system_messages_arrive(tiny: LocalChatModel) -> None:
    grammar = 'root ::= "one END two"'
    assert tiny.bind(grammar=grammar).invoke("x", stop=[" END"]).content == "one"
    assert tiny.bind(grammar=grammar, max_tokens=3).invoke("x").content == "one"
    alone, with_system = tiny.invoke("x"), tiny.invoke([SystemMessage("Be brief."), HumanMessage("x")])
    assert isinstance(alone, AIMessage) and isinstance(with_system, AIMessage)
    assert alone.usage_metadata and with_system.usage_metadata
    longer = with_system.usage_metadata["input_tokens"] - alone.usage_metadata["input_tokens"]
    assert longer >= len("system: Be brief.\n")


def test_mistakes_become_one_clear_line(tiny: LocalChatModel, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="tiny.gguf: .*GBNF grammar has a mistake"):
        tiny.bind(grammar="root ::= missing").invoke("x")
    with pytest.raises(ModelError, match="more than the context of 1,024; send less"):
        tiny.invoke("x" * 3000)
    assert tiny.invoke("still works").content
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(ModelError, match="broken.gguf: not a model that llama.cpp can load"):
        LocalChatModel(path=broken, threads=1).invoke("x")


def test_names_that_are_no_gguf_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_text("hello")
    with pytest.raises(ConfigError, match="not a GGUF file"):
        check_file(tmp_path / "a.gguf")
    with pytest.raises(ConfigError, match="no such GGUF file"):
        check_file(tmp_path / "b.gguf")


def test_closing_a_stream_stops_the_model(tiny: LocalChatModel) -> None:
    long = tiny.bind(grammar='root ::= "word "{180}', max_tokens=900)
    start = time.perf_counter()
    text = long.invoke("x").content
    whole = time.perf_counter() - start
    assert len(text) > 500
    for _ in long.stream("x"):
        break
    start = time.perf_counter()
    tiny.bind(max_tokens=1).invoke("x")  # waits for the engine to be free
    assert time.perf_counter() - start < max(0.5 * whole, 0.05)
    assert not [thread for thread in threading.enumerate() if thread.name == "agentmem-llama"]


def test_one_engine_serves_all_threads_and_models_of_a_file(tiny: LocalChatModel) -> None:
    other = LocalChatModel(path=tiny.path, max_tokens=4, context=1024, threads=1)
    before = _engine.cache_info().currsize
    expected = other.invoke("hi").content
    with ThreadPoolExecutor(4) as pool:
        assert [reply.content for reply in pool.map(other.invoke, ["hi"] * 8)] == [expected] * 8
    assert _engine.cache_info().currsize == before


def test_tokens_are_counted_by_the_models_own_tokenizer(tiny: LocalChatModel) -> None:
    assert tiny.get_num_tokens("hello") == 5
    assert tiny.get_token_ids("A") == [ord("A") + 3]


def test_the_engines_port_is_locked(tiny: LocalChatModel) -> None:
    tiny.invoke("x")
    address = tiny._engine()._server.listening_address.removeprefix("http://")
    for method, path in (("GET", "/slots"), ("GET", "/props"), ("POST", "/v1/chat/completions")):
        connection = http.client.HTTPConnection(address, timeout=5)
        connection.request(method, path, body="{}" if method == "POST" else None)
        reply = connection.getresponse()
        assert reply.status == 401 and not reply.getheader("Access-Control-Allow-Origin")
        connection.close()


def test_nothing_is_printed(tiny: LocalChatModel) -> None:
    code = (
        "from pathlib import Path; from agentmem.models.local import LocalChatModel;"
        f"model = LocalChatModel(path=Path({str(tiny.path)!r}), threads=1, context=512, max_tokens=3);"
        "print(len(model.invoke('x').content) > 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr, done.returncode) == ("True\n", "", 0)


def test_cores_are_at_least_one_and_at_most_what_there_is() -> None:
    import os

    assert 1 <= default_threads() <= physical_cores() <= (os.cpu_count() or 1)


@pytest.mark.slow
def test_the_smallest_tier_speaks() -> None:
    path = cached("smollm2-135m")
    if path is None:
        pytest.skip("smollm2-135m is not downloaded; run: agentmem chat --model local:smollm2-135m")
    model = LocalChatModel(path=path, max_tokens=30)
    reply = model.invoke([("system", "You are a helpful assistant."), ("human", "What is the capital of Australia?")])
    assert "Canberra" in str(reply.content)
