"""Write the generated parts of the documents: docs/graph.md, and the README's capture. Run it with `make docs`."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

from agentmem import Agent
from agentmem.agent import OBSERVE, RESPOND, MemoryNodes

DOCS = Path(__file__).parent

HEAD = """# The graph

Generated from the code by `make docs`; a test compares. `agent.graph` is one chat turn: the reply first, since a person
waits for it, then learning from the turn. `agent.respond_graph` and `agent.observe_graph` are its two halves, and
`agent.nodes` has the steps for a graph of your own.

```mermaid
"""


def graph_page() -> str:
    """The page docs/graph.md: the drawing, and what each node does, in the nodes' own words."""
    drawing = Agent("anybody").graph.get_graph().draw_mermaid().strip()
    rows = [f"| `{step}` | {inspect.getdoc(getattr(MemoryNodes, step))} |" for step in [*RESPOND, *OBSERVE]]
    return HEAD + drawing + "\n```\n\n| node | what it does |\n| --- | --- |\n" + "\n".join(rows) + "\n"


def readme_with_capture() -> str:
    """The README with what the main job prints on this machine today (it needs the default model)."""
    example = DOCS.parent / "examples" / "main_job.py"
    printed = subprocess.run([sys.executable, str(example)], check=True, capture_output=True, text=True).stdout
    capture = "<!-- capture -->\n```text\n" + printed.strip() + "\n```\n<!-- end of capture -->"
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    return re.sub(r"<!-- capture -->.*?<!-- end of capture -->", lambda _: capture, readme, flags=re.DOTALL)


if __name__ == "__main__":
    (DOCS / "graph.md").write_text(graph_page(), encoding="utf-8")
    (DOCS.parent / "README.md").write_text(readme_with_capture(), encoding="utf-8")
    print("wrote docs/graph.md and the capture in README.md")
