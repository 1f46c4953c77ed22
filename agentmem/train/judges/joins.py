"""Fit the regressions that join a judge with a cosine: `python -m agentmem.train.judges.joins NAME`.

They are fitted on the families that the judges were not fitted on, and print the weights that stand in
agentmem/models/judges.py, with what is found at some thresholds. Each takes one to three minutes on one core.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from agentmem.memory import full_text
from agentmem.models.embed import Remembering, get_embedder
from agentmem.models.judges import APPLICABILITY, RELATIONS, Bearing, Sight, shipped, shipped_slots
from agentmem.models.pairs import Pair
from agentmem.policy.marks import Turn, of_sentences, shipped_marker
from agentmem.policy.resolve import aliases_of
from agentmem.train.judges import applicability, relations
from agentmem.train.judges.marks import held_out_dialogues
from agentmem.train.judges.records import held_out, records

LEVELS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
OTHERS = 2
"""Old memories of other people for each closing statement: a real memory is mostly about other things."""
STRANGERS = 1500
"""Requests with an instruction of another domain."""
NEARLY = 0.4
"""Probability of being worth something from which on sentences are looked at for what they change."""


def sight(rng: random.Random) -> None:
    """The regression of `Sight`, and of its parts alone."""
    updates = [one for one in records("updates") if held_out(one["family"])]
    _, held = relations.split(rng)
    examples = [example for part in held.values() for example in part]
    pairs = [example.pair for example in examples]
    gold = [example.label == RELATIONS.index("closes") for example in examples]
    for record in updates:
        pairs += [(one["said"], rng.choice(updates)["old"]) for one in record["closes"] for _ in range(OTHERS)]
    gold_N = np.array(gold + [False] * (len(pairs) - len(gold)))
    said, olds = zip(*pairs, strict=True)
    slots = shipped_slots()
    cosine_N = (slots.encode(said) * slots.encode(olds)).sum(1)
    seen_N3 = Sight.features(cosine_N, shipped("relations").probabilities(pairs))
    for part, columns in {"slots alone": [0], "judge alone": [1, 2], "joined": [0, 1, 2]}.items():
        model = _fitted(seen_N3[:, columns], gold_N)
        found_N = model.predict_proba(seen_N3[:, columns])[:, 1]
        print(f"{part}: weights {model.coef_.round(2).tolist()}, bias {model.intercept_.round(2).tolist()}")
        print("  closes (of the others) at " + _levels(found_N, gold_N))


def bearing(rng: random.Random) -> None:
    """The regression of `Bearing`."""
    _, held = applicability.split(rng)
    pairs: list[Pair] = [example.pair for part in held.values() for example in part]
    gold = [example.label for part in held.values() for example in part]
    combined = held["combinations"]
    for _ in range(STRANGERS):
        one, other = rng.choice(combined), rng.choice(combined)
        if one.group != other.group:
            pairs.append((one.pair[0], other.pair[1]))
    gold_N = np.array(gold + [APPLICABILITY.index("irrelevant")] * (len(pairs) - len(gold)))
    seen_N4 = Bearing(shipped("applicability"), Remembering(get_embedder())).features(pairs)
    model = _fitted(seen_N4, gold_N)
    print(f"weights {model.coef_.round(2).tolist()}, bias {model.intercept_.round(2).tolist()}")
    for place, label in enumerate(APPLICABILITY[1:], start=1):
        print(f"  {label} (of the others) at " + _levels(model.predict_proba(seen_N4)[:, place], gold_N == place))


def turn(rng: random.Random) -> None:
    """The regression of `Turn`, on dialogues: of a sentence and the memories near it, which it changes."""
    from agentmem.train.sft import served

    joined, marker = Turn(Sight.shipped(), shipped("changes")), shipped_marker(0.5)
    shown = [served(example) for example in held_out_dialogues()]
    rows: list[NDArray[np.float32]] = []
    gold: list[list[bool]] = []
    for (seen, edits), own in zip(shown, marker.read([seen for seen, _ in shown]), strict=True):
        texts, ids = {memory.id: full_text(memory) for memory in seen.memories}, aliases_of(seen)
        for reading, wanted in zip(own, of_sentences(seen, edits, [one.said.sentence for one in own]), strict=True):
            if reading.worth >= NEARLY and reading.said.known and reading.calls_for != "forget":
                targets = {ids[alias] for edit in wanted if edit.sign in "~-" for alias in edit.aliases}
                rows.append(joined.read(reading, texts))
                gold.append([id in targets for id in reading.said.known])
    seen_N3, gold_N, ends = np.concatenate(rows), np.concatenate(gold), np.cumsum([len(row) for row in gold])
    parts = {"detector alone": [0], "sight alone": [1], "judge alone": [2], "without the judge": [0, 1],
             "joined": [0, 1, 2]}  # fmt: skip
    for part, columns in parts.items():
        model = _fitted(seen_N3[:, columns], gold_N)
        found_N = model.predict_proba(seen_N3[:, columns])[:, 1]
        print(f"{part}: weights {model.coef_.round(2).tolist()}, bias {model.intercept_.round(2).tolist()}")
        print("  changes (of the others) at " + _levels(found_N, gold_N, (0.2, 0.3, *LEVELS)))
        first = [(float(own.max()), bool(own_gold[own.argmax()]), bool(own_gold.any())) for own, own_gold in
                 zip(np.split(found_N, ends[:-1]), np.split(gold_N, ends[:-1]), strict=True)]  # fmt: skip
        print("  the likeliest memory, precision (recall) over sentences at " + _first(first, (0.2, 0.3, *LEVELS)))


def _first(found: Sequence[tuple[float, bool, bool]], levels: Sequence[float]) -> str:
    """Of sentences the highest probability, whether that memory is changed, and whether any is."""
    chance_N, right_N, any_N = (np.array(column) for column in zip(*found, strict=True))
    shares = ((level, right_N[chance_N >= level]) for level in levels)
    return ", ".join(f"{level}: {right.mean():.2f} ({right.sum() / any_N.sum():.2f})" for level, right in shares)


def _fitted(seen_NF: NDArray[np.float32], gold_N: NDArray[np.generic]):  # noqa: ANN202  the library has no types
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=5000, C=3).fit(seen_NF, gold_N)


def _levels(found_N: NDArray[np.float64], gold_N: NDArray[np.bool_], levels: Sequence[float] = LEVELS) -> str:
    return ", ".join(f"{level}: {(found_N[gold_N] >= level).mean():.2f} ({(found_N[~gold_N] >= level).mean():.3f})"
                     for level in levels)  # fmt: skip


JOINS = {"sight": sight, "bearing": bearing, "turn": turn}


def main(name: Annotated[str, typer.Argument(help=", ".join(JOINS))], seed: int = 0) -> None:
    """Fit one regression on what was held out, and print it."""
    if name not in JOINS:
        raise typer.BadParameter(f"{name!r} is none of {', '.join(JOINS)}", param_hint="NAME")
    JOINS[name](random.Random(seed))


if __name__ == "__main__":
    typer.run(main)
