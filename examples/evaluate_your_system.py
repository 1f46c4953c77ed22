"""Evaluate a memory of your own: run it with `python examples/evaluate_your_system.py`.

A system opens the memory of a user, which observes conversations and is searched. What it cannot do besides (list what
it remembers, say what goes into a prompt) leaves the metrics that ask for it unscored, with the reason.
"""

from pathlib import Path

from eval.benchmarks import get_benchmark
from eval.harness import evaluate
from eval.settings import Settings
from eval.systems import SystemSpec, UserMemory, turn_hit


class LastWords(UserMemory):
    """Finds the last things the user said, whatever is asked."""

    name = "last-words"

    def __init__(self) -> None:
        self.said = []

    def observe(self, session):  # noqa: ANN001, ANN201
        self.said += [(session, turn) for turn, message in enumerate(session.messages) if message.role == "user"]

    def search(self, query, k, **asked):  # noqa: ANN001, ANN003, ANN201
        return [turn_hit(session, turn, score=1.0) for session, turn in reversed(self.said)][:k]


class YourSystem:
    """Opens an empty memory for each user of a benchmark; `folder` is yours to write into."""

    name, config = "last-words", {}

    def open(self, folder):  # noqa: ANN001, ANN201
        return LastWords()


if __name__ == "__main__":
    spec = SystemSpec(label="examples.evaluate_your_system:YourSystem")
    report = evaluate(get_benchmark("tiny"), spec, Settings(), Path("runs/eval/tiny--yours.json"), fresh=True)
    print(report.model_dump_json(indent=1))
