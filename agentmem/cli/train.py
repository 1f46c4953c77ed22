"""Commands that fine-tune a memory policy: check, sft, dpo, rft, export. They need the extra `train`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from agentmem.cli.common import Common, command, counted, emit, flag, say
from agentmem.errors import ConfigError

train_app = typer.Typer(
    name="train", no_args_is_help=True, help="Fine-tune a memory policy (needs pip install 'agentmem[train]')."
)

_Data = Annotated[
    Path, typer.Argument(metavar="DATA", help="JSONL of histories, edits, pairs; see docs/training-data.md.")
]
_Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the run.")]
_Base = Annotated[str, typer.Option("--base", metavar="NAME", help="Frozen model: a name, a folder or a GGUF file.")]
_Set = Annotated[
    list[str], typer.Option("--set", metavar="NAME=VALUE", help="A setting, such as rollouts.group=4; may be repeated.")
]
_Actions = Annotated[
    str,
    typer.Option("--actions", metavar="NAME", help="What the policy writes: edits, or rewrite (the memory)."),
]
_Start = Annotated[Path | None, typer.Option("--start", metavar="DIR", help="Adapter to begin from.")]
_Resume = Annotated[bool, flag("--resume", help="Go on with the run in --out.")]
_Recipe = Annotated[Path | None, typer.Option("--recipe", metavar="FILE", help="YAML with settings.")]
_Answerer = Annotated[
    str, typer.Option("--answerer", metavar="NAME", help="Who answers probes: base, embeddings, or a model.")
]


def check(
    common: Common,
    data: _Data,
    *,
    other: Annotated[
        Path | None, typer.Option("--against", metavar="DATA", help="Data that must share nothing with it.")
    ] = None,
    base: _Base = "smollm2-135m",
    answerer: _Answerer = "",
    limit: Annotated[int, typer.Option("--limit", metavar="N", help="Probes to ask.")] = 100,
) -> None:
    """Look for leaks in training data and, with --answerer, whether there is anything to learn from it.

    The exit code is 1 when something leaks, or the answerer gains too little from a memory.
    """
    _needs_extra()
    from agentmem.train.histories import read_examples
    from agentmem.train.leaks import leaks

    examples = read_examples(data)
    found = [str(leak) for leak in leaks(examples, read_examples(other) if other else None)]
    ground = _ground(examples.histories, base, answerer, limit) if answerer else None
    lines = ground.lines() if ground else []
    counts = [counted(len(examples.histories), "history", "histories"),
              counted(len(examples.edits), "example of edits", "examples of edits"),
              counted(len(examples.pairs), "pair")]  # fmt: skip
    if common.json:
        emit({"leaks": found, "ground": ground._asdict() if ground else None})
    else:
        for line in [f"{data}: {', '.join(counts)}", *found, *lines]:
            say(line)
    if found or (ground and not ground.enough):
        raise ConfigError(f"{data}: {counted(len(found), 'leak')}" if found else f"{data}: nothing to learn from")


def sft(  # noqa: PLR0913  each is an option
    common: Common,
    data: _Data,
    *,
    out: _Out = Path("runs/sft"),
    base: _Base = "",
    start: _Start = None,
    recipe: _Recipe = None,
    epochs: Annotated[
        float | None, typer.Option(help="Passes over the examples; 2 where the recipe says nothing.")
    ] = None,
    actions: _Actions = "",
    settings: _Set = [],  # noqa: B006  typer makes a new list each time
    resume: _Resume = False,
) -> None:
    """Cold start: teach a model to write the edits of examples, or the memory after them (TRL's SFTTrainer, LoRA)."""
    _needs_extra()
    from agentmem.train.histories import read_examples
    from agentmem.train.recipes import SFTRecipe, read_recipe
    from agentmem.train.sft import sft

    changes = _given({"base": base, "start": start, "epochs": epochs, "actions": actions}) | _changes(settings)
    folder = sft(read_examples(data).edits, out, read_recipe(SFTRecipe, recipe, changes), resume=resume)
    _told(common, folder, f"The adapter is in {folder}; try it with: agentmem chat --policy {folder}")


def dpo(
    common: Common,
    data: _Data,
    *,
    out: _Out = Path("runs/dpo"),
    base: _Base = "",
    start: _Start = None,
    recipe: _Recipe = None,
    settings: _Set = [],  # noqa: B006
    resume: _Resume = False,
) -> None:
    """Preferences: teach a model to prefer the better answer of each pair (TRL's DPOTrainer, LoRA)."""
    _needs_extra()
    from agentmem.train.dpo import dpo
    from agentmem.train.histories import read_examples
    from agentmem.train.recipes import DPORecipe, read_recipe

    changes = _given({"base": base, "start": start}) | _changes(settings)
    folder = dpo(read_examples(data).pairs, out, read_recipe(DPORecipe, recipe, changes), resume=resume)
    _told(common, folder, f"The adapter is in {folder}; try it with: agentmem chat --policy {folder}")


def rft(  # noqa: PLR0913  each is an option
    common: Common,
    data: _Data,
    *,
    out: _Out = Path("runs/rft"),
    base: _Base = "smollm2-135m",
    start: _Start = None,
    recipe: _Recipe = None,
    credit: Annotated[str | None, typer.Option("--credit", metavar="KIND", help="outcome or oprl.")] = None,
    reward: Annotated[
        list[str], typer.Option("--reward", metavar="NAME=WEIGHT", help="Part of the reward; may be repeated.")
    ] = [],  # noqa: B006
    answerer: _Answerer = "base",
    judge: Annotated[
        str, typer.Option("--judge", metavar="NAME", help="Chat model that --reward judge=WEIGHT asks.")
    ] = "",
    chunk_tokens: Annotated[int, typer.Option(metavar="N", help="Tokens that are read at once; in use 1,000.")] = 1000,
    actions: _Actions = "edits",
    memory_tokens: Annotated[
        int | None, typer.Option("--memory-tokens", metavar="N", help="That the memory should stay within.")
    ] = None,
    constrained: Annotated[bool, flag("--constrained", help="Hold rollouts to the grammar of the actions.")] = False,
    sampler: Annotated[
        str, typer.Option("--sampler", metavar="WHO", help="Who writes rollouts: own, vllm, or a vLLM server's URL.")
    ] = "own",
    dtype: Annotated[str, typer.Option("--dtype", metavar="TYPE", help="Of the base: float32, bfloat16.")] = "float32",
    attention: Annotated[
        str, typer.Option("--attention", metavar="KIND", help="sdpa, flash_attention_2, or eager.")
    ] = "",
    checkpointing: Annotated[
        bool, flag("--checkpointing", help="Compute activations twice: less memory, more time.")
    ] = False,
    settings: _Set = [],  # noqa: B006
    resume: _Resume = False,
) -> None:
    """Reinforcement fine-tuning on histories with probe questions; --credit oprl gives turns credit of their own."""
    _needs_extra()
    from agentmem.train.histories import read_examples
    from agentmem.train.recipes import RFTRecipe, read_recipe
    from agentmem.train.rft import REWARDS, Setup, rft

    changes = _changes(settings) | ({"credit": credit} if credit else {})
    setup = Setup(
        base=base, start=start, rewards=_weights(reward) or REWARDS, answerer=answerer, judge=judge,
        chunk_tokens=chunk_tokens, actions=actions, memory_tokens=memory_tokens, constrained=constrained,
        sampler=sampler, dtype=dtype, attention=attention or None, checkpointing=checkpointing,
    )  # fmt: skip
    folder = rft(read_examples(data), out, read_recipe(RFTRecipe, recipe, changes), setup, resume=resume)
    _told(common, folder, f"The run is in {folder}: open index.html, then: agentmem train export {folder} --out DIR")


def export(
    common: Common,
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run, or of a checkpoint.")],
    *,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to write.")],
    base: _Base = "",
    about: Annotated[
        list[Path] | None,
        typer.Option(
            "--about",
            metavar="FILE",
            help="JSON for the model card: data, numbers, licence, …; of several, of each field the last.",
        ),
    ] = None,
    dtype: Annotated[
        str | None, typer.Option("--dtype", metavar="TYPE", help="Of the weights: float16, bfloat16; as they are.")
    ] = None,
    part_mb: Annotated[
        float | None, typer.Option("--part-mb", metavar="N", help="Cut larger weights into files of N MB (PEFT can't).")
    ] = None,
) -> None:
    """Write the policy of a run as a PEFT adapter with a model card; --policy DIR then uses it."""
    _needs_extra()
    from agentmem.train.export import export
    from agentmem.train.runs import policy_of

    checkpoint, named = policy_of(run)
    if not (base or named):
        raise ConfigError(f"{run}: does not say its base; name it with --base")
    part_bytes = int(part_mb * 1e6) if part_mb else None
    folder = export(
        checkpoint, out, base=base or named, about=_about(about or []), dtype=dtype, part_bytes=part_bytes
    )  # fmt: skip
    _told(common, folder, f"The adapter is in {folder}; use it with: agentmem chat --policy {folder}")


for _name, _function in [("check", check), ("sft", sft), ("dpo", dpo), ("rft", rft), ("export", export)]:
    train_app.command(_name)(command(_function))


# -- what they share ---------------------------------------------------------------------------------------------------


def _needs_extra() -> None:
    from importlib.util import find_spec

    missing = [name for name in ("peft", "trl", "datasets", "yaml") if find_spec(name) is None]
    if missing:
        raise ConfigError(f"training needs {', '.join(missing)}: pip install 'agentmem[train]'")


def _ground(histories: Sequence[Any], base: str, answerer: str, limit: int) -> Any:
    from agentmem.models.embed import Remembering, get_embedder
    from agentmem.train.answerers import EmbeddingAnswerer
    from agentmem.train.check import ground
    from agentmem.train.rft import other_answerer

    if answerer == "embeddings":
        return ground(histories, EmbeddingAnswerer(Remembering(get_embedder())), limit)
    return ground(histories, other_answerer(base if answerer == "base" else answerer), limit)


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were typed; a recipe says the others."""
    return {name: value for name, value in options.items() if value not in (None, "")}


def _changes(settings: Sequence[str]) -> dict[str, Any]:
    """NAME=VALUE, the value as YAML reads it: a number, true, a word."""
    import yaml

    found = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals or not name:
            raise ConfigError(f"--set {setting}: give NAME=VALUE, such as rollouts.group=4")
        found[name] = yaml.safe_load(value)  # 1e-5 is a word to YAML; the recipe reads it as the number it is
    return found


def _weights(rewards: Sequence[str]) -> dict[str, float]:
    found = {}
    for reward in rewards:
        name, _, weight = reward.partition("=")
        try:
            found[name] = float(weight)
        except ValueError:
            raise ConfigError(f"--reward {reward}: give NAME=WEIGHT, such as value_recall=1") from None
    return found


def _about(paths: Sequence[Path]) -> dict[str, object]:
    """What the files say, of each field the last one."""
    said: dict[str, object] = {}
    for path in paths:
        try:
            found = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path}: {str(error).splitlines()[0]}") from error
        if not isinstance(found, dict):
            raise ConfigError(f"{path}: not an object with what the card says")
        said |= found
    return said


def _told(common: Common, folder: Path, line: str) -> None:
    if common.json:
        emit({"folder": str(folder)})
    else:
        say(line)
