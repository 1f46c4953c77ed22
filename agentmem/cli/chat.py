"""A conversation in the terminal, with the memory at work."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import TYPE_CHECKING

from agentmem.cli.change import confirm_and_forget, print_forgotten
from agentmem.cli.common import Common, complain, counted, emit, interactive, open_agent, out, plain, say
from agentmem.errors import AgentMemError

if TYPE_CHECKING:
    from agentmem.agent import Agent, Observed, Reply
    from agentmem.session import Message

_COMMANDS = "/show  /forget ID or words  /undo  /quit"


def chat(common: Common) -> None:
    """Talk to a model that remembers you and learns from what you say.

    Each answer is followed by the memories it used and by what was learned. In the chat: /show, /forget, /undo, /quit.
    With --json every line of standard input is a message, and every answer is one line of JSON.
    """
    with open_agent(common) as agent:
        if interactive() and not common.json:
            config = common.config
            say((f"{config.model} remembers {config.user} in {config.root / config.user}", "bold"))
            say((f"{_COMMANDS}, or Ctrl-D to leave", "dim"))
        try:
            _Chat(common, agent).run()
        except KeyboardInterrupt:
            if interactive():
                print()
            raise KeyboardInterrupt("Stopped; all up to the last answer is kept.") from None


class _Chat:
    """One conversation as it goes on."""

    def __init__(self, common: Common, agent: Agent) -> None:
        self.common = common
        self.agent = agent
        self._begin()

    def _begin(self) -> None:
        self.session = f"chat-{datetime.now():%Y-%m-%d-%H%M%S-%f}"
        self.messages: list[Message] = []

    def run(self) -> None:
        """Read lines until /quit or the end of the input."""
        while (line := self._read()) is not None and line != "/quit":
            try:
                if line.startswith("/"):
                    self._command(*line[1:].partition(" ")[::2])
                elif line:
                    self._turn(line)
            except AgentMemError as error:
                if not interactive():
                    raise
                complain(str(error))

    def _read(self) -> str | None:
        try:
            if interactive() and not self.common.json:
                import readline  # noqa: F401  line editing in input()

                return input("\n> ").strip()
            line = sys.stdin.readline()
            return line.strip() if line else None
        except EOFError:
            print()
            return None

    def _turn(self, said: str) -> None:
        from agentmem.session import Message

        asked = [*self.messages, Message(role="user", content=said, at=datetime.now().astimezone())]
        reply = self._answer(asked)
        answered = Message(role="assistant", content=reply.text, at=datetime.now().astimezone())
        self.messages = [*asked, answered]
        observed = self.agent.observe(self.messages, session=self.session)
        self._report(reply, observed)
        if any(op.op == "forget" for op in observed.ops):
            self._begin()  # what was forgotten is in these messages too

    def _answer(self, messages: list[Message]) -> Reply:
        stream = self.agent.stream(messages, session=self.session)
        for piece in stream:
            if not self.common.json:
                sys.stdout.write(plain(piece))
                sys.stdout.flush()
        if not self.common.json:
            print()
        return stream.reply

    def _report(self, reply: Reply, observed: Observed) -> None:
        from agentmem.cli.view import op_json, print_op

        memories = {memory.id: memory for memory in self.agent.memories(all=True)}
        if self.common.json:
            emit({"text": reply.text, "asked": reply.asked, "used": list(reply.used), "shown": list(reply.shown),
                  "route": reply.model_dump(mode="json")["route"], "session": self.session,
                  "ops": [op_json(op, memories) for op in observed.ops]})  # fmt: skip
            return
        for id in reply.used:
            if id in memories:
                say((f"  used: {memories[id].text}  ^{id}", "dim"))
        for op in observed.ops:
            print_op(op, memories, out(), dim=True)

    def _command(self, name: str, rest: str) -> None:
        from agentmem.cli.view import print_memories, print_op

        if name == "show":
            memories = self.agent.memories()
            print_memories(memories, out())
            say((counted(len(memories), "memory", "memories"), "dim"))
        elif name == "undo":
            change = self.agent.undo()
            known = {memory.id: memory for memory in self.agent.memories(all=True)}
            for op in change.ops:
                print_op(op, known, out(), dim=True)
        elif name == "forget":
            folder = self.common.config.root / self.common.config.user
            forgotten = confirm_and_forget(self.agent, rest.strip(), yes=False, root=folder)
            if forgotten:
                print_forgotten(forgotten)
                self._begin()  # the words may be in these messages too
        else:
            complain(f"/{name} is no command; there are {_COMMANDS}")
