"""The tagger: where it is asked of, that batches change nothing, and that a fit learns; on a tiny llama."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from agentmem.errors import ModelError
from agentmem.memory import Evidence, Fact
from agentmem.models.embed import get_embedder
from agentmem.models.likelihood import load_causal
from agentmem.models.pairs import Pair, load_adapter, save_adapter
from agentmem.models.tags import TagModel, Text, batches, tokens_of
from agentmem.policy import Observation
from agentmem.policy.base import WORTHS
from agentmem.policy.marks import Marker, beside, rendered
from agentmem.session import Message, Session
from tests.tiny_llama import write_tiny_llama

DAY = date(2026, 1, 1)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_llama(tmp_path_factory.mktemp("tags") / "base")


def text_of(*stretches: str) -> Text:
    text, ends = "Sentences:\n", []
    for stretch in stretches:
        text += f"- {stretch}"
        ends.append(len(text))
        text += "\n"
    return Text(text, tuple(ends))


@pytest.fixture(scope="module")
def fitted(base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Text], list[list[int]]]:
    pytest.importorskip("peft", reason="fitting needs the extra train")
    from agentmem.train.judges.tags import RECIPE, Example, fit

    texts, labels = [], []
    for number in range(16):
        likes, asks = f"I love {number} cats.", f"What is {number} plus one?"
        order = [(likes, 2), (asks, 0)] if number % 2 else [(asks, 0), (likes, 2)]
        texts.append(text_of(*(said for said, _ in order)))
        labels.append([label for _, label in order])
    losses: list[float] = []
    recipe = RECIPE._replace(rank=8, epochs=30, batch=8, rate=5e-3, head_rate=2e-2)
    adapter = fit([Example(*one) for one in zip(texts, labels, strict=True)], recipe, base=str(base), about={},
                  watch=lambda step, steps, loss: losses.append(loss), device="cpu")  # fmt: skip
    assert losses[-1] < losses[0]
    path = tmp_path_factory.mktemp("fit") / "tags.safetensors"
    save_adapter(adapter, path)
    return path, texts, labels


def test_each_stretch_is_asked_of_at_its_last_token(base: Path) -> None:
    _, tokenizer = load_causal(base)
    text = text_of("I love tea.", "What, twice?", "Ja, öfter!")
    ids, places = tokens_of(tokenizer, text)
    read = tokenizer(text.text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    assert len(ids) == len(read) and len(places) == 3
    for place, end in zip(places, text.ends, strict=True):
        assert read[place][0] < end <= max(read[place][1], read[place + 1][0] if place + 1 < len(read) else end)


def test_a_fit_tells_stretches_of_one_text_apart(fitted: tuple[Path, list[Text], list[list[int]]]) -> None:
    path, texts, labels = fitted
    adapter = load_adapter(path)
    assert adapter.labels == WORTHS and "base" in adapter.about
    found = TagModel(path).probabilities(texts)
    right = [own.argmax(1).tolist() == wanted for own, wanted in zip(found, labels, strict=True)]
    assert np.mean(right) >= 0.9


def test_a_fit_goes_on_from_an_adapter(fitted: tuple[Path, list[Text], list[list[int]]], base: Path) -> None:
    from agentmem.train.judges.tags import RECIPE, Example, fit

    path, texts, labels = fitted
    start, losses = load_adapter(path), []
    some = [Example(*one) for one in zip(texts, labels, strict=True)]
    recipe = RECIPE._replace(rank=8, epochs=1, batch=8, rate=1e-6, head_rate=1e-6)
    further = fit(some, recipe, base=str(base), about={}, start=start, device="cpu",
                  watch=lambda step, steps, loss: losses.append(loss))  # fmt: skip
    assert losses[0] < 0.3  # a fresh head would be near log(8)
    np.testing.assert_allclose(further.head_weight, start.head_weight, atol=1e-4)
    for name, sides in start.low_rank.items():
        for old, new in zip(sides, further.low_rank[name], strict=True):
            np.testing.assert_allclose(new, old, atol=1e-4)
    with pytest.raises(ModelError, match="rank"):
        fit(some, recipe._replace(rank=4), base=str(base), about={}, start=start, device="cpu")


def test_a_step_in_parts_is_the_step_of_the_whole(
    fitted: tuple[Path, list[Text], list[list[int]]], base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from agentmem.train.judges import tags

    _, texts, labels = fitted
    some = [tags.Example(*one) for one in zip(texts, labels, strict=True)]
    recipe = tags.RECIPE._replace(rank=8, epochs=4, batch=16, rate=5e-3, head_rate=2e-2)
    parts = [len(tags._parts(range(16), [20] * 16, most)) for most in (4096, 90)]
    assert parts == [1, 4]

    def losses() -> tuple[list[float], NDArray[np.float32]]:
        seen: list[float] = []
        adapter = tags.fit(some, recipe, base=str(base), about={}, device="cpu",
                           watch=lambda step, steps, loss: seen.append(loss))  # fmt: skip
        return seen, adapter.head_weight

    whole, head = losses()
    monkeypatch.setattr(tags, "PART_TOKENS", 90)
    in_parts, other = losses()
    np.testing.assert_allclose(in_parts, whole, rtol=0.02)
    np.testing.assert_allclose(other, head, atol=0.02)


def test_what_is_read_together_and_padding_change_nothing(fitted: tuple[Path, list[Text], list[list[int]]]) -> None:
    path, texts, _ = fitted
    model = TagModel(path)
    some = [*texts[:3], text_of(), text_of("A much longer sentence about nothing in particular at all, or is it?")]
    together = model.probabilities(some)
    assert [own.shape for own in together] == [(2, 8), (2, 8), (2, 8), (0, 8), (1, 8)]
    for own, alone in zip(together, (model.probabilities([text])[0] for text in some), strict=True):
        if len(own):
            np.testing.assert_allclose(own, alone, atol=2e-2)  # bfloat16, where the machine is fast in it
            np.testing.assert_allclose(own.sum(1), 1, atol=1e-5)


def test_batches_hold_texts_of_like_length_within_their_tokens() -> None:
    found = batches([5, 100, 6, 90, 7, 300], 200)
    assert sorted(place for batch in found for place in batch) == [0, 1, 2, 3, 4, 5]
    lengths = [[5, 100, 6, 90, 7, 300][place] for batch in found for place in batch]
    assert lengths == sorted(lengths)
    assert all(len(batch) * max([5, 100, 6, 90, 7, 300][place] for place in batch) <= 200 or len(batch) == 1
               for batch in found)  # fmt: skip


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="none"):
        TagModel(tmp_path / "none.safetensors").probabilities([text_of("I love tea.")])


def _sure(word: str, chance: float, said: str) -> NDArray[np.float32]:
    """A row: worth `chance` where the word stands, nothing else."""
    worth = chance if word in said else 1e-4
    row = np.full(len(WORTHS), 1e-6, np.float32)
    row[0], row[WORTHS.index("preference")] = 1 - worth, worth
    return row


class _Tagged:
    """A tagger that is sure of stretches with "tea"."""

    def __init__(self) -> None:
        self.texts: list[Text] = []

    def probabilities(self, texts: Sequence[Text], /) -> list[NDArray[np.float32]]:
        self.texts += texts
        return [np.array([_sure("tea", 0.9, one.text[:end].rpartition("- ")[2]) for end in one.ends])
                for one in texts]  # fmt: skip


class _Judged:
    """A judge that finds nothing worth anything."""

    def probabilities(self, pairs: Sequence[Pair], /) -> NDArray[np.float32]:
        return np.array([_sure("nothing", 0.9, said) for said, _ in pairs]).reshape(-1, len(WORTHS))


def chat(*said: str) -> Observation:
    told = [Message(role=("user", "assistant")[place % 2], content=text) for place, text in enumerate(said)]
    known = Fact(id="f00001", text="Drinks tea.", evidence=(Evidence(quote="x", session="s", turn=0),))
    return Observation(memories=(known,), session=Session(id="s", messages=tuple(told)), today=DAY)


def test_the_tagger_reads_the_memory_the_conversation_and_the_sentences_once_more() -> None:
    seen = chat("I love tea. And rain?", "It will " + "rain " * 300, "I hate rain.")
    [said] = beside([seen], get_embedder("hash"))
    text, ends = rendered(seen, said)
    assert text.startswith("Memory:\nf1: Drinks tea.\n\nConversation:\nuser: I love tea. And rain?\nassistant: It will")
    assert " […] " in text and text.endswith("\n\nSentences:\n- I love tea.\n- And rain?\n- I hate rain.\n")
    assert [text[:end].rpartition("- ")[2] for end in ends] == ["I love tea.", "And rain?", "I hate rain."]


def test_both_readers_have_a_say() -> None:
    seen = chat("I love tea. I hate rain.")
    tagger, embedder = _Tagged(), get_embedder("hash")
    for share, least, most in ((0.0, 0.89, 0.91), (0.3, 0.1, 0.8), (1.0, 0.0, 0.01)):
        [read] = Marker(_Judged(), embedder, 0.5, tagger, share=share).read([seen])
        assert least <= read[0].worth <= most and read[1].worth < 0.01
    assert tagger.texts[0].text.startswith("Memory:")
    assert Marker(_Judged(), embedder, 0.5, tagger).read([chat("```x```")]) == [[]]
