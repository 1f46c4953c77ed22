"""The main job: read two real conversations, write what they say about the user, use it in a later answer.

Run it with `make demo`. Everything happens on this machine; the first run fetches the weights of the local model.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown
from rich.panel import Panel
from rich.syntax import Syntax

from agentmem import Agent
from agentmem.importers import read_sessions

HERE = Path(__file__).parent
ROOT = HERE.parent / "demo"
CONVERSATIONS = ("lisbon.json", "porto.json")
QUESTION = "What should I cook for dinner tonight?"

console = Console(width=96)


def main() -> None:
    shutil.rmtree(ROOT / "alice", ignore_errors=True)  # the demo's own user, so that every run starts from nothing
    with Agent("alice", root=ROOT) as agent:
        for file in CONVERSATIONS:
            learn(agent, HERE / file)
        show_memory(agent)
        compare_answers(agent)
    console.print(f"\nThe memory is yours to read and edit: [bold]{ROOT.name}/alice/memory.md[/bold]")


def learn(agent: Agent, file: Path) -> None:
    for session in read_sessions(file):
        console.rule(f"examples/{file.name}: {len(session.messages)} messages of {session.date}")
        started = time.perf_counter()
        observed = agent.observe(session)
        changes = f"{len(observed.ops)} change{'s' * (len(observed.ops) != 1)}"
        console.print(f"{changes} of the memory in {time.perf_counter() - started:.1f} s")
        for refusal in observed.refused:
            console.print(f"[dim]not kept: {refusal.reason}[/dim]")


def show_memory(agent: Agent) -> None:
    written_by = {change.policy for change in agent.history()}
    console.rule(f"What agentmem wrote (policy {', '.join(sorted(written_by)) or 'none: nothing was written'})")
    for file in (ROOT / "alice" / "memory.md", ROOT / "alice" / "history.md"):
        if file.exists():
            text = Syntax(file.read_text(encoding="utf-8"), "markdown", word_wrap=True, background_color="default")
            console.print(Panel(text, title=f"demo/alice/{file.name}"))


def compare_answers(agent: Agent) -> None:
    console.rule(QUESTION)
    question = [{"role": "user", "content": QUESTION}]
    with Agent("nobody", root=ROOT) as stranger:  # an agent that remembers nothing
        without = stranger.respond(question)
    reply = agent.respond(question)
    console.print(Panel(Markdown(without.text), title=f"{agent.config.model} without memory"))
    console.print(Panel(Markdown(reply.text), title=f"with memory ({reply.route}, {reply.tokens} tokens of memory)"))
    known = {memory.id: memory.text for memory in agent.memories()}
    console.print("The answer follows: " + ("; ".join(known[id] for id in reply.used) or "nothing visible"))


if __name__ == "__main__":
    main()
