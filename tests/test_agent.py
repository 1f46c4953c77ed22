"""The agent end to end on real files, a real index and real graphs; only the models are fakes."""

from __future__ import annotations

import asyncio
import re
from datetime import date
from pathlib import Path

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph

from agentmem import Agent, Session
from agentmem.agent import MemoryState
from agentmem.config import Config
from agentmem.errors import MemoryNotFoundError, ModelError, SessionError
from agentmem.models.embed import Embedder
from agentmem.models.fake import FakeChatModel
from agentmem.policy import PromptedPolicy
from agentmem.session import make_session

TRIP = [
    {"role": "user", "content": "I live in Lyon. Whenever I book flights, aisle seat please."},
    {"role": "assistant", "content": "Noted: an aisle seat."},
    {"role": "user", "content": "And I'm vegetarian, so no steak house."},
]
TRIP_EDITS = """+ fact: Lives in Lyon. | "I live in Lyon"
+ instruction: booking flights => Choose an aisle seat. | "Whenever I book flights, aisle seat please"
+ preference: Is vegetarian. | "I'm vegetarian"
"""
DAY = date(2026, 3, 2)


def make_agent(root: Path, edits: list[str] | None = None, replies: list[str] | None = None, **more: object) -> Agent:
    policy = PromptedPolicy(FakeChatModel(edits or []))
    return Agent("alice", root=root, policy=policy, model=FakeChatModel(replies or []), embedder="hash", seed=1, **more)  # type: ignore[arg-type]


def test_observe_writes_memories_with_evidence(tmp_path: Path) -> None:
    with make_agent(tmp_path, [TRIP_EDITS]) as agent:
        observed = agent.observe(TRIP, session="trip", date=DAY)
        assert [op.op for op in observed.ops] == ["add", "add", "add"]
        assert not observed.refused
        home, seat, diet = sorted(agent.memories(), key=lambda memory: memory.kind)
        assert (home.text, seat.text, diet.text) == ("Lives in Lyon.", "Choose an aisle seat.", "Is vegetarian.")
        assert home.valid_at == DAY
        assert [(e.session, e.turn, e.quote) for e in diet.evidence] == [("trip", 2, "I'm vegetarian")]
    written = (tmp_path / "alice" / "memory.md").read_text()
    assert "- booking flights => Choose an aisle seat." in written
    assert '"I\'m vegetarian" (session trip, turn 2)' in written


def test_a_conversation_is_read_once_and_only_its_new_turns(tmp_path: Path) -> None:
    with make_agent(tmp_path, [TRIP_EDITS, '+ preference: Likes jazz. | "I like jazz"']) as agent:
        first = agent.observe(TRIP, session="trip", date=DAY)
        again = agent.observe(TRIP, session="trip", date=DAY)
        assert (again.ops, again.skipped, again.version) == ((), 3, first.version)
        grown = agent.observe([*TRIP, {"role": "user", "content": "I like jazz"}], session="trip", date=DAY)
        assert [op.op for op in grown.ops] == ["add"]
        assert grown.skipped == 3
        assert len(agent.memories()) == 4


def test_a_newer_statement_closes_the_older_and_at_answers_as_of_then(tmp_path: Path) -> None:
    with make_agent(tmp_path, [TRIP_EDITS, '+ fact: Lives in Porto. | "I moved to Porto last week"']) as agent:
        agent.observe(TRIP, session="trip", date=DAY)
        agent.observe(
            [{"role": "user", "content": "I moved to Porto last week"}], session="flat", date=date(2026, 9, 2)
        )
        facts = [memory.text for memory in agent.memories() if memory.kind == "fact"]
        assert facts == ["Lives in Porto."]
        then = [memory.text for memory in agent.memories(at=date(2026, 5, 1)) if memory.kind == "fact"]
        assert then == ["Lives in Lyon."]
        closed = [memory for memory in agent.memories(all=True) if memory.status == "closed"]
        assert [(memory.text, memory.invalid_at) for memory in closed] == [("Lives in Lyon.", date(2026, 9, 2))]
        hits = agent.recall("where does the user live", at=date(2026, 5, 1)).hits
        assert "Lives in Lyon." in [hit.text for hit in hits]
        assert "Lives in Porto." not in [hit.text for hit in hits]


def test_the_answer_sees_the_instructions_that_apply_and_names_what_it_used(tmp_path: Path) -> None:
    replies = ["Take the aisle seat on the 13:20 flight.", "Why don't skeletons fight? They lack the guts."]
    with make_agent(tmp_path, [TRIP_EDITS], replies, config=Config(history_budget=0)) as agent:
        agent.observe(TRIP, session="trip", date=DAY)
        by_text = {memory.text: memory.id for memory in agent.memories()}
        reply = agent.respond([{"role": "user", "content": "Please book flights to Lisbon for me"}])
        prompt = "\n".join(str(message.content) for message in agent._parts.model.calls[0])  # type: ignore[attr-defined]
        assert "When booking flights: Choose an aisle seat." in prompt
        assert by_text["Choose an aisle seat."] in reply.used
        assert by_text["Is vegetarian."] in reply.shown and by_text["Is vegetarian."] not in reply.used
        assert reply.tokens > 0
        other = agent.respond([{"role": "user", "content": "Tell me a joke about skeletons"}])
        assert by_text["Choose an aisle seat."] not in other.shown


def test_the_route_follows_the_size_of_what_is_stored(tmp_path: Path) -> None:
    said = "I live in Lyon, and I talk about the weather, trains and my garden for a while. " * 20
    edits = '+ fact: Lives in Lyon. | "I live in Lyon"'
    routes = {}
    for name, config in {
        "full_history": Config(history_budget=5000),
        "whole_memory": Config(history_budget=10, memory_budget=2000),
        "retrieve": Config(history_budget=10, memory_budget=1),
    }.items():
        with make_agent(tmp_path / name, [edits], ["Lyon."], config=config) as agent:
            agent.observe([{"role": "user", "content": said}], session="s", date=DAY)
            reply = agent.respond([{"role": "user", "content": "Where do I live, with a garden?"}])
            prompt = "\n".join(str(message.content) for message in agent._parts.model.calls[0])  # type: ignore[attr-defined]
            routes[name] = reply.route
            assert "Lives in Lyon." in prompt
            assert ("talk about the weather" in prompt) == (name != "whole_memory")
            assert agent.recall("Where do I live?").route == name
    assert routes == {name: name for name in routes}


def test_streaming_gives_the_same_answer_in_pieces(tmp_path: Path) -> None:
    with make_agent(tmp_path, [], ["One two three four."]) as agent:
        stream = agent.stream([{"role": "user", "content": "count"}])
        with pytest.raises(RuntimeError, match="read the stream"):
            _ = stream.reply
        pieces = list(stream)
        assert len(pieces) == 4
        assert "".join(pieces) == stream.reply.text == "One two three four."


def test_graph_ainvoke_with_a_checkpointer_remembers_over_two_turns(tmp_path: Path) -> None:
    edits = ['+ fact: Lives in Lyon. | "I live in Lyon"', "="]
    agent = make_agent(tmp_path, edits, ["Nice.", "In Lyon."], checkpointer=InMemorySaver())
    thread: RunnableConfig = {"configurable": {"thread_id": "t1"}}

    async def talk() -> dict:
        await agent.graph.ainvoke({"messages": [HumanMessage("I live in Lyon")]}, thread)
        return await agent.graph.ainvoke({"messages": [HumanMessage("Where do I live?")]}, thread)

    with agent:
        state = asyncio.run(talk())
        assert [message.text for message in state["messages"]] == [
            "I live in Lyon",
            "Nice.",
            "Where do I live?",
            "In Lyon.",
        ]
        assert state["session"] == "t1"
        assert state["skipped"] == 2  # the second turn reads only what the first had not
        assert [memory.text for memory in agent.memories()] == ["Lives in Lyon."]


def test_a_person_can_approve_before_anything_is_stored(tmp_path: Path) -> None:
    from agentmem.agent import OBSERVE, RESPOND
    from agentmem.agent.graph import build

    with make_agent(tmp_path, [TRIP_EDITS], ["Fine."]) as agent:
        graph = build(agent.nodes, [*RESPOND, *OBSERVE], "careful", InMemorySaver(), interrupt_before=["store"])
        thread: RunnableConfig = {"configurable": {"thread_id": "t"}}
        graph.invoke({"messages": [HumanMessage(m["content"]) for m in TRIP if m["role"] == "user"]}, thread)
        assert agent.memories() == ()
        ops = graph.get_state(thread).values["ops"]
        graph.update_state(thread, {"ops": [op for op in ops if op["memory"]["kind"] != "fact"]})
        graph.invoke(None, thread)
        assert {memory.kind for memory in agent.memories()} == {"instruction", "preference"}


def test_the_nodes_work_in_a_graph_of_ones_own(tmp_path: Path) -> None:
    def shout(state: MemoryState) -> MemoryState:
        known = {memory.id: memory.text for memory in agent.memories()}
        return {"reply": {"text": " ".join(known[id].upper() for id in state["instructions"])}}

    with make_agent(tmp_path, [TRIP_EDITS]) as agent:
        agent.observe(TRIP, session="trip", date=DAY)
        graph = StateGraph(MemoryState)
        graph.add_node("select", agent.nodes.select)
        graph.add_node("shout", shout)
        graph.add_edge(START, "select")
        graph.add_edge("select", "shout")
        graph.add_edge("shout", END)
        state = graph.compile().invoke({"messages": [HumanMessage("book flights please")]})
        assert state["reply"]["text"] == "CHOOSE AN AISLE SEAT."


def every_byte(root: Path) -> bytes:
    return b"\n".join(path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file())


@pytest.mark.parametrize("how", ["id", "words", "conversation"])
def test_forgetting_leaves_no_trace(tmp_path: Path, how: str) -> None:
    said = [
        {"role": "user", "content": "I have Crohn's disease, so mind what I eat. I live in Lyon."},
        {"role": "assistant", "content": "Sorry to hear about the Crohn's disease."},
    ]
    edits = [
        '+ fact: Has Crohn\'s disease. | "I have Crohn\'s disease"\n+ fact: Lives in Lyon. | "I live in Lyon"',
        'x f1 | "please forget my Crohn\'s"',
    ]
    with make_agent(tmp_path, edits) as agent:
        agent.observe(said, session="s", date=DAY)
        agent.recall("disease")
        assert b"Crohn" in every_byte(tmp_path)
        if how == "conversation":
            observed = agent.observe([{"role": "user", "content": "please forget my Crohn's"}], session="later")
            assert [op.op for op in observed.ops] == ["forget"]
        else:
            [fact] = [memory for memory in agent.memories() if "Crohn" in memory.text]
            agent.forget(fact.id if how == "id" else "Crohn's")
        for trace in (b"Crohn", b"crohn", b"disease"):
            assert trace not in every_byte(tmp_path)
        assert [memory.text for memory in agent.memories()] == ["Lives in Lyon."]
        assert "Lives in Lyon." in [hit.text for hit in agent.recall("where do I live").hits]
        assert agent.doctor() == []


def test_forgetting_what_is_not_there_says_so(tmp_path: Path) -> None:
    with make_agent(tmp_path, [TRIP_EDITS]) as agent:
        agent.observe(TRIP, session="trip", date=DAY)
        with pytest.raises(MemoryNotFoundError, match="skydiving"):
            agent.forget("skydiving")


def test_undo_takes_back_the_last_change(tmp_path: Path) -> None:
    with make_agent(tmp_path, [TRIP_EDITS]) as agent:
        agent.observe(TRIP, session="trip", date=DAY)
        agent.undo()
        assert agent.memories() == ()
        assert all(hit.kind == "turn" for hit in agent.recall("flights").hits)
        assert [change.author for change in agent.history()][0] == "policy"


def test_a_failing_model_is_an_error_and_the_turns_are_read_next_time(tmp_path: Path) -> None:
    with make_agent(tmp_path, []) as agent, pytest.raises(ModelError):
        agent.observe(TRIP, session="trip", date=DAY)
    with make_agent(tmp_path, [TRIP_EDITS]) as agent:
        assert len(agent.observe(TRIP, session="trip", date=DAY).ops) == 3


def test_bad_input_is_named(tmp_path: Path) -> None:
    with make_agent(tmp_path) as agent:
        with pytest.raises(SessionError, match="no messages"):
            agent.observe([])
        with pytest.raises(SessionError, match="message 1: role 'robot'"):
            agent.observe([{"role": "robot", "content": "hi"}])
        with pytest.raises(SessionError, match="no user message"):
            agent.respond([{"role": "assistant", "content": "hi"}])
        assert not any(tmp_path.rglob("*.md"))


def test_another_user_sees_nothing(tmp_path: Path) -> None:
    with make_agent(tmp_path, [TRIP_EDITS]) as agent:
        agent.observe(TRIP, session="trip", date=DAY)
    with Agent("bob", root=tmp_path, policy=PromptedPolicy(FakeChatModel([])), embedder="hash") as bob:
        assert bob.memories() == ()
        assert bob.recall("Lyon").hits == ()


def test_the_drawing_in_the_docs_is_the_graph(tmp_path: Path) -> None:
    drawn = make_agent(tmp_path).graph.get_graph().draw_mermaid()
    documented = Path("docs/graph.md").read_text()
    assert re.sub(r"\s+", "", drawn) in re.sub(r"\s+", "", documented), "run `make docs`"


def test_times_in_messages_date_the_memories(tmp_path: Path) -> None:
    said = [{"role": "user", "content": "I live in Lyon", "at": "2025-01-02T10:00:00Z"}]
    with make_agent(tmp_path, ['+ fact: Lives in Lyon. | "I live in Lyon"']) as agent:
        session = make_session(said)
        assert isinstance(session, Session)
        agent.observe(session)
        assert [memory.valid_at for memory in agent.memories()] == [date(2025, 1, 2)]


KNOWN = "I live in Lyon. I hate mushrooms. I have a dog."


@pytest.mark.parametrize(
    ("request_", "left"),
    [
        ("Do not forget that I live in Lyon.", 3),
        ("Never forget that I live in Lyon.", 3),
        ("Please don't delete what you know about Lyon.", 3),
        ("Please forget that I live in Lyon.", 2),
        ("I would like you to forget where I live.", 2),
        ("Please forget everything you know about me.", 0),
    ],
)
def test_the_default_agent_forgets_what_it_is_asked_to_and_nothing_else(
    tmp_path: Path, minilm: Embedder, request_: str, left: int
) -> None:
    with Agent("alice", root=tmp_path, embedder=minilm, seed=1) as agent:
        agent.observe([{"role": "user", "content": KNOWN}], session="a")
        assert len(agent.memories()) == 3
        agent.observe([{"role": "user", "content": request_}], session="b")
        texts = [memory.text for memory in agent.memories()]
        assert len(texts) == left
        assert ("Lives in Lyon." in texts) == (left == 3)


def test_a_request_to_forget_that_matches_no_memory_is_not_reported_as_done(tmp_path: Path, minilm: Embedder) -> None:
    with Agent("alice", root=tmp_path, embedder=minilm, seed=1) as agent:
        agent.observe([{"role": "user", "content": KNOWN}], session="a")
        observed = agent.observe([{"role": "user", "content": "Please forget my diagnosis."}], session="b")
        assert len(agent.memories()) == 3
        assert any("matches no memory" in refusal.reason for refusal in observed.refused)


def test_forgetting_by_words_takes_whole_words(tmp_path: Path, minilm: Embedder) -> None:
    with Agent("alice", root=tmp_path, embedder=minilm, seed=1) as agent:
        agent.observe([{"role": "user", "content": "I work in education. I hate bananas. I have a cat."}])
        agent.forget("cat")
        assert {memory.text for memory in agent.memories()} == {"Works in education.", "Hates bananas."}
        with pytest.raises(MemoryNotFoundError):
            agent.forget("i")
        assert agent.recall("bananas", k=0).hits == ()


def test_the_journal_names_the_model_that_really_wrote(tmp_path: Path) -> None:
    with make_agent(tmp_path, [TRIP_EDITS]) as agent:  # a policy with a model of its own
        agent.observe(TRIP, session="trip", date=DAY)
        assert [(change.policy, change.model) for change in agent.history()] == [("prompted", "")]
    model = FakeChatModel([TRIP_EDITS])
    with Agent("bob", root=tmp_path, policy="prompted", model=model, embedder="hash") as agent:
        agent.observe(TRIP, session="trip", date=DAY)
        assert [(change.policy, change.model) for change in agent.history()] == [("prompted", "FakeChatModel")]


def test_context_is_what_respond_shows_the_model(tmp_path: Path) -> None:
    with make_agent(tmp_path, [TRIP_EDITS], ["Seat 3C."]) as agent:
        agent.observe(TRIP, session="trip", date=DAY)
        asked = [{"role": "user", "content": "Book a flight to Rome."}]
        context = agent.context(asked)
        reply = agent.respond(asked)
        model = agent._parts.model
        assert isinstance(model, FakeChatModel)
        assert model.calls[0][0].content == context.text
        assert (context.shown, context.route, context.tokens) == (reply.shown, reply.route, reply.tokens)
        assert "2026-07-01" in agent.context(asked, today=date(2026, 7, 1)).text
        assert len(model.calls) == 1  # a context costs no call
    with make_agent(tmp_path / "new") as stranger:
        assert stranger.context(asked).text == ""


def test_recall_can_be_of_memories_or_of_turns_alone(tmp_path: Path) -> None:
    with make_agent(tmp_path, [TRIP_EDITS]) as agent:
        agent.observe(TRIP, session="trip", date=DAY)
        assert {hit.kind for hit in agent.recall("flights to Lyon", kinds=["memory"]).hits} == {"memory"}
        assert {hit.kind for hit in agent.recall("flights to Lyon", kinds=["turn"]).hits} == {"turn"}
        assert {hit.kind for hit in agent.recall("vegetarian flights aisle").hits} == {"memory", "turn"}
