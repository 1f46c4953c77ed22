"""Run the main job on real conversations of public benchmarks and count what came of it.

    python -m eval.real_input --data DIR [--policy offline] [--seed 0]

A smoke test on real text, not yet the benchmarks' own metrics. Prints a table; what a data set lacks is said.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

from agentmem import Agent, Memory, Session
from agentmem.errors import AgentMemError
from agentmem.memory import full_text
from agentmem.route import count_tokens
from agentmem.session import make_session

Row = dict[str, float | int | str]
"""What is counted: its name and its value."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with one folder a benchmark")
    parser.add_argument("--policy", default="offline")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--show", action="store_true", help="also print the memories written (not for sharing)")
    options = parser.parse_args()
    for name, run in RUNS.items():
        folder = options.data / name
        if not folder.is_dir():
            print(f"{name}: no folder {folder}, skipped")
            continue
        started = time.perf_counter()
        row = run(folder, Runner(options.policy, options.show), random.Random(options.seed))
        print(f"{name} ({time.perf_counter() - started:.0f} s)")
        for key, value in row.items():
            print(f"    {key:46} {value:.3f}" if isinstance(value, float) else f"    {key:46} {value}")


class Runner:
    """Agents in folders that are thrown away."""

    def __init__(self, policy: str, show: bool) -> None:
        self.policy, self.show = policy, show

    @contextmanager
    def agent(self) -> Iterator[Agent]:
        """An agent that remembers nothing yet."""
        with tempfile.TemporaryDirectory() as root, Agent("user", root=root, policy=self.policy, seed=0) as agent:
            yield agent
            if self.show:
                for memory in agent.memories(all=True):
                    print(f"  [{memory.status} {memory.kind} {memory.valid_at}] {full_text(memory)}")


def personamem_v2(folder: Path, runner: Runner, rng: random.Random) -> Row:
    """Every record: what was written, and whether what is to be forgotten leaves a trace."""
    records = _rows(folder / "sample_records.jsonl")
    written = forgets = traces = 0
    for record in records:
        with runner.agent() as agent:
            agent.observe(make_session(record["conversations"], id=str(record["id"])))
            written += len(agent.memories())
            if record.get("pref_type") == "ask_to_forget":
                forgets += 1
                traces += _says(agent.config.root, record["prev_pref"])
    return {
        "records": len(records),
        "memories written": written,
        "asked to forget": forgets,
        "with a trace left": traces,
    }


def _says(root: Path, what: str) -> bool:
    """Whether the longest word of `what` stands in any file under the root."""
    word = max(re.findall(r"\w+", what), key=len).lower().encode()
    return any(word in path.read_bytes().lower() for path in root.rglob("*") if path.is_file())


def personamem_v1(folder: Path, runner: Runner, rng: random.Random) -> Row:
    """One context, its sessions in order, the system prompt that describes the person left out."""
    documents = _rows(folder / "documents.jsonl")
    context = documents[0]["context_id"]
    sessions = [_personamem_session(row) for row in documents if row["context_id"] == context]
    with runner.agent() as agent:
        seconds = _observe_all(agent, sessions)
        return {
            "sessions": len(sessions),
            "turns": sum(len(session.messages) for session in sessions),
            **_memory_counts(agent),
            "seconds a session": seconds / len(sessions),
        }


def _personamem_session(row: dict[str, Any]) -> Session:
    parts = re.split(r"^\[(SYSTEM|USER|ASSISTANT)\] ", row["content"], flags=re.MULTILINE)[1:]
    turns = [
        {"role": role.lower(), "content": re.sub(r"^(User|Assistant): ", "", text.strip())}
        for role, text in zip(parts[::2], parts[1::2], strict=True)
        if role != "SYSTEM"
    ]
    return make_session(turns, id=row["id"])


def prefeval(folder: Path, runner: Runner, rng: random.Random) -> Row:
    """100 preferences in their two implicit forms, and the filler turns, in which there is nothing to find."""
    pairs = rng.sample(_rows(folder / "pairs.jsonl"), 100)
    row: Row = {}
    for form in ("choice", "persona"):
        wrote = total = 0
        for pair in pairs:
            with runner.agent() as agent:
                agent.observe(make_session(_dialogue(pair, form), id="s"))
                found = agent.memories()
                wrote, total = wrote + bool(found), total + len(found)
        row |= {f"{form}: dialogues with a memory": wrote, f"{form}: memories a dialogue": total / len(pairs)}
    fillers = _rows(folder / "filler_messages.jsonl")
    with runner.agent() as agent:
        agent.observe(make_session([{"role": f["role"], "content": f["content"]} for f in fillers], id="fillers"))
        turns = sum(filler["role"] == "user" for filler in fillers)
        row |= {"false memories per 100 filler turns": 100 * len(agent.memories()) / turns}
    return row


def _dialogue(pair: dict[str, Any], form: str) -> list[dict[str, str]]:
    if form == "persona":
        return [
            {"role": role, "content": turn[role]} for turn in pair["persona"]["turns"] for role in ("user", "assistant")
        ]
    said = pair["choice"]["conversation"]
    roles = ("user", "assistant", "user", "assistant")
    keys = ("query", "assistant_options", "user_selection", "assistant_acknowledgment")
    return [{"role": role, "content": said[key]} for role, key in zip(roles, keys, strict=True)]


def stale_chain(folder: Path, runner: Runner, rng: random.Random) -> Row:
    """Five histories of about 33 sessions in which one thing changes several times."""
    chains = rng.sample(_rows(folder / "chains.jsonl"), 5)
    current = closed = earlier = sessions = tokens = 0
    seconds = 0.0
    for chain in chains:
        with runner.agent() as agent:
            history = [
                make_session(
                    [{"role": t["role"], "content": t["content"]} for t in session["turns"]],
                    id=f"s{n}",
                    date=date.fromisoformat(session["date"]),
                )
                for n, session in enumerate(chain["sessions"])
            ]
            seconds += _observe_all(agent, history)
            sessions += len(history)
            tokens += sum(count_tokens(full_text(memory)) for memory in agent.memories())
            values = [link["value"] for link in chain["chain"]]
            current += _holds(agent.memories(), values[-1])
            earlier += len(values) - 1
            everything = [memory for memory in agent.memories(all=True) if memory.status == "closed"]
            closed += sum(_holds(everything, value) for value in values[:-1])
    return {
        "histories": len(chains),
        "sessions": sessions,
        "seconds a history": seconds / len(chains),
        "last value is active": current / len(chains),
        "earlier values closed": closed / earlier,
        "tokens of active memory": tokens // len(chains),
    }


def _holds(memories: tuple[Memory, ...] | list[Memory], value: str) -> bool:
    return any(value.lower() in full_text(memory).lower() for memory in memories)


def longmemeval(folder: Path, runner: Runner, rng: random.Random) -> Row:
    """The one instance: all its sessions, then its question."""
    instance = json.loads((folder / "one_instance.json").read_text(encoding="utf-8"))
    instance = instance[0] if isinstance(instance, list) else instance
    parts = zip(
        instance["haystack_session_ids"], instance["haystack_dates"], instance["haystack_sessions"], strict=True
    )
    sessions = [
        make_session(
            ({"role": turn["role"], "content": turn["content"]} for turn in turns),
            id=id,
            date=date.fromisoformat(day[:10].replace("/", "-")),
        )
        for id, day, turns in parts
    ]
    with runner.agent() as agent:
        seconds = _observe_all(agent, sessions)
        started = time.perf_counter()
        hits = agent.recall(instance["question"], k=10).hits
        found = list(dict.fromkeys(source.session for hit in hits for source in hit.sources))
        return {
            "sessions": len(sessions),
            "seconds to observe": seconds,
            **_memory_counts(agent),
            "seconds of the first recall (indexing)": time.perf_counter() - started,
            "gold session among those of 10 hits": int(bool(set(instance["answer_session_ids"]) & set(found))),
        }


def _observe_all(agent: Agent, sessions: list[Session]) -> float:
    started = time.perf_counter()
    for session in sessions:
        agent.observe(session)
    return time.perf_counter() - started


def _memory_counts(agent: Agent) -> Row:
    active = agent.memories()
    return {
        "active memories": len(active),
        "closed": len(agent.memories(all=True)) - len(active),
        "tokens of active memory": sum(count_tokens(full_text(memory)) for memory in active),
    }


def _rows(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        raise AgentMemError(f"{path}: no such file")
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError as error:
            raise AgentMemError(f"{path}:{number}: {error.msg}") from error
    return rows


RUNS: dict[str, Callable[[Path, Runner, random.Random], Row]] = {
    "personamem_v2": personamem_v2,
    "personamem_v1": personamem_v1,
    "prefeval": prefeval,
    "stale_chain": stale_chain,
    "longmemeval": longmemeval,
}

if __name__ == "__main__":
    main()
