"""What the detector of sentences worth writing down is fitted to: sentences, with what is known and was said before."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from agentmem.models.embed import Embedder
from agentmem.models.judges import Judge
from agentmem.models.tags import Tagger
from agentmem.policy.base import WORTHS, Observation, Worth
from agentmem.policy.edits import Edit
from agentmem.policy.lines import lines
from agentmem.policy.marks import Marker, Said, beside, pairs, worths
from agentmem.train.histories import EditExample
from agentmem.train.judges.lines import PERSONAL, kind_of
from agentmem.train.judges.pairs import Example
from agentmem.train.judges.records import held_out, records

_ALIASES = {"fact": "f1", "preference": "p1", "instruction": "i1"}


def split(
    rng: random.Random, embedder: Embedder, further: Sequence[EditExample] = ()
) -> tuple[list[Example], dict[str, list[Example]]]:
    """Examples for training, and those of the families that are held out; with `further` dialogues."""
    found = examples(rng, embedder, further)
    train = [one for one in found if not held_out(one.group)]
    return train, {"held out": [one for one in found if held_out(one.group)]}


def examples(rng: random.Random, embedder: Embedder, further: Sequence[EditExample] = ()) -> list[Example]:
    """All but the test part of the dialogues, which is for reports alone; the group of one is its family."""
    return [Example(pair, WORTHS.index(label), one.family)
            for one in labelled(rng, embedder, further)
            for pair, label in zip(pairs([one.seen], [one.said])[0], one.labels, strict=True)]  # fmt: skip


class Labelled(NamedTuple):
    """One dialogue, or a line by itself."""

    family: str
    seen: Observation
    """What a policy is shown of it."""
    edits: Sequence[Edit]
    """The right ones."""
    said: list[Said]
    """Its sentences."""
    labels: list[Worth]
    """What each calls for."""


def labelled(rng: random.Random, embedder: Embedder, further: Sequence[EditExample] = ()) -> list[Labelled]:
    """All records that say what a message does to what is known, without the test part.

    Of `further` dialogues those count whose families don't ship, and so aren't there anyway.
    """
    from agentmem.train.sft import served

    rows = records("dialogues")
    own = [served(_example(row)) for row in rows if row.get("split") != "test"]
    families = [row["family"] for row in rows if row.get("split") != "test"]
    shipped = {row["family"] for row in rows}
    more = [(one.user, one) for one in further if one.split == "train" and one.user not in shipped]
    for family, example in [*more, *_others(rng)]:
        own.append(served(example))
        families.append(family)
    said = beside([seen for seen, _ in own], embedder)
    return [Labelled(family, seen, edits, some, worths(seen, edits, [one.sentence for one in some]))
            for family, (seen, edits), some in zip(families, own, said, strict=True)]  # fmt: skip


def told_apart(judge: Judge, embedder: Embedder, tagger: Tagger | None = None) -> str:
    """How well held-out dialogues and their sentences are told apart, as AUC: by the judge, by the tagger, by both.

    A dialogue counts for its likeliest sentence.
    """
    from sklearn.metrics import roc_auc_score

    from agentmem.train.sft import served

    shown = [served(example) for example in held_out_dialogues()]
    judge = _Once(judge)
    readers = {"marks": Marker(judge, embedder, 0.5)}
    if tagger is not None:
        tagger = _Once(tagger)
        readers |= {"tags": Marker(judge, embedder, 0.5, tagger, share=0.0),
                    "both": Marker(judge, embedder, 0.5, tagger)}  # fmt: skip
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


class _Once:
    """A judge or tagger that is asked the same again and again, and reads it once."""

    def __init__(self, reader: Any) -> None:
        self._reader, self._found = reader, None

    def probabilities(self, given: Sequence[Any], /) -> Any:
        if self._found is None:
            self._found = self._reader.probabilities(given)
        return self._found


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
            others = [other for other in ids if other != id]
            yield _said(row, _some(rng, row, others), said, f"+ instruction: always => x. | {_quote(said)}")
        for request in row["requests"]:
            yield _said(row, _some(rng, row, ids), request["text"])
    for row in records("elicit"):
        if not PERSONAL.search(row["request"]):
            yield _said(row, {}, row["request"])
    for line in lines("train"):
        if line.label != "forget":
            edit = {"instruction": "always => x."}.get(line.label, "x.")
            edits = [] if line.label == "none" else [f"+ {line.label}: {edit} | {_quote(line.text)}"]
            yield _said({"family": line.scenario}, {}, line.text, *edits)


def _some(rng: random.Random, row: dict[str, Any], ids: Sequence[str]) -> dict[str, str]:
    """A memory of some instructions, or an empty one as often: it must not give away what is said beside it."""
    chosen = rng.sample(ids, 3) if rng.random() < 0.5 else []
    return {f"i{place}": f"always => {row['instructions'][id]}" for place, id in enumerate(chosen, start=1)}


def _said(row: dict[str, Any], known: dict[str, str], said: str, *edits: str) -> tuple[str, EditExample]:
    fields = {"user": row["family"], "memory": known, "messages": [{"role": "user", "content": said}]}
    return row["family"], EditExample.model_validate({**fields, "edits": list(edits) or ["="]})


def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
