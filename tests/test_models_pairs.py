"""Pair models: an adapter on disk, a base that they share, and a fit that learns what it is shown."""

import functools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from agentmem.errors import ModelError
from agentmem.models import minilm
from agentmem.models.judges import ADAPTERS, Sight, shipped, shipped_slots
from agentmem.models.minilm import base, mean_tokens
from agentmem.models.pairs import SLOT_TOKENS, Adapter, PairModel, first_tokens, load_adapter, save_adapter

NAMES = sorted({path.stem for path in ADAPTERS.glob("*.safetensors")} - {"tags"})


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    pytest.importorskip("peft", reason="fitting needs the extra train")
    from agentmem.train.judges.pairs import Example, Recipe, fit

    beasts = ("cat", "dog", "cow", "hen", "fox", "bee", "ram", "owl")
    pairs = [Example((f"The {beast} is {colour}.", "asked of the user"), label, beast)
             for beast in beasts for label, colour in enumerate(("asleep", "red"))]  # fmt: skip
    losses = []
    adapter = fit(pairs, ("asleep", "red"), Recipe(epochs=20, batch=8, rank=8), about={"of": "colours"},
                  watch=lambda step, steps, loss: losses.append(loss))  # fmt: skip
    path = tmp_path_factory.mktemp("adapter") / "colours.safetensors"
    save_adapter(adapter, path)
    return adapter, path, pairs, losses


def test_a_fit_lowers_the_loss_and_tells_its_examples_apart(fitted):
    _, path, pairs, losses = fitted
    chances = PairModel(path).probabilities([one.pair for one in pairs])
    assert losses[-1] < losses[0]
    assert (chances.argmax(1) == np.array([one.label for one in pairs])).mean() >= 0.9


def test_an_adapter_comes_back_from_disk(fitted):
    adapter, path, _, _ = fitted
    again = load_adapter(path)
    assert again.labels == ("asleep", "red") and again.about == {"of": "colours"}
    assert again.low_rank.keys() == adapter.low_rank.keys()
    np.testing.assert_allclose(again.head_weight, adapter.head_weight, atol=2e-3)  # half precision


def test_weights_of_a_byte_come_back_within_a_200th_of_the_largest_of_their_rank(tmp_path):
    rng = np.random.default_rng(0)
    sides = (rng.normal(size=(4, 30)).astype(np.float32), rng.normal(size=(50, 4)).astype(np.float32))
    sides[0][1] = 0  # a rank that changes nothing
    sides[0][2] *= 1e-3
    head = np.zeros((2, 30), np.float32), np.zeros(2, np.float32)
    save_adapter(Adapter(("a", "b"), {"layer": sides}, *head, {}), tmp_path / "x.safetensors")
    again = load_adapter(tmp_path / "x.safetensors").low_rank["layer"]
    for was, now, of_rank in zip(sides, again, (1, 0), strict=True):
        largest = np.abs(was).max(axis=of_rank, keepdims=True)
        assert np.all(np.abs(was - now) <= largest / 200 + 1e-9)


def test_probabilities_sum_to_one_and_do_not_depend_on_the_batch(fitted):
    _, path, pairs, _ = fitted
    model = PairModel(path)
    texts = [one.pair for one in pairs[:5]] + [("A much longer sentence about nothing in particular at all.", "red")]
    together = model.probabilities(texts)
    np.testing.assert_allclose(together.sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(together, np.concatenate([model.probabilities([text]) for text in texts]), atol=1e-4)
    assert model.probabilities([]).shape == (0, 2)


def test_a_file_that_is_no_adapter_is_named(tmp_path):
    path = tmp_path / "broken.safetensors"
    path.write_bytes(b"no")
    with pytest.raises(ModelError, match="broken"):
        PairModel(path).probabilities([("a", "b")])


def test_what_ships_is_small_and_complete():
    assert NAMES == ["applicability", "changes", "elicitation", "forgetting", "lines", "marks", "relations", "slots"]
    assert sum((ADAPTERS / f"{name}.safetensors").stat().st_size for name in NAMES) < 30_000_000


@pytest.mark.parametrize("name", [name for name in NAMES if name != "slots"])
def test_each_shipped_judge_gives_a_row_for_each_pair(name):
    chances = shipped(name).probabilities([("Book a flight", "Takes the train."), ("I live in Bern.", "")])
    assert chances.shape[0] == 2 and np.isfinite(chances).all()
    np.testing.assert_allclose(chances.sum(1), 1, atol=1e-5)


PAIRS = [("Book a flight", "Takes the train."), ("I moved to Bern last week.", "Lives in Lyon."), ("Thanks!", "")]


def merged(name):
    """Tokenizer, a base of its own with the adapter's changes in its weights, and the adapter."""
    (tokenizer, model), adapter = base(), load_adapter(ADAPTERS / f"{name}.safetensors")
    with torch.no_grad():
        for layer, (a_RI, b_OR) in adapter.low_rank.items():
            model.get_submodule(layer).weight += torch.from_numpy(b_OR @ a_RI)
    return tokenizer, model.eval(), adapter


@pytest.mark.parametrize("name", ["marks", "relations"])
def test_over_the_shared_base_an_adapter_says_what_it_says_merged_into_a_base_of_its_own(name):
    shipped("lines").probabilities(PAIRS)  # another one read before it
    tokenizer, model, adapter = merged(name)
    with torch.inference_mode():
        hidden = first_tokens(model, tokenizer, PAIRS, "cpu").numpy()
    logits = hidden @ adapter.head_weight.T + adapter.head_bias
    alone = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(shipped(name).probabilities(PAIRS), alone, atol=1e-5)


def test_slots_over_the_shared_base_are_those_of_a_base_of_their_own():
    texts = [text for pair in PAIRS for text in pair if text]
    tokenizer, model, _ = merged("slots")
    with torch.inference_mode():
        alone = mean_tokens(model, tokenizer, texts, "cpu", SLOT_TOKENS).numpy()
    np.testing.assert_allclose(shipped_slots().encode(texts), alone, atol=1e-5)


def test_judges_that_begin_in_several_threads_load_one_base_and_do_not_mix(monkeypatch):
    names = [name for name in NAMES if name != "slots"]
    alone = {name: shipped(name).probabilities(PAIRS) for name in names}
    loads = []
    monkeypatch.setattr(minilm, "base", lambda: loads.append(1) or base())
    monkeypatch.setattr(minilm, "_base_on", functools.cache(minilm.Base))
    fresh = {name: PairModel(ADAPTERS / f"{name}.safetensors") for name in names}
    asked = names * 4
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda name: fresh[name].probabilities(PAIRS), asked))
    assert loads == [1]
    for name, chances in zip(asked, found, strict=True):
        np.testing.assert_array_equal(chances, alone[name])


def test_what_fills_one_slot_lies_together():
    texts = [
        "Has a Nokia phone.",
        "picked up a Pixel yesterday",
        "Is allergic to nuts.",
        "Lives in Lyon.",
    ]
    vectors = shipped_slots().encode(texts)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    near = vectors @ vectors.T
    assert near[0, 1] > max(near[0, 2], near[0, 3], near[1, 2], near[1, 3])
    assert shipped_slots().encode([]).shape == (0, vectors.shape[1])


class Fixed:
    """A judge that says the same of each pair, and an encoder with a vector for each text."""

    name, dim = "fixed", 2

    def __init__(self, chances, vectors):
        self.chances, self.vectors, self.read = chances, vectors, []

    def probabilities(self, pairs):
        self.read += pairs
        return np.array([self.chances] * len(pairs), np.float32)

    def encode(self, texts):
        return np.array([self.vectors[text] for text in texts], np.float32)


def test_sight_joins_the_judge_and_the_slots():
    """By hand: logit = 3.04 cos + .32 (ln .6 - ln .3) + .35 (ln .6 - ln .1) - 2.87; far slots are not judged."""
    fixed = Fixed([0.3, 0.1, 0.6], {"new": [1, 0], "same": [1, 0], "like": [0.6, 0.8], "other": [0, 1]})
    odds = 0.32 * np.log(2) + 0.35 * np.log(6) - 2.87
    expected = [1 / (1 + np.exp(-(odds + 3.04 * cosine))) for cosine in (1, 0.6)]
    closes = Sight(fixed, fixed).closes("new", ["same", "other", "like"])
    np.testing.assert_allclose(closes, [expected[0], 0, expected[1]], rtol=1e-5)
    assert fixed.read == [("new", "same"), ("new", "like")]
