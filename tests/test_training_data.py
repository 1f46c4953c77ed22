"""The authored training data: every record has its form, and what it says of itself holds."""

import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from agentmem.models.embed import get_embedder
from agentmem.policy.edits import parse_edits
from agentmem.train.histories import read_examples
from agentmem.train.leaks import leaks

DATA = Path(__file__).parents[1] / "agentmem" / "train" / "data"
REAL = Path(__file__).parents[2] / "shared" / "data"


NAMES = sorted({path.relative_to(DATA).parts[0] for path in DATA.rglob("*.jsonl")})


def rows(name):
    """Of a file, or of all in a folder."""
    files = sorted((DATA / name).glob("*.jsonl")) or [DATA / name]
    return [json.loads(line) for file in files for line in file.read_text("utf-8").splitlines()]


def test_the_readme_counts_the_records():
    text = (DATA / "README.md").read_text("utf-8")
    for name in NAMES:
        assert f"| {name} | {len(rows(name))} |" in text


@pytest.mark.parametrize("name", NAMES)
def test_no_record_stands_twice_and_all_have_a_family(name):
    records = rows(name)
    families = [
        record.get("family") or record.get("user") or record.get("domain") or record.get("attribute")
        for record in records
    ]
    assert all(family and family.strip() for family in families)
    assert max(Counter(json.dumps({**record, "family": ""}, sort_keys=True) for record in records).values()) == 1


def test_edits_of_dialogues_parse_quote_the_user_and_name_what_is_there():
    for record in rows("dialogues"):
        parsed = parse_edits("\n".join(record["edits"]))
        assert not parsed.problems, record
        assert record["negative"] == (not parsed.edits), record
        said = [message["content"] for message in record["messages"] if message["role"] == "user"]
        for edit in parsed.edits:
            assert set(edit.aliases) <= record["memory"].keys(), record
            assert all(any(quote in message for message in said) for quote in edit.quotes), (edit, record["family"])


def test_dialogues_are_split_by_family_and_none_of_a_family_is_on_both_sides():
    sides: dict[str, set[str]] = {}
    for record in rows("dialogues"):
        sides.setdefault(record["family"], set()).add(record.get("split", "train"))
    assert all(len(side) == 1 for side in sides.values())
    assert sum(side == {"test"} for side in sides.values()) > 100


TWIN = 0.85
"""Cosine of MiniLM from which on two records in English are nearly the same; those of .8 are other requests."""


@pytest.mark.slow  # minutes: ten thousand texts
def test_no_dialogue_for_training_is_nearly_one_of_the_test():
    records = [record for record in rows("dialogues") if record.get("lang", "en") == "en"]
    records = [record for record in records if is_latin(said_by_user(record))]
    sides = [record.get("split", "train") == "test" for record in records]
    vectors_ND = get_embedder("minilm").encode([said_by_user(record) for record in records])
    test = np.flatnonzero(sides)
    cosine_TN = vectors_ND[test] @ vectors_ND.T
    cosine_TN[:, test] = 0
    near = cosine_TN.argmax(1)
    assert not [
        (records[one]["family"], records[other]["family"])
        for one, other, cosine in zip(test, near, cosine_TN.max(1), strict=True)
        if cosine >= TWIN
    ]


def said_by_user(record):
    return "\n".join(message["content"] for message in record["messages"] if message["role"] == "user")


def is_latin(text):
    return 2 * len(re.findall(r"[A-Za-z]", text)) > len(re.findall(r"\w", text))


def test_histories_can_be_read_and_leak_nothing():
    examples = read_examples(DATA / "histories.jsonl")
    assert len({history.user for history in examples.histories}) == len(examples.histories) >= 300
    assert all(len(history.sessions) >= 3 and history.memory for history in examples.histories)
    assert not leaks(examples)


def test_updates_have_every_kind_of_message():
    for record in rows("updates.jsonl"):
        assert record["old"] and record["old_said"]
        assert len(record["closes"]) >= 2 and len(record["repeats"]) >= 2 and len(record["keeps"]) >= 3, record[
            "family"
        ]
        assert all(one["said"].strip() and one["memory"].strip() for one in record["closes"])


def test_requests_name_instructions_of_their_user():
    for record in rows("applicable.jsonl"):
        ids = record["instructions"].keys()
        for request in record["requests"]:
            applies, overridden, via = set(request["applies"]), set(request["overridden"]), request.get("via", {})
            assert applies | overridden | via.keys() | set(via.values()) <= ids, record["family"]
            assert not applies & overridden, record["family"]
            assert via.keys() <= applies | overridden and set(via.values()) <= applies, (record["family"], request)


def test_evidence_names_messages_and_forgets_name_memories():
    for record in rows("retrieval.jsonl"):
        assert all(set(question["evidence"]) <= record["messages"].keys() for question in record["questions"])
    for record in rows("forget.jsonl"):
        assert set(record["forgets"]) <= record["memory"].keys() and (record["heard"] or not record["forgets"])
    for record in rows("elicit.jsonl"):
        assert record["ask"] == bool(record.get("question")), record


def test_phrases_have_their_places_for_values():
    for domain in rows("domains.jsonl"):
        assert len(domain["slots"]) >= 4, domain["domain"]
        for slot in domain["slots"].values():
            phrases = [*slot["prefer"], *slot["is"], *slot["state"]]
            assert all(phrase.count("{}") == 1 for phrase in phrases) and len(slot["values"]) >= 8, domain["domain"]
    for one in rows("attributes.jsonl"):
        assert all(text.count("{}") == 1 for text in [*one["memory"], *one["said"], *one["changed"]]), one["attribute"]
        assert all(text.count("{old}") == 1 for text in one["ended"]) and len(one["values"]) >= 10, one["attribute"]


def texts_of(value):
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return [text for one in inner for text in texts_of(one)]


def runs_of(text, size=9):
    said = re.findall(r"\w+", text.lower())
    return {" ".join(said[place : place + size]) for place in range(len(said) - size + 1)}


@pytest.mark.skipif(not REAL.is_dir(), reason="needs the benchmarks' data beside the repository: shared/data")
def test_no_nine_words_in_a_row_are_a_benchmarks():
    own = {run for name in NAMES for text in texts_of(rows(name)) for run in runs_of(text)}
    assert len(own) > 500_000
    for path in REAL.rglob("*.json*"):
        assert not own & runs_of(path.read_text("utf-8", errors="replace")), path.name
