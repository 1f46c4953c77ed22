"""Fit the judges that ship, and the tagger: `python -m agentmem.train.judges NAME`.

Needs the extra `train`. Each takes 5 to 30 minutes on one core (some passes over up to 20,000 short pairs), prints the
loss as it goes, and then how it does on families that were held out; the tagger takes some hours on two cores, or
ten minutes on a GPU. The file goes to agentmem/models/adapters, or to
--out.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple, TypeVar

import numpy as np
import typer
from numpy.typing import NDArray

from agentmem.models.embed import Remembering, get_embedder
from agentmem.models.judges import ADAPTERS, APPLICABILITY, CHANGES, ELICITATION, FORGETTING, RELATIONS, shipped
from agentmem.models.pairs import Adapter, PairModel, SlotEncoder, load_adapter, save_adapter
from agentmem.models.tags import TagModel
from agentmem.policy.base import WORTHS
from agentmem.policy.lines import LABELS
from agentmem.train.histories import EditExample, read_examples
from agentmem.train.judges import applicability, changes, lines, marks, relations, requests, slots, tags
from agentmem.train.judges.pairs import Example, Recipe, Watch, fit
from agentmem.train.judges.records import digest

E = TypeVar("E", Example, tags.Example)

LEVELS = (0.3, 0.5, 0.7, 0.8, 0.9)


class Task(NamedTuple):
    """What one judge is fitted to."""

    labels: Sequence[str]
    train: Sequence[Example]
    held_out: Mapping[str, Sequence[Example]]
    epochs: int


def task(name: str, seed: int, further: Sequence[EditExample] = ()) -> Task:
    """The examples of the judge `name`; of `marks` with these dialogues too. Raises KeyError for another name."""
    rng = random.Random(seed)
    if name == "lines":
        return Task(LABELS, *lines.split(rng), epochs=3)
    if name == "marks":
        return Task(WORTHS, *marks.split(rng, Remembering(get_embedder("minilm")), further), epochs=2)
    if name == "changes":
        return Task(CHANGES, *changes.split(rng, Remembering(get_embedder("minilm"))), epochs=1)
    if name == "relations":
        return Task(RELATIONS, *relations.split(rng), epochs=2)
    if name == "applicability":
        return Task(APPLICABILITY, *applicability.split(rng), epochs=2)
    if name == "elicitation":
        return Task(ELICITATION, *requests.elicitation(rng), epochs=3)
    if name == "forgetting":
        return Task(FORGETTING, *requests.forgetting(rng), epochs=4)
    raise KeyError(name)


def report(name: str, labels: Sequence[str], gold_N: NDArray[np.int_], chance_NC: NDArray[np.float32]) -> str:
    """Accuracy, the confusion of gold (rows) and most likely (columns), and each label's recall at some thresholds."""
    likeliest_N = chance_NC.argmax(1)
    confusion = np.zeros((len(labels), len(labels)), int)
    np.add.at(confusion, (gold_N, likeliest_N), 1)
    lines = [f"{name}: {len(gold_N)} pairs, accuracy {(likeliest_N == gold_N).mean():.3f}"]
    lines += [f"  {label:<12} {row}" for label, row in zip(labels, confusion.tolist(), strict=True)]
    for place, label in enumerate(labels[1:], start=1):
        found = chance_NC[:, place]
        lines.append(f"  {label} at " + ", ".join(
            f"{level}: {(found[gold_N == place] >= level).mean():.2f} ({(found[gold_N != place] >= level).mean():.3f})"
            for level in LEVELS))  # fmt: skip
    return "\n".join(lines)


def main(  # noqa: PLR0913  each is an option
    name: Annotated[
        str,
        typer.Argument(help="lines, marks, tags, changes, relations, slots, applicability, elicitation, forgetting"),
    ],
    out: Annotated[Path | None, typer.Option(help="file to write; by default the one that ships")] = None,
    epochs: Annotated[int | None, typer.Option(help="passes over the examples")] = None,
    threads: Annotated[int, typer.Option(help="of torch; one of two cores leaves the machine usable")] = 1,
    seed: int = 0,
    base: Annotated[str, typer.Option(help="tags: the language model that is changed")] = "smollm2-135m",
    look: Annotated[bool, typer.Option("--look", help="say how the one that lies there does, without fitting")] = False,
    further: Annotated[
        list[Path] | None,
        typer.Option(
            help="marks, tags: fit the one that ships further, on these dialogues (docs/training-data.md; shipped ones "
            "or yours) and --beside times as many of the other examples"
        ),
    ] = None,
    beside: Annotated[float, typer.Option(help="how many of the others, by each that is new")] = 1.0,
    rate: Annotated[float | None, typer.Option(help="peak learning rate")] = None,
) -> None:
    """Fit one judge and say how it does on what was held out."""
    import torch

    torch.set_num_threads(threads)
    path = out or ADAPTERS / f"{name}.safetensors"
    if further and name not in ("marks", "tags"):
        raise typer.BadParameter(f"{name} is not fitted to dialogues", param_hint="--further")
    start = load_adapter(ADAPTERS / f"{name}.safetensors") if further else None
    if name == "changes":
        start = changes.begun(load_adapter(ADAPTERS / "relations.safetensors"))
    new = _Further([one for file in further or () for one in read_examples(file).edits], beside, seed)
    if name == "slots":
        _slots(path, seed)
        return
    if name == "tags":
        own = tags.RECIPE._replace(epochs=epochs or tags.RECIPE.epochs, seed=seed, rate=rate or tags.RECIPE.rate)
        _tags(path, base, own, look, new, start)
        return
    try:
        own = task(name, seed, new.dialogues)
    except KeyError:
        raise typer.BadParameter(f"{name!r} is none of them", param_hint="NAME") from None
    recipe = Recipe(epochs=epochs or own.epochs, seed=seed, rate=rate or Recipe().rate)
    if not look:
        train = new.chosen(own.train)
        print(f"{name}: {len(train)} examples of {len({one.group for one in train})} families", flush=True)
        save_adapter(fit(train, own.labels, recipe, about=_about(seed, start), watch=_printing(20), start=start), path)
    judge = PairModel(path)
    for part, examples in own.held_out.items():
        gold_N = np.array([example.label for example in examples])
        print(report(part, own.labels, gold_N, judge.probabilities([one.pair for one in examples])), flush=True)
    if name == "marks":
        print(marks.told_apart(judge, Remembering(get_embedder("minilm"))), flush=True)


class _Further(NamedTuple):
    """What something is fitted further to."""

    dialogues: Sequence[EditExample]
    """New ones; none: it is fitted anew, to all examples."""
    beside: float
    seed: int

    def chosen(self, found: Sequence[E]) -> list[E]:
        """The examples of their families, and `beside` times as many of the others, drawn by `seed`.

        Raises typer.BadParameter without any of their families.
        """
        if not self.dialogues:
            return list(found)
        families = {one.user for one in self.dialogues}
        new = [one for one in found if one.group in families]
        if not new:
            said = "all its families are held out or of the test part; give dialogues of others"
            raise typer.BadParameter(said, param_hint="--further")
        others = [one for one in found if one.group not in families]
        return new + random.Random(self.seed).sample(others, min(round(self.beside * len(new)), len(others)))


def _tags(path: Path, base: str, recipe: Recipe, look: bool, new: _Further, start: Adapter | None) -> None:
    """Fit the tagger, and say how well it and the judge of marks tell held-out dialogues apart."""
    embedder = Remembering(get_embedder("minilm"))
    if not look:
        found = new.chosen(tags.examples(random.Random(recipe.seed), embedder, new.dialogues))
        print(f"tags: {len(found)} conversations", flush=True)
        about = _about(recipe.seed, start)
        save_adapter(tags.fit(found, recipe, base=base, about=about, watch=_printing(20), start=start), path)
    print(marks.told_apart(shipped("marks"), embedder, TagModel(path)), flush=True)


def _slots(path: Path, seed: int) -> None:
    """Fit the encoder of slots, and say how well it tells held-out pairs apart."""
    save_adapter(slots.fit_slots(slots.Recipe(seed=seed), _about(seed), _printing(20)), path)
    encoder = SlotEncoder(path)
    cosines = {}
    for part, pairs in slots.held_out_pairs(random.Random(seed)).items():
        first, second = zip(*pairs, strict=True)
        cosines[part] = (encoder.encode(first) * encoder.encode(second)).sum(1)
    for part in ("near", "other"):
        for share in (0.9, 0.95, 0.99):
            bar = float(np.quantile(cosines[part], share))
            print(f"same above {bar:.2f}, which {share:.0%} of {part} are below: {(cosines['same'] > bar).mean():.2f}")


def _about(seed: int, start: Adapter | None = None) -> dict[str, str]:
    own = {"records": digest(), "seed": str(seed)}
    return own if start is None else {**own, "further": start.about.get("records", "?")}


def _printing(every: int) -> Watch:
    start = time.monotonic()

    def watch(step: int, steps: int, loss: float) -> None:
        if step % every == 0 or step == steps:
            print(f"step {step} of {steps}, loss {loss:.3f}, {time.monotonic() - start:.0f} s", flush=True)

    return watch


if __name__ == "__main__":
    typer.run(main)
