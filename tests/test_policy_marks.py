"""What is worth writing down: the sentences that a detector reads, with what, and who is asked of them."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import numpy as np
import pytest

from agentmem.memory import Add, Evidence, Fact
from agentmem.models.embed import get_embedder
from agentmem.models.judges import Sight, shipped_tagger
from agentmem.models.sampling import Answer
from agentmem.models.weights import cached
from agentmem.policy import Observation, TrainedPolicy, marks
from agentmem.policy.abroad import is_abroad
from agentmem.policy.actions import EditLines, actions_of, get_actions, keep_actions
from agentmem.policy.base import WORTHS, Mark
from agentmem.policy.edits import format_edits, parse_edits
from agentmem.policy.leftover import unnamed, unsaid
from agentmem.policy.marks import Marker, Turn, beside, of_sentences, pairs, sentences_of, shipped_marker, worths
from agentmem.policy.resolve import STATED, render_observation, to_ops
from agentmem.policy.spans import parts
from agentmem.policy.wording import declined
from agentmem.session import Message, Session
from agentmem.train.histories import read_examples
from agentmem.train.judges.records import DATA

DAY = date(2026, 5, 1)


def seen(*messages: str, known: Sequence[str] = (), start: int = 0) -> Observation:
    """User and assistant in turn; the user begins."""
    own = [Message(role="assistant" if turn % 2 else "user", content=text) for turn, text in enumerate(messages)]
    facts = [Fact(id=f"f{place:05}", text=text, evidence=(Evidence(quote="so", session="s", turn=0),))
             for place, text in enumerate(known)]  # fmt: skip
    return Observation(memories=tuple(facts), session=Session(id="s", messages=tuple(own)), start=start, today=DAY)


class Liking:
    """Finds worth in what says love."""

    def __init__(self) -> None:
        self.read: list[tuple[str, str]] = []

    def probabilities(self, pairs: Any, /) -> Any:
        self.read += pairs
        return np.array([[0.1, 0.9, *[0.0] * 6] if "love" in said else [1.0, *[0.0] * 7] for said, _ in pairs],
                        np.float32).reshape(-1, len(WORTHS))  # fmt: skip


class Echo:
    """Writes that the user loves tea, and keeps what it was asked."""

    def __init__(self, answer: str = '+ preference: Loves tea. | "I love tea."') -> None:
        self.answer = answer
        self.asked: list[str] = []

    def write(self, prompts: Sequence[Sequence[Mapping[str, str]]], aliases: Sequence[Sequence[str]], /) -> list[str]:
        self.asked += [messages[-1]["content"] for messages in prompts]
        return [self.answer for _ in prompts]


class Doubtful(Echo):
    """Writes its answer, and says how sure it is of it."""

    def __init__(self, answer: str, sure: float) -> None:
        super().__init__(answer)
        self.sure = sure

    def write(self, prompts: Any, aliases: Any, /) -> list[str]:
        return [Answer(one, [self.sure]) for one in super().write(prompts, aliases)]


def test_sentences_are_those_of_new_user_messages_without_code_and_fiction() -> None:
    chat = seen("Old news here.", "Yes?", "I love tea. See `x = 1`.\n```\nlove = 2\n```", "Fine.",
                "Let's role-play: you are a pirate and I am the parrot. I love crackers.", "Arr.", "I love rum.",
                start=2)  # fmt: skip
    assert [one.text for one in sentences_of(chat)][0] == "I love tea."
    assert all("love = 2" not in one.text and "rum" not in one.text for one in sentences_of(chat))
    for one in sentences_of(chat):
        assert chat.session.messages[one.turn].content[one.start : one.end] == one.text


@pytest.mark.parametrize(
    ("said", "play"),
    [("Let's role-play a job interview.", True), ("We are roleplaying, you are the king.", True),
     ("None has the role-playing experience I look for.", False), ("I love role playing games.", False)],
)  # fmt: skip
def test_what_opens_a_role_play_and_what_only_speaks_of_such_games(said: str, play: bool) -> None:
    found = {one.text for one in sentences_of(seen(said, "Fine.", "I love tea."))}
    assert found == (set() if play else {said, "I love tea."})


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ("Big update: I sold my guitar and switched to cello.", True),
        ("new plan: no cooking, my meals come from CookUnity now", True),
        ("So it's lights out at 9:45 PM now.", True),
        ("Good news: I got the job.\nWhat do I wear?", True),
        ("user: I love tea", False),
        ("My passenger said: I always want the bridge", False),
        ("Anna: I love tea\nBen: I hate tea", False),
        ("What does she mean?\nAnna: I never eat meat", False),
        ("translate: I love tea", False),
    ],
)
def test_who_announces_something_before_a_colon_is_heard_and_who_pastes_a_conversation_is_not(
    said: str, read: bool
) -> None:
    last = said.splitlines()[-1] if "?" not in said.splitlines()[-1] else said.splitlines()[0]
    assert (last in {one.text for one in sentences_of(seen(said))}) == read


class Sometimes(Liking):
    """Gives .4, and takes everything for a conclusion."""

    def probabilities(self, pairs: Any, /) -> Any:
        return np.array([[0.6, 0.0, 0.0, 0.4, *[0.0] * 4] for _ in pairs], np.float32).reshape(-1, len(WORTHS))


def test_turning_down_what_was_offered_is_a_sign_of_taste_and_taking_it_alone_is_less_of_one() -> None:
    offered = "1. A concert in the park\n2. A film at home"
    refusal = "The concert doesn't appeal to me."
    chats = [seen("Tonight?", offered, refusal, start=2), seen("Tonight?", offered, "The film it is.", start=2),
             seen("Tonight?", "Stay at home.", refusal, start=2)]  # fmt: skip
    marked = Marker(Sometimes(), get_embedder("hash"), 0.5).marked(chats)
    assert [[one.mark.text for one in own if one.mark] for own in marked] == [[refusal], [], []]


def test_a_sentence_is_read_with_the_memories_near_it_and_what_came_before() -> None:
    known = ["Drinks tea in the morning.", "Owns a red bicycle.", "Drinks tea at night."]
    chat = seen("A green one?", "Why not.", "I drink tea now.", known=known, start=2)
    [[one]] = said = beside([chat], get_embedder("hash"))
    assert set(one.near) == {"f00000", "f00002"}
    [[(text, context)]] = pairs([chat], said)
    assert text == "I drink tea now."
    assert "tea in the morning" in context and "tea at night" in context and "bicycle" not in context
    assert context.endswith("A green one? / Why not.")


def policy_of(writer: Echo, judge: Any, forgetting: Any = None) -> TrainedPolicy:
    marker = Marker(judge, get_embedder("hash"), 0.5, forgetting=forgetting)
    return TrainedPolicy(writer, actions=EditLines(marks=0.5), marker=marker)


def test_only_marked_sentences_are_asked_of_and_without_any_the_model_is_not() -> None:
    judge, writer = Liking(), Echo()
    chats = [
        seen("What time is it?"),
        seen("It rains again.", "Oh.", "I love tea. And rain is wet."),
        seen("Hm, well."),
    ]
    proposals = policy_of(writer, judge).propose(chats)
    assert [len(one.edits) for one in proposals] == [0, 1, 0]
    [asked] = writer.asked
    assert "What time" not in asked and "assistant: Oh." in asked and "It rains" not in asked
    assert asked.endswith("\nKeep as fact: I love tea.\nEdits:")
    assert [said for said, _ in judge.read if "love" in said] == ["I love tea."]


def test_each_marked_sentence_is_asked_of_by_itself_and_what_is_said_twice_is_written_once() -> None:
    writer = Echo()
    [proposal] = policy_of(writer, Liking()).propose([seen("I love tea. I love rain. Oh, I love tea.")])
    assert [asked.splitlines()[-2] for asked in writer.asked] == [
        "Keep as fact: I love tea.", "Keep as fact: I love rain.", "Keep as fact: Oh, I love tea."]  # fmt: skip
    assert [edit.text for edit in proposal.edits] == ["Loves tea."]


def test_a_marked_sentence_is_shown_with_what_stands_near_it_and_the_memories_nearest_to_it() -> None:
    long = "Much is said here. " * 60
    known = ["Drinks tea in the morning.", "Owns a red bicycle.", "Has a cat."]
    mark = Mark(text="I love tea.", turn=2, worth="replace", near=("f00000",))
    chat = seen("Old.", "Yes?", long + "I love tea. " + long, "Fine.", "New.", known=known)
    text, aliases = render_observation(chat.model_copy(update={"mark": mark}))
    assert aliases == {"f1": "f00000"} and "bicycle" not in text
    assert "assistant: Yes?" in text and not any(word in text for word in ("Old", "Fine", "New"))
    assert "[…] " in text and " […]" in text and 400 < len(text) < 900
    assert text.endswith("\nChange: I love tea.")


def test_without_a_mark_the_prompt_is_as_it_was() -> None:
    chat = seen("It rains again.", "Oh.", "I love tea.")
    text, _ = render_observation(chat)
    assert "It rains again." in text and "Keep" not in text


class Forgetting:
    """Finds that requests to forget mean what is about tea."""

    def probabilities(self, pairs: Any, /) -> Any:
        return np.array([[0.0, 1.0] if "tea" in memory else [1.0, 0.0] for _, memory in pairs], np.float32)


class Erasing(Liking):
    """Finds a request to forget in what says forget."""

    def probabilities(self, pairs: Any, /) -> Any:
        found = super().probabilities(pairs)
        for row, (said, _) in enumerate(pairs):
            if "orget" in said:
                found[row] = [0.6, *[0.0] * 6, 0.4]
        return found


def test_a_request_to_forget_is_carried_out_without_the_model_and_what_it_speaks_of_is_not_kept() -> None:
    writer = Echo()
    policy = policy_of(writer, Erasing(), Forgetting())
    known = ["Drinks tea.", "Owns a bicycle."]
    [proposal] = policy.propose([seen("Please forget what I told you about tea.", known=known)])
    assert format_edits(proposal.edits) == 'x f1 | "Please forget what I told you about tea."'
    [proposal] = policy.propose([seen("I love rum.", "Ah.", "Forget what I just said.", known=known[1:])])
    assert format_edits(proposal.edits) == 'x | "Forget what I just said."'
    [proposal] = policy.propose([seen("Don't forget that it rains.", known=known)])
    assert (proposal.edits, writer.asked) == ((), [])


class Moving:
    """Finds that something changes in what says moved."""

    def probabilities(self, pairs: Any, /) -> Any:
        return np.array([[0.1, 0.2, *[0.0] * 3, 0.7, 0.0, 0.0] if "moved" in said else [1.0, *[0.0] * 7]
                         for said, _ in pairs], np.float32)  # fmt: skip


class Seeing(Sight):
    """Sees that homes are closed, perhaps what stands in them, and nothing else."""

    def __init__(self) -> None:
        pass

    def closes(self, said: str, olds: Sequence[str]) -> Any:
        return np.array([0.95 if "Lives" in old else 0.1 if "piano" in old else 0.001 for old in olds],
                        np.float32)  # fmt: skip


class Hearing:
    """Hears of each memory that it changes with the same probability."""

    def __init__(self, chance: float = 0.5) -> None:
        self._chance = chance

    def probabilities(self, pairs: Any, /) -> Any:
        return np.array([[1 - self._chance, self._chance]] * len(pairs), np.float32)


def test_a_change_is_asked_for_only_where_it_is_plain_what_is_changed() -> None:
    def asked(*known: str) -> Mark:
        marker = Marker(Moving(), get_embedder("hash"), 0.5, turn=Turn(Seeing(), Hearing()))
        [[one]] = marker.marked([seen("We moved to Oslo.", known=known)])
        assert one.mark is not None
        return one.mark

    assert asked().worth == "fact" and asked().near == ()
    assert asked("Moved the piano to the cellar.").worth == "fact"
    changed = asked("We moved the piano to Oslo.", "Lives in Rome.")
    assert (changed.worth, changed.near) == ("replace", ("f00001",))


class Unsure(Echo):
    """Writes nothing of changes."""

    def write(self, prompts: Sequence[Sequence[Mapping[str, str]]], aliases: Sequence[Sequence[str]], /) -> list[str]:
        super().write(prompts, aliases)
        return ["=" if "\nChange:" in messages[-1]["content"] else self.answer for messages in prompts]


def test_of_a_change_of_which_nothing_is_written_the_next_memory_is_asked_and_then_an_addition() -> None:
    marker = Marker(Moving(), get_embedder("hash"), 0.5, turn=Turn(Seeing(), Hearing()))
    known = ["We moved the piano to Oslo.", "Lives in Rome.", "Has a dog in Oslo."]  # the last is not likely enough
    chats = [seen("We moved to Oslo.", known=known), seen("Hm.", known=known), seen("We moved to Bergen.")]
    writer = Unsure('+ fact: Moved to Oslo. | "We moved to Oslo."')
    proposals = TrainedPolicy(writer, actions=EditLines(marks=0.5), marker=marker).propose(chats)
    assert [len(one.edits) for one in proposals] == [1, 0, 1]
    ends = [prompt.rpartition("\n")[0].rpartition("\n")[2] for prompt in writer.asked]
    assert ends == ["Change: We moved to Oslo.", "Keep as fact: We moved to Bergen.", "Change: We moved to Oslo.",
                    "Keep as fact: We moved to Oslo."]  # fmt: skip
    assert "Rome" in writer.asked[0] and "piano" not in writer.asked[0]
    assert "piano" in writer.asked[2] and "Rome" not in writer.asked[2]

    same = Echo('~ f2: Lives in Rome. | "We moved to Oslo."')  # as it was: not the memory that this is about
    [proposal] = TrainedPolicy(same, actions=EditLines(marks=0.5), marker=marker).propose(chats[:1])
    assert len(same.asked) == 2 and not any(edit.aliases == ("f2",) for edit in proposal.edits)

    sure = Echo('~ f1: Lives in Oslo. | "We moved to Oslo."')  # the aliases are those of all memories
    [proposal] = TrainedPolicy(sure, actions=EditLines(marks=0.5), marker=marker).propose(chats[:1])
    assert len(sure.asked) == 1 and proposal.problems


def test_what_is_changed_is_a_matter_of_three_readers() -> None:
    chat = seen("We moved to Oslo.", known=["Lives in Rome.", "Has a dog."])
    texts = {memory.id: memory.text for memory in chat.memories}

    def changes(chance: float, said: str = "We moved to Oslo.") -> dict[str, float]:
        [[reading]] = Marker(Moving(), get_embedder("hash"), 0.5).read(
            [seen(said, known=["Lives in Rome.", "Has a dog."])]
        )
        found = Turn(Seeing(), Hearing(chance)).changes(reading, texts)
        return {texts[id]: float(one) for id, one in zip(reading.said.known, found, strict=True)}

    sure, unsure, idle = changes(0.95), changes(0.05), changes(0.95, "I like rain.")
    assert set(sure) == {"Lives in Rome.", "Has a dog."}
    for text in sure:
        assert sure[text] > unsure[text] and sure[text] > idle[text]
    assert sure["Lives in Rome."] > max(0.5, sure["Has a dog."])


@pytest.mark.parametrize(
    ("answer", "edits"),
    [
        ('+ preference: Loves tea. | "I love tea"', '+ preference: Loves tea. | "I love tea"'),
        ('+ fact: Lives on Mars in a castle. | "I love tea"', '+ fact: Loves tea. | "I love tea"'),
        ('+ fact: Loves tea. | "I live in Lyon"', '+ fact: Loves tea. | "I love tea."'),
        ('+ preference?: Prefers warm drinks of tea. | "tea"', '+ preference?: Prefers warm drinks of tea. | "tea"'),
        ('+ preference: Loves tea over the internet. | "I love tea"', '+ preference: Loves tea. | "I love tea"'),
        ('+ preference: Loves tea over rains. | "I love tea"', '+ preference: Loves tea over rains. | "I love tea"'),
        (
            '+ preference?: Loves tea, not sweet, over tea too sweet. | "tea"',
            '+ preference?: Loves tea, not sweet. | "tea"',
        ),
        ('+ preference?: Prefers warm tea to tea. | "tea"', '+ preference?: Prefers warm tea. | "tea"'),
        ('+ preference?: Dislikes tea. | "I love tea"', '+ preference?: Dislikes tea. | "I love tea"'),
        ('+ preference?: Prefers tea too sweet. | "tea"', '+ preference?: Dislikes tea too sweet. | "tea"'),
        ('+ preference?: Loves tea over coffee. | "tea"', '+ preference?: Loves tea over coffee. | "tea"'),
        ('+ instruction: at dawn => bring nine elephants. | "tea"', '+ instruction: always => I love tea. | "tea"'),
        ('+ instruction: cooking => love tea. | "tea"', '+ instruction: always => love tea. | "tea"'),
        ('+ instruction: raining => love tea. | "tea"', '+ instruction: raining => love tea. | "tea"'),
        ("=", "="),
    ],
)
def test_what_a_model_words_is_held_to_what_was_said(answer: str, edits: str, caplog: pytest.LogCaptureFixture) -> None:
    writer = Echo(answer)
    with caplog.at_level("INFO", logger="agentmem"):
        [proposal] = policy_of(writer, Liking()).propose([seen("It rains. I love tea.")])
    assert format_edits(proposal.edits) == edits and proposal.problems == ()
    assert ("an edit was mended" in caplog.text) == (edits != answer)


def test_a_task_does_not_become_a_memory_where_a_model_worded_it_wrongly() -> None:
    writer = Echo('+ preference: Collects nine elephants on Mars. | "list ten teas"')
    [task] = policy_of(writer, Liking()).propose([seen("List ten teas that people love with my biscuits.")])
    assert task.edits == ()
    [told] = policy_of(writer, Liking()).propose([seen("List ten teas, I love them black.")])
    assert [edit.text for edit in told.edits] == ["List ten teas, I love them black."]


@pytest.mark.parametrize(
    ("answer", "sure", "edits"),
    [
        ("+ fact: Has tea with love.", 0.7, ["Has tea with love."]),
        ("+ fact: Has tea with love.", 0.6, ["Loves tea."]),  # the user's own words
        ("~ f1: Has tea with love.", 0.6, ["Loves tea."]),
        ("+ preference?: Prefers tea with love.", 0.6, ["Prefers tea with love."]),
        ("+ preference?: Prefers tea with love.", 0.4, []),
        ("- f1", 0.4, [""]),
    ],
)
def test_what_the_model_is_not_sure_of(answer: str, sure: float, edits: list[str]) -> None:
    writer = Doubtful(f'{answer} | "I love tea"', sure)
    [proposal] = policy_of(writer, Liking()).propose([seen("I love tea.", known=["Loves coffee."])])
    assert [edit.text for edit in proposal.edits] == edits


@pytest.mark.parametrize(
    ("said", "answer", "text"),
    [
        ("The love songs don't appeal to me.", "Prefers love songs to rock.", "Dislikes love songs."),
        ("The love songs don't appeal to me.", "Prefers rock to love songs.", ""),
        ("The love songs don't appeal to me.", "Prefers love songs of rock.", "Dislikes love songs of rock."),
        ("The other options with love songs don't appeal to me.", "Prefers quiet evenings.", "Dislikes love songs."),
        ("The love songs are a bit too sweet for my taste.", "Finds love songs too sweet.", ""),
        ("The love songs are a bit too sweet for my taste.", "Prefers rock to sweet songs.", ""),
        ("The love songs are a bit too sweet for my taste.", "Likes concerts.", "Finds love songs too sweet."),
        ("The others are too loud, I'd love calm.", "Prefers calm films to loud ones.", ""),
        ("The others seem too loud for my love life.", "Prefers loud films.", "Dislikes loud films."),
        ("The others seem too loud for my love life.", "Prefers calm films.", ""),  # it names the matter
        ("The love songs don't seem practical.", "Prefers love songs.", "Finds love songs not practical."),
        ("I'll pass on the love songs.", "Prefers love songs to rock.", "Dislikes love songs."),
    ],
)
def test_what_was_refused_in_so_many_words_is_not_worded_otherwise(said: str, answer: str, text: str) -> None:
    writer = Echo(f'+ preference?: {answer} | "{said}"')
    [proposal] = policy_of(writer, Liking()).propose([seen("What now?", "Films or rock concerts.", said)])
    assert [edit.text for edit in proposal.edits] == [text or answer]
    assert [edit.quotes for edit in proposal.edits] == [(said,)]


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ("The loud places don't appeal to me.", "Dislikes loud places."),
        ("The other English-language books don't appeal to me.", "Dislikes English-language books."),
        ("Chronos AI isn't for me", "Dislikes Chronos AI."),
        ("Open-plan offices are not for me.", "Dislikes open-plan offices."),
        ("The patterns on the other options are a bit too bold for my taste.", "Finds patterns too bold."),
        ("The rest are too violent for my taste.", "Dislikes what is too violent."),
        ("Friday and Saturday don't work for me.", None),
        ("The other options don't seem suitable for me.", None),
        ("Home please, the library is too cold.", None),
        ("Boxing sounds brutal to me.", None),  # a remark, no refusal
        ("My room is too cold.", None),
    ],
)
def test_what_a_remark_on_things_offered_refuses(said: str, text: str | None) -> None:
    found = declined(said)
    assert (found and found.text) == text


def test_a_taste_that_only_points_at_what_was_offered_is_none() -> None:
    writer = Echo('+ preference?: Prefers the first to the other two. | "I love the first"')
    [proposal] = policy_of(writer, Liking()).propose(
        [seen("What now?", "Films or rock concerts.", "I love the first.")]
    )
    assert proposal.edits == ()


def test_an_unsure_conclusion_leaves_what_was_refused() -> None:
    writer = Doubtful('+ preference?: Prefers light evenings. | "The love songs don\'t appeal to me"', 0.3)
    [proposal] = policy_of(writer, Liking()).propose([seen("The love songs don't appeal to me.")])
    assert [edit.text for edit in proposal.edits] == ["Dislikes love songs."]


@pytest.mark.parametrize(
    ("text", "abroad"),
    [
        ("pour l'anniv de manon je fais un gâteau normal", True), ("i wohn z Winterthur und suech es gschänk", True),
        ("trabajo de noche en una maquila", True), ("मैं कक्षा 10 में हूँ", True), ("Ślub mamy 12 września", True),
        ("長すぎます。", True), ("no eggs, vegan now", False), ("My sister lives in Los Angeles", False),
        ("Orders a café au lait at the bar", False), ("Mochi!", False), ("", False),
    ],
)  # fmt: skip
def test_which_sentences_are_in_another_language(text: str, abroad: bool) -> None:
    assert is_abroad(text) == abroad


def test_languages_are_told_apart_by_small_words_in_nearly_all_that_was_authored() -> None:
    right = looked = 0
    for example in read_examples(DATA / "dialogues").edits:
        said = " ".join(one.content for one in example.messages if one.role == "user")
        if len(said.split()) >= 8:
            looked += 1
            right += is_abroad(said) == (example.lang != "en")
    assert looked > 7000 and right >= 0.98 * looked


@pytest.mark.parametrize(
    ("sure", "answer", "text"),
    [
        (0.8, "+ fact: Fa un thé, love.", "Je fais du thé avec love."),
        (0.95, "+ fact: Fait du thé avec love.", "Fait du thé avec love."),
        (0.4, "+ preference?: Préfère le thé.", "Je fais du thé avec love."),
    ],
)
def test_in_another_language_the_users_own_words_stand_sooner(sure: float, answer: str, text: str) -> None:
    writer = Doubtful(f'{answer} | "Je fais du thé avec love"', sure)
    [proposal] = policy_of(writer, Liking()).propose([seen("Je fais du thé avec love.")])
    assert [edit.text for edit in proposal.edits] == [text]


def test_a_month_that_was_not_meant_is_mended() -> None:
    writer = Echo('+ fact: Loves tea since May 2031. | "I love tea since last year"')
    [proposal] = policy_of(writer, Liking()).propose([seen("I love tea since last year.")])
    assert [edit.text for edit in proposal.edits] == [f"Loves tea since {DAY.year - 1}."]


@pytest.mark.parametrize(
    ("sentence", "text", "stays"),
    [
        ("She's vegetarian, so we love the meatless menu.", "Is vegetarian.", False),
        ("She's colorblind, red green, love her.", "Has colorblindness, red green.", False),
        ("She's colorblind, love her.", "Daughter is colorblind.", True),
        ("She's vegetarian and I love rye.", "Loves rye.", True),
        ("She made me vegetarian, love it.", "Is vegetarian.", True),
        ("She loves hiking and so do I.", "Loves hiking.", True),
        ("He loves jazz, me too.", "Loves jazz.", True),
        ("She said it's celiac disease, love that.", "Has celiac disease.", True),
        ("He moved out, been living alone since, love it.", "Lives alone.", True),
        ("He left in May, we love being separated.", "Has been separated since May.", True),
        ("He is six, love him.", "Has a son, six.", True),
    ],
)  # fmt: skip
def test_what_is_said_of_another_is_no_memory_of_the_user(sentence: str, text: str, stays: bool) -> None:
    writer = Echo(f'+ fact: {text} | "{sentence}"')
    [proposal] = policy_of(writer, Liking()).propose([seen(sentence)])
    assert [edit.text for edit in proposal.edits] == [text] * stays


CATS = "my sister emigrated and left me her two ragdoll cats, Pim and Tolly"


@pytest.mark.parametrize(
    ("sentence", "found"),
    [
        (CATS, ["my sister emigrated", "left me her two ragdoll cats, Pim and Tolly"]),
        ("I love tea", ["I love tea"]),
        ("tea, coffee and rum", ["tea, coffee and rum"]),
        ("I live in Lyon and I never eat meat", ["I live in Lyon", "I never eat meat"]),
        ("", [""]),
    ],
)
def test_parts_of_a_sentence_stand_between_commas_and_conjunctions(sentence: str, found: list[str]) -> None:
    assert [sentence[part.start : part.end] for part in parts(sentence)] == found


@pytest.mark.parametrize(
    ("sentence", "answer", "found"),
    [
        (CATS, '+ fact: Has a sister who emigrated. | "my sister emigrated"',
         ["left me her two ragdoll cats, Pim and Tolly"]),
        (CATS, '+ fact: Has two cats, Pim and Tolly. | "two ragdoll cats"', []),
        (CATS, "=", []),
        (CATS, '- f1 | "my sister emigrated"', []),
        ("Left the rink in Oslo", '+ fact: Skates. | "the rink"', []),
        ("I run to keep fit, about 40 km a week", '+ fact: Runs to keep fit. | "I run"', ["about 40 km a week"]),
        ("Call me Bo, and never Robert please", '+ instruction: always => call the user Bo. | "Call me Bo"', []),
        ("I moved in with Ana and I've got a dog", '+ fact: Lives with Ana. | "I moved in with Ana"', []),
    ],
)  # fmt: skip
def test_what_was_left_out_names_what_no_text_says(sentence: str, answer: str, found: list[str]) -> None:
    spans = unnamed(sentence, parse_edits(answer).edits)
    assert [sentence[span.start : span.end] for span in spans] == found


@pytest.mark.parametrize(
    ("sentence", "answer", "found"),
    [
        ("I moved to Porto and I never eat meat", '+ fact: Moved to Porto. | "I moved to Porto"', ["I never eat meat"]),
        ("I moved to Porto and I never eat meat", '+ fact: Eats no meat in Porto. | "I never eat meat"', []),
        ("I moved to Porto and never eat meat", '+ fact: Moved to Porto. | "I moved to Porto"', []),
        ("I moved to Porto and I never eat meat", "=", []),
        ("I never eat meat and I love rye", '+ instruction: meals => no meat. | "I never eat meat"', []),
        ("We never eat meat", '+ fact: Has a dog. | "We never"', []),
    ],
)  # fmt: skip
def test_of_a_second_thing_that_is_said_of_oneself_no_text_says_a_word(
    sentence: str, answer: str, found: list[str]
) -> None:
    assert [sentence[span.start : span.end] for span in unsaid(sentence, parse_edits(answer).edits)] == found


class Apart(Echo):
    """Writes of a sentence what stands in its first part, and of a part what it says."""

    def write(self, prompts: Sequence[Sequence[Mapping[str, str]]], aliases: Sequence[Sequence[str]], /) -> list[str]:
        super().write(prompts, aliases)
        last = [messages[-1]["content"].splitlines()[-2] for messages in prompts]
        return ['+ fact: Has cats, Pim and Tolly. | "cats, Pim and Tolly"' if "sister" not in line
                else '+ fact: Has a sister who emigrated. | "my sister emigrated"' for line in last]  # fmt: skip


def test_of_what_was_left_out_the_policy_is_asked_by_itself() -> None:
    said = "I love it, my sister emigrated and I love her cats, Pim and Tolly"
    policy = policy_of(writer := Apart(), Liking())
    [proposal] = policy.propose([seen("Hm.", "Yes?", said)])
    assert [edit.text for edit in proposal.edits] == ["Has a sister who emigrated.", "Has cats, Pim and Tolly."]
    assert len(writer.asked) == 2 and "Keep as fact: I love her cats, Pim and Tolly\n" in writer.asked[1]

    policy = policy_of(writer := Apart(), Liking())  # a part that nothing is seen in is not asked of
    [proposal] = policy.propose([seen(said.replace("I love her cats", "so I hate her cats"))])
    assert len(writer.asked) == len(proposal.edits) == 1


def test_a_memory_is_as_sure_as_the_detector_was() -> None:
    chat = seen("It rains. I love tea.")
    marker = Marker(Liking(), get_embedder("hash"), 0.5)
    [[marked]] = marker.marked([chat])
    mark = marked.mark
    assert mark is not None and mark.sure == pytest.approx(0.9)
    [proposal] = policy_of(Echo('+ preference: Loves tea. | "I love tea"'), Liking()).propose([chat])
    [op], _ = to_ops(proposal.edits, chat, rng=random.Random(0))
    assert isinstance(op, Add) and op.memory.confidence == round(STATED * mark.sure, 2) < STATED


def test_what_a_sentence_calls_for_is_what_the_first_edit_does_that_quotes_of_it() -> None:
    chat = seen("I moved to Oslo. I hate snow! Who doesn't? I gave up skiing. Forget my age.", known=["x", "y", "z"])
    edits = parse_edits(
        '~ f1: Lives in Oslo. | "moved to Oslo"\n+ preference?: Dislikes snow. | "I hate snow!"\n'
        '- f2 | "I gave up skiing."\nx f3 | "Forget my age."'
    ).edits
    assert worths(chat, edits, sentences_of(chat)) == ["replace", "inferred", "none", "close", "forget"]
    assert [len(own) for own in of_sentences(chat, edits, sentences_of(chat))] == [1, 1, 0, 1, 1]


def test_marks_are_kept_with_the_adapter(tmp_path: Any) -> None:
    keep_actions(get_actions("edits", marks=0.4), tmp_path)
    assert actions_of(tmp_path) == EditLines(marks=0.4)
    for name, at in (("edits", 1.0), ("rewrite", 0.5)):
        with pytest.raises(ValueError, match="a probability between 0 and 1, for the actions edits only"):
            get_actions(name, marks=at)


@pytest.mark.parametrize("whole", [False, True])
def test_the_detector_that_ships_knows_plain_cases(whole: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also MiniLM alone, as tests without the tagger's base have it."""
    if whole:
        if cached("smollm2-135m") is None:
            pytest.skip("smollm2-135m is not fetched: agentmem chat --model local:smollm2-135m")
        monkeypatch.setattr(marks, "shipped_tagger", shipped_tagger)
    marker = shipped_marker(0.5)
    worth = ["I'm allergic to peanuts.", "From now on always answer in French, please.", "I work as a nurse in Leeds."]
    not_worth = ["What is the capital of France?", "Thanks, that helped a lot!", "Translate this sentence, please."]
    for text, marked in [*((text, True) for text in worth), *((text, False) for text in not_worth)]:
        [read] = marker.marked([seen(text)])
        assert bool(read) == marked, text


class Hardly(Liking):
    """Finds a little worth in everything."""

    def probabilities(self, pairs: Any, /) -> Any:
        return np.array([[0.8, 0.2, *[0.0] * 6] for _ in pairs], np.float32).reshape(-1, len(WORTHS))


@pytest.mark.parametrize(
    ("before", "said", "edits"),
    [("Fine. Where do you teach?", "Gondar", ['+ fact: Loves Gondar. | "Gondar"']), ("Fine.", "in Gondar", []),
     ("Fine. Where do you teach?", "That's a long story", [])],
)  # fmt: skip
def test_a_short_answer_needs_less(before: str, said: str, edits: list[str]) -> None:
    writer = Echo(f'+ fact: Loves Gondar. | "{said}"')
    [proposal] = policy_of(writer, Hardly()).propose([seen("hi", before, said)])
    assert [format_edits([edit]) for edit in proposal.edits] == edits


def test_an_unsure_text_of_a_short_answer_stands_after_its_question() -> None:
    writer = Doubtful('+ fact: Loves Gondar. | "Gondar"', 0.3)
    [proposal] = policy_of(writer, Hardly()).propose([seen("hi", "Fine. And the school?", "Gondar")])
    assert [edit.text for edit in proposal.edits] == ["And the school? Gondar."]
