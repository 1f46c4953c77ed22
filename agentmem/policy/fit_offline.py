"""Fit the offline policy's classifier to the hand-written lines: `python -m agentmem.policy.fit_offline`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import numpy as np
from numpy.typing import NDArray

from agentmem.models.embed import Embedder, get_embedder
from agentmem.policy.base import Observation
from agentmem.policy.classify import SHIPPED, THRESHOLD, Classifier, about, fit, save
from agentmem.policy.lines import LABELS, Line, lines
from agentmem.policy.offline import OfflinePolicy
from agentmem.session import make_session

FOLDS = 8
THRESHOLDS = (0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9)


class Silent:
    """A judge that finds nothing worth remembering, so that the classifier alone is measured."""

    def probabilities(self, pairs: Sequence[tuple[str, str]], /) -> NDArray[np.float32]:
        return np.tile(np.array([1, 0, 0, 0, 0], np.float32), (len(pairs), 1))


def proposed(policy: OfflinePolicy, own: list[Line]) -> list[str]:
    """What the whole policy makes of each line said alone: a label."""
    today = date(2026, 1, 1)
    seen = [
        Observation(memories=(), session=make_session([{"role": "user", "content": line.text}]), today=today)
        for line in own
    ]
    labels = []
    for proposal in policy.propose(seen):
        first = proposal.edits[0] if proposal.edits else None
        labels.append("none" if first is None else "forget" if first.sign == "x" else str(first.kind))
    return labels


def scores(own: list[Line], got: list[str]) -> dict[str, float]:
    """Precision and recall of remembering at all, false positives among the negatives, and the share of right kinds."""
    kept = np.array([label != "none" for label in got])
    true = np.array([line.label != "none" for line in own])
    same = np.array([line.label == label for line, label in zip(own, got, strict=True)])
    return {
        "precision": float(true[kept].mean()) if kept.any() else 1.0,
        "recall": float(kept[true].mean()),
        "false positives": float(kept[~true].mean()),
        "right kind": float(same[true & kept].mean()) if (true & kept).any() else 1.0,
    }


def cross_validated(embedder: Embedder, train: list[Line]) -> dict[float, dict[str, float]]:
    """Scores of the whole policy on lines it was not fitted on, a scenario at a time, for each threshold."""
    from sklearn.model_selection import GroupKFold

    texts, labels = [line.text for line in train], [line.label for line in train]
    vectors = embedder.encode(texts)
    got: dict[float, list[str]] = {threshold: [""] * len(train) for threshold in THRESHOLDS}
    for seen, held in GroupKFold(FOLDS).split(texts, labels, [line.scenario for line in train]):
        fitted = fit(vectors[seen], [texts[i] for i in seen], [labels[i] for i in seen], 0.5)
        for threshold in THRESHOLDS:
            policy = OfflinePolicy(embedder, Classifier(fitted.weight, fitted.bias, threshold), judge=Silent())
            for place, label in zip(held, proposed(policy, [train[i] for i in held]), strict=True):
                got[threshold][place] = label
    return {threshold: scores(train, labels) for threshold, labels in got.items()}


def main() -> None:
    embedder = get_embedder("minilm")
    train, test = lines("train"), lines("test")
    print(f"{len(train)} lines for training, {len(test)} held out; labels {', '.join(LABELS)}")
    for threshold, row in cross_validated(embedder, train).items():
        print(f"threshold {threshold:.2f}  " + "  ".join(f"{name} {value:.3f}" for name, value in row.items()))
    texts = [line.text for line in train]
    classifier = fit(embedder.encode(texts), texts, [line.label for line in train], THRESHOLD)
    save(classifier, SHIPPED, about(embedder))
    held_out = scores(test, proposed(OfflinePolicy(embedder, classifier, judge=Silent()), test))
    print(f"held out, threshold {THRESHOLD}: " + "  ".join(f"{name} {value:.3f}" for name, value in held_out.items()))
    print(f"written: {SHIPPED.name}, {SHIPPED.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
