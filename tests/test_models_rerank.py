"""Rerankers: names, the real one, and what a search makes of them."""

import logging

import pytest

from agentmem import Agent
from agentmem.config import Config
from agentmem.errors import ConfigError, ModelError
from agentmem.models import rerank
from agentmem.models.rerank import MsMarco, get_reranker


def test_names():
    assert get_reranker("none") is None
    with pytest.raises(ConfigError, match="reranker 'msmarco'"):
        get_reranker("msmarco")


@pytest.mark.net
def test_the_real_one_prefers_the_answer():
    scores = MsMarco().scores(
        "Where does Ana live?",
        ["She moved to Porto in May and lives by the river.", "Ana lives in Porto.", "Where is the cat?", "x " * 900],
    )
    assert scores.shape == (4,) and scores[1] == scores.max() and scores[3] == scores.min()


def test_a_search_goes_on_without_weights_that_cannot_be_had(tmp_path, monkeypatch, caplog):
    def unreachable(weights, folder):
        raise ModelError("ms-marco: could not be downloaded")

    monkeypatch.setattr(rerank, "obtain", unreachable)
    monkeypatch.setattr(rerank, "get_reranker", get_reranker)
    with Agent("ana", config=Config(root=tmp_path, embedder="hash")) as agent, caplog.at_level(logging.WARNING):
        agent.observe([{"role": "user", "content": "I live in Porto, by the river."}])
        assert agent.recall("Porto river").hits
        assert agent.recall("Porto").hits
    assert len([record for record in caplog.records if "without the reranker" in record.message]) == 1
