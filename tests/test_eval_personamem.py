"""personamem: the loaders, what may be read when, the cut, and the metrics, against values computed by hand."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from agentmem.session import Session, make_session
from eval.benchmarks.personamem import DEFAULT_LIMIT, PersonaMem, tail
from eval.benchmarks.personamem_data import History, load_histories
from eval.errors import DataError
from eval.harness import evaluate
from eval.runs import read_outcomes
from eval.settings import Settings
from eval.systems import Context, SystemSpec, UserMemory
from eval.values import Outcome, Report

DATA = Path(__file__).parent.parent.parent / "shared" / "data"
HERE = Path(__file__).parent / "eval_data" / "personamem"


def load(layout: str) -> History:
    (history,) = load_histories(Settings(data=HERE / layout))
    return history


def run(tmp_path: Path, system: str, data: Path = HERE / "ours", **settings: Any) -> tuple[Report, list[Outcome]]:
    out = tmp_path / "report.json"
    asked = Settings(data=data, **{"reader": "fake", **settings})
    report = evaluate(PersonaMem(), SystemSpec(label=system, embedder="hash"), asked, out, fresh=True)
    return report, read_outcomes(out)


# -- loaders --------------------------------------------------------------------------------------------------------


def test_our_layout_and_the_authors_give_the_same() -> None:
    ours, v1 = load("ours"), load("v1")
    assert [[m.content for m in s.messages] for s in ours.sessions] == [
        [m.content for m in s.messages] for s in v1.sessions
    ]
    assert ours.questions == v1.questions
    assert (ours.id, ours.user, v1.id, v1.user) == ("quill", "7", "quill", "7")
    first = ours.questions[0]
    assert (first.id, first.text, first.right, first.visible) == ("q1", "What did I say about my balcony?", 0, 1)
    assert [asked.visible for asked in ours.questions] == [1, 2, 2, 3]


@pytest.mark.parametrize("layout", ["ours", "v1", "v2", "v2_sample"])
def test_the_persona_is_nowhere_and_the_roles_are_said_once(layout: str) -> None:
    history = load(layout)
    said = [message for session in history.sessions for message in session.messages]
    assert len(said) == 9 and {message.role for message in said} == {"user", "assistant"}
    assert said[0].content == "I started keeping bees on my balcony last spring."
    assert "pelicans" not in repr(history) and "Vera" not in repr(history)


def test_version_2() -> None:
    upstream, sample = load("v2"), load("v2_sample")
    assert [(asked.type, asked.right, asked.visible) for asked in upstream.questions] == [
        ("neutral_preferences", 0, 1)
    ] * 2
    assert upstream.questions[1].text == sample.questions[0].text == "What do I work with now?"
    assert upstream.questions[1].options == sample.questions[0].options
    assert (len(sample.sessions), sample.questions[0].visible) == (3, 3)
    repository = Settings(data=HERE / "v2")
    assert load_histories(repository)[0].user == "7"


def test_a_session_that_is_seen_in_part_is_cut_there(tmp_path: Path) -> None:
    shutil.copytree(HERE / "v1", tmp_path / "v1")
    path = tmp_path / "v1" / "questions_32k.csv"
    path.write_text(path.read_text().replace("quill,8\n", "quill,6\n"))  # within the second session
    (history,) = load_histories(Settings(data=tmp_path / "v1"))
    assert [len(session.messages) for session in history.sessions] == [3, 1, 2, 3]
    assert [asked.visible for asked in history.questions] == [1, 2, 2, 4]


def broken(tmp_path: Path, layout: str, file: str, old: str, new: str) -> str:
    """What is said of the fixture with `old` replaced by `new`."""
    folder = tmp_path / "broken"
    shutil.copytree(HERE / layout, folder)
    text = (folder / file).read_text()
    assert old in text
    (folder / file).write_text(text.replace(old, new, 1))
    with pytest.raises(DataError) as caught:
        load_histories(Settings(data=folder))
    return str(caught.value)


@pytest.mark.parametrize(
    ("layout", "file", "old", "new", "said"),
    [
        (
            "ours",
            "questions.jsonl",
            '"answer": "b"',
            '"answer": "e"',
            "questions.jsonl:2: field answer is 'e', but the options are a, b, c, d",
        ),
        ("ours", "questions.jsonl", '"query"', '"qery"', "questions.jsonl:1: field query is missing"),
        (
            "ours",
            "questions.jsonl",
            '["quill_0"]',
            '["quill_1"]',
            "questions.jsonl:1: field visible_documents are not the first",
        ),
        (
            "ours",
            "documents.jsonl",
            '"quill_1"',
            '"quill"',
            "documents.jsonl:2: field id does not end in the session's number",
        ),
        ("ours", "documents.jsonl", "{", "", "documents.jsonl:1: not JSON"),
        ("v1", "questions_32k.csv", ",(a),", ",(x),", "questions_32k.csv:2: field correct_answer is 'x'"),
        (
            "v1",
            "questions_32k.csv",
            "quill,4",
            "quill,four",
            "questions_32k.csv:2: field end_index_in_shared_context is 'four', not a whole number",
        ),
        (
            "v1",
            "questions_32k.csv",
            ",quill,",
            ",quell,",
            "questions_32k.csv:2: field shared_context_id: shared_contexts_32k.jsonl has no quell",
        ),
        (
            "v1",
            "shared_contexts_32k.jsonl",
            '"role"',
            '"rule"',
            "shared_contexts_32k.jsonl:1: quill[0]: field role is missing",
        ),
        (
            "v2",
            "data/chat_history_32k/chat_history_persona7.json",
            "chat_history",
            "history",
            "chat_history_persona7.json: field chat_history is missing",
        ),
        (
            "v2_sample",
            "sample_records.jsonl",
            '"persona_id": 7',
            '"persona_id": "7"',
            'sample_records.jsonl:1: field persona_id is "7", not a whole number',
        ),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, layout: str, file: str, old: str, new: str, said: str) -> None:
    assert said in broken(tmp_path, layout, file, old, new)


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="neither documents.jsonl nor questions_.*huggingface.co"):
        load_histories(Settings(data=tmp_path))
    shutil.copytree(HERE / "v1", tmp_path / "v1")
    (tmp_path / "v1" / "shared_contexts_32k.jsonl").unlink()
    with pytest.raises(DataError, match="shared_contexts_32k.jsonl: no such file"):
        load_histories(Settings(data=tmp_path / "v1"))


# -- running --------------------------------------------------------------------------------------------------------


class Recorder(UserMemory):
    """Notes what it observed, and how much of it before each question."""

    name = "recorder"
    observed: list[str] = []  # noqa: RUF012
    asked: dict[str, int] = {}  # noqa: RUF012

    def observe(self, session: Session) -> None:
        self.observed.append(session.id)

    def context(self, request: str, *, budget: int | None = 2000) -> Context:
        self.asked[request] = len(self.observed)
        return Context(text="", tokens=0)


class Recording:
    name = "recorder"
    config: dict[str, object] = {}  # noqa: RUF012

    def open(self, folder: Path) -> UserMemory:
        Recorder.observed, Recorder.asked = [], {}
        return Recorder()


def test_each_question_is_asked_when_exactly_its_sessions_were_observed(tmp_path: Path) -> None:
    run(tmp_path, "test_eval_personamem:Recording")
    assert Recorder.observed == ["quill_0", "quill_1", "quill_2"]  # each once, in order
    assert Recorder.asked == {asked.text: asked.visible for asked in load("ours").questions}


def test_a_subset_observes_no_more_than_it_needs(tmp_path: Path) -> None:
    run(tmp_path, "test_eval_personamem:Recording", limit=1)
    assert len(Recorder.asked) == 1
    assert len(Recorder.observed) == next(iter(Recorder.asked.values()))


def test_every_metric(tmp_path: Path) -> None:
    """The fake reader takes the reply with most words of what it is told; told nothing, the first one."""
    report, outcomes = run(tmp_path, "full-context")
    value = {name: metric.value for name, metric in report.metrics.items()}
    assert value["accuracy_memory"] == value["accuracy_full"] == 1.0
    first = [outcome.detail["gold"] == 0 for outcome in outcomes]
    assert value["accuracy_none"] == sum(first) / 4
    assert report.metrics["accuracy_memory_recall_user_shared_facts"].n == 2
    assert value["cut_share"] == 0.0
    assert [outcome.detail["sessions"] for outcome in outcomes] == [1, 2, 2, 3]
    told = outcomes[0].detail["context_full"]
    assert told == (
        "Earlier conversations:\nuser: I started keeping bees on my balcony last spring.\nassistant: How many hives do "
        "you have?\nuser: Two hives, and I bottle the honey myself."
    )
    assert outcomes[0].scores["tokens_full"].value == -(-len(told) // 4)
    assert report.metrics["gain_share"].value is None  # one person alone has no interval
    assert "gain_share_suggest_new_ideas".startswith(tuple(PersonaMem.guarded))


def test_the_full_context_is_cut_at_its_beginning() -> None:
    talk = [make_session([{"role": "user", "content": "a" * 34}, {"role": "assistant", "content": "b" * 29}], id="x"),
            make_session([{"role": "user", "content": "c" * 14}], id="y")]  # fmt: skip
    whole = "user: " + "a" * 34 + "\nassistant: " + "b" * 29 + "\nuser: " + "c" * 14
    assert tail(talk, 25) == (f"Earlier conversations:\n{whole}", 0.0)  # 10 + 10 + 5 tokens
    text, cut = tail(talk, 10)  # the last, and 5 of the 10 tokens of the one before
    assert text == "Earlier conversations:\n" + "b" * 20 + "\nuser: " + "c" * 14
    assert cut == pytest.approx(1 - 10 / 25)
    assert tail(talk, 5) == ("Earlier conversations:\nuser: " + "c" * 14, pytest.approx(1 - 5 / 25))
    assert tail([], 5) == ("", 0.0)


def many(folder: Path, count: int) -> Path:
    """The fixture with its questions over and over, under other ids."""
    shutil.copytree(HERE / "ours", folder)
    path = folder / "questions.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    own = [{**rows[n % len(rows)], "id": f"q{n}"} for n in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in own))
    return folder


def test_without_a_limit_a_fixed_stratified_subset(tmp_path: Path) -> None:
    data = many(tmp_path / "many", 120)

    def ids(**settings: Any) -> set[str]:
        return {case.id for unit in PersonaMem().load(Settings(data=data, **settings)) for case in unit.cases}

    assert len(ids()) == DEFAULT_LIMIT and ids() == ids(seed=3) == ids(shuffle_gold=True)
    strata = [case.stratum for unit in PersonaMem().load(Settings(data=data)) for case in unit.cases]
    assert strata.count("recall_user_shared_facts") == 30 and strata.count("suggest_new_ideas") == 15
    assert len(ids(limit=100)) == 120  # the harness takes 100 of all


def test_shuffled_golds_fall_to_chance(tmp_path: Path) -> None:
    data = many(tmp_path / "many", 400)
    right, _ = run(tmp_path, "full-context", data, limit=400)
    shuffled, _ = run(tmp_path, "full-context", data, limit=400, shuffle_gold=True)
    assert right.metrics["accuracy_full"].value == 1.0
    assert 0.19 < (shuffled.metrics["accuracy_full"].value or 0) < 0.31


@pytest.mark.skipif(not (DATA / "personamem_v1").is_dir(), reason="the benchmark data is not here")
def test_real_data() -> None:
    histories = load_histories(Settings(data=DATA))
    assert (len(histories), sum(len(one.questions) for one in histories)) == (29, 458)
    assert not any(
        "user persona" in message.content for one in histories for s in one.sessions for message in s.messages
    )
    cases = [case for unit in PersonaMem().load(Settings(data=DATA)) for case in unit.cases]
    assert len(cases) == DEFAULT_LIMIT and len({case.stratum for case in cases}) == 7
    sample = load_histories(Settings(data=DATA / "personamem_v2"))
    assert [len(one.questions) for one in sample] == [7]
