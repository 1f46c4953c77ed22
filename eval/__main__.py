"""Evaluations: python -m eval run | list | compare | report | table | suite | convert."""

from __future__ import annotations

import sys

from agentmem.errors import AgentMemError
from eval.cli import app


def main() -> None:
    """Run the command line; an expected error is one line, and exit code 1."""
    try:
        app(prog_name="python -m eval")
    except AgentMemError as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
