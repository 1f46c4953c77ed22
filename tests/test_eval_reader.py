"""The reader: what it is asked, how its answers are read, and what is kept of them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tiny_gguf import write_tiny_gguf

from agentmem.errors import OutputError
from agentmem.models.fake import FakeChatModel
from eval.reader import Answers, Choice, LetterReader, LikelihoodReader, Prompt, get_reader

OPTIONS = ("A steak house.", "A vegan café.", "A fish bar.")
ASKED = Prompt("The user:\n- Is vegan.", "Where should I eat?", OPTIONS)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("AGENTMEM_EVAL_CACHE", raising=False)


def letter(answer: str) -> int:
    return LetterReader("m", model=FakeChatModel([answer])).choose(ASKED).place


@pytest.mark.parametrize(
    ("answer", "place"),
    [("B", 1), ("b", 1), ("(B)", 1), ("B.", 1), ("Answer: C", 2), ("**A**", 0), ("B) A vegan café.", 1),
     ("The best one is B.", 1), ("B. A vegan café.", 1), ("C\n\nIt suits the user.", 2)],
)  # fmt: skip
def test_the_letter_of_an_answer(answer: str, place: int) -> None:
    assert letter(answer) == place


@pytest.mark.parametrize("answer", ["", "I cannot say.", "B or C", "D", "Neither of them"])
def test_an_answer_that_names_no_option_is_an_error(answer: str) -> None:
    with pytest.raises(OutputError, match="names no option") as caught:
        letter(answer)
    assert caught.value.raw == answer


def test_what_is_asked_in_each_format_and_wording() -> None:
    model = FakeChatModel(["B"] * 4)
    reader = LetterReader("m", model=model)
    for asked in (ASKED, ASKED._replace(format="letters", context=""), ASKED._replace(format="prose"),
                  ASKED._replace(wording="choose_options_first")):  # fmt: skip
        reader.choose(asked)
    first, letters, prose, other = ([message.text for message in call] for call in model.calls)
    assert first == [
        "The user:\n- Is vegan.",
        "Where should I eat?\n\nWhich of these replies suits me best? Answer with its letter (A is the first of them, "
        "B the second, and so on), nothing else.\n\n- A steak house.\n- A vegan café.\n- A fish bar.",
    ]
    assert letters == [  # told nothing, there is no system message
        "Where should I eat?\n\nWhich of these replies suits me best? Answer with its letter, nothing else.\n\n"
        "A. A steak house.\nB. A vegan café.\nC. A fish bar."
    ]
    assert prose[1].endswith('One reply is: "A steak house." Another is: "A vegan café." The last is: "A fish bar."')
    assert other[1].startswith("These are possible replies to a question of mine:\n\n- A steak house.")


def test_the_fake_reader_shares_words_in_every_format() -> None:
    reader = get_reader("fake")
    for format in ("list", "letters", "prose"):
        assert reader.choose(ASKED._replace(format=format)).place == 1


def test_answers_are_kept_by_all_that_they_depend_on(tmp_path: Path) -> None:
    answers = Answers(tmp_path)
    model = FakeChatModel(["A", "B", "C", "A", "B", "C"])
    reader = LetterReader("m", answers, model)
    first = reader.choose(ASKED)
    assert (first.place, first.kept) == (0, False)
    again = LetterReader("m", Answers(tmp_path), model).choose(ASKED)  # as another process would
    assert again == first._replace(kept=True)
    assert len(model.calls) == 1
    others = [ASKED._replace(context=""), ASKED._replace(question="And drink?"), ASKED._replace(options=OPTIONS[::-1]),
              ASKED._replace(wording="choose_reworded")]  # fmt: skip
    assert [reader.choose(other).kept for other in others] == [False] * 4
    assert not LetterReader("another", answers, model).choose(ASKED).kept


def test_a_failed_answer_is_not_kept(tmp_path: Path) -> None:
    reader = LetterReader("m", Answers(tmp_path), FakeChatModel(["hm", "B"]))
    with pytest.raises(OutputError):
        reader.choose(ASKED)
    assert reader.choose(ASKED).place == 1


def test_several_writers_of_one_file(tmp_path: Path) -> None:
    def write(place: int) -> None:
        Answers(tmp_path).put(f"key{place}", Choice(place, 1, 1, 0.1))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(40)))
    assert [Answers(tmp_path).get(f"key{place}") for place in range(40)] == [
        Choice(place, 1, 1, 0.1) for place in range(40)
    ]
    assert Answers(tmp_path).get("nothing") is None


def test_where_answers_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Answers().path == tmp_path / "cache" / "agentmem" / "eval" / "answers.sqlite"
    monkeypatch.setenv("AGENTMEM_EVAL_CACHE", str(tmp_path / "mine"))
    assert Answers().path == tmp_path / "mine" / "answers.sqlite"


def test_a_local_model_chooses_the_likeliest_option(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "tiny.gguf")
    reader = get_reader(f"local:{path}", Answers(tmp_path))
    assert isinstance(reader, LikelihoodReader)
    short = ASKED._replace(context="abc", question="ab?", options=("cab", "de fa", "bb"))
    choice = reader.choose(short)
    text = reader.scorer.chat_prompt(reader.messages(short))
    (found,) = reader.scorer.score([text], [short.options])
    assert choice.place == found.mean.argmax()
    assert choice.prompt_tokens == len(reader.scorer.tokenizer(text, add_special_tokens=False)["input_ids"])
    assert get_reader(f"local:{path}", Answers(tmp_path)).choose(short).kept  # without loading the model
