"""What the detector of sentences worth writing down is fitted to: sentences, with what is known and was said before."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

from agentmem.models.embed import Embedder
from agentmem.models.judges import Judge, shipped
from agentmem.policy.base import WORTHS
from agentmem.policy.marks import Marker, beside, pairs, worths
from agentmem.train.histories import EditExample
from agentmem.train.judges.lines import kind_of
from agentmem.train.judges.pairs import Example
from agentmem.train.judges.records import held_out, records

_ALIASES = {"fact": "f1", "preference": "p1", "instruction": "i1"}


def split(rng: random.Random, embedder: Embedder) -> tuple[list[Example], dict[str, list[Example]]]:
    """Examples for training, and those of the families that are held out."""
    found = examples(rng, embedder)
    train = [one for one in found if not held_out(one.group)]
    return train, {"held out": [one for one in found if held_out(one.group)]}


def examples(rng: random.Random, embedder: Embedder) -> list[Example]:
    """All but the test part of the dialogues, which is for reports alone; the group of one is its family."""
    from agentmem.train.sft import observed

    rows = [record for record in records("dialogues") if record.get("split") != "test"]
    own = [observed(_example(row)) for row in rows]
    families = [row["family"] for row in rows]
    for family, example in _others(rng):
        own.append(observed(example))
        families.append(family)
    shown = [seen for seen, _ in own]
    said = beside(shown, embedder)
    read = pairs(shown, said)
    labels = [worths(seen, edits, [one.sentence for one in some])
              for (seen, edits), some in zip(own, said, strict=True)]  # fmt: skip
    return [Example(pair, WORTHS.index(label), family)
            for family, some, its in zip(families, read, labels, strict=True)
            for pair, label in zip(some, its, strict=True)]  # fmt: skip


def told_apart(judge: Judge, embedder: Embedder) -> str:
    """How well held-out dialogues and their sentences are told apart, as AUC: by `lines`, by this judge, by both.

    A dialogue counts for its likeliest sentence.
    """
    from sklearn.metrics import roc_auc_score

    from agentmem.train.sft import observed

    shown = [observed(example) for example in held_out_dialogues()]
    other = shipped("lines")
    readers = {"lines": Marker(judge, embedder, 0.5, other, share=1.0), "marks": Marker(judge, embedder, 0.5),
               "both": Marker(judge, embedder, 0.5, other)}  # fmt: skip
    lines = []
    for name, reader in readers.items():
        read = reader.read([seen for seen, _ in shown])
        best = [(max(mark.worth for mark in own), bool(edits))
                for (_, edits), own in zip(shown, read, strict=True) if own]  # fmt: skip
        labels = [label != "none" for (seen, edits), own in zip(shown, read, strict=True)
                  for label in worths(seen, edits, [one.said.sentence for one in own])]  # fmt: skip
        of_dialogues = roc_auc_score([gold for _, gold in best], [worth for worth, _ in best])
        of_sentences = roc_auc_score(labels, [mark.worth for own in read for mark in own])
        lines.append(f"{name}: AUC of {len(best)} dialogues {of_dialogues:.3f}, of their {len(labels)} sentences "
                     f"{of_sentences:.3f}")  # fmt: skip
    return "\n".join(lines)


def held_out_dialogues() -> list[EditExample]:
    """Those that the judge was not fitted to and that are no test."""
    rows = (row for row in records("dialogues") if row.get("split") != "test" and held_out(row["family"]))
    return [_example(row) for row in rows]


def _example(row: dict[str, Any]) -> EditExample:
    fields = {key: row[key] for key in ("date", "memory", "messages", "edits") if key in row}
    return EditExample.model_validate({"user": row["family"], **fields})


def _others(rng: random.Random) -> Iterator[tuple[str, EditExample]]:
    """(family, example) of the other records that say what a message does to what is known."""
    for row in records("updates"):
        alias = _ALIASES[kind_of(row["old"])]
        known = {alias: row["old"]}
        for one in row["closes"]:
            yield _said(row, known, one["said"], f"~ {alias}: x. | {_quote(one['said'])}")
        for said in [*row["repeats"], *row["keeps"]]:
            yield _said(row, known, said)
    for row in records("forget"):
        forgets = [f"x {alias} | {_quote(row['request'])}" for alias in row["forgets"]] if row["heard"] else []
        yield _said(row, row["memory"], row["request"], *forgets)
    for row in records("applicable"):
        ids = sorted(row["instructions"])
        for id in rng.sample(ids, 4):
            said = row["instructions"][id].strip()
            yield _said(row, {}, said, f"+ instruction: always => x. | {_quote(said)}")
        for request in row["requests"]:
            known = {f"i{place}": f"always => {row['instructions'][id]}"
                     for place, id in enumerate(rng.sample(ids, 3), start=1)}  # fmt: skip
            yield _said(row, known, request["text"])


def _said(row: dict[str, Any], known: dict[str, str], said: str, *edits: str) -> tuple[str, EditExample]:
    fields = {"user": row["family"], "memory": known, "messages": [{"role": "user", "content": said}]}
    return row["family"], EditExample.model_validate({**fields, "edits": list(edits) or ["="]})


def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
