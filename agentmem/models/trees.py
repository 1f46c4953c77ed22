"""Prompts read at once of which many begin alike: what they share is read once, and nothing is padded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from agentmem.models.likelihood import keeps_all

if TYPE_CHECKING:
    from torch import Tensor

TREE_TOKENS = 512
"""Of one pass: each token of it is compared with all others, also with those that it may not see."""


class Tree:
    """Prompts of which every token stands once below what comes before it (a trie)."""

    def __init__(self) -> None:
        self.nodes: dict[tuple[int, int], int] = {}
        """Places by the place above (-1 for none) and token; a place comes after the one above it."""
        self.paths: list[list[int]] = []
        """The places of each prompt."""

    def add(self, prompt: Sequence[int]) -> None:
        path: list[int] = []
        for token in prompt:
            key = (path[-1] if path else -1, token)
            path.append(self.nodes.setdefault(key, len(self.nodes)))
        self.paths.append(path)


def in_trees(model: Any) -> bool:
    """Whether `read_trees` is right for the model (it attends to all that came before), and pays.

    A GPU reads the padding of one large batch faster than several small ones.
    """
    from transformers import DynamicCache

    if model.device.type != "cpu" or model.config._attn_implementation not in ("sdpa", "eager"):
        return False
    return keeps_all(DynamicCache(config=model.config))


def read_trees(model: Any, prompts: Sequence[Sequence[int]], length: int) -> tuple[Any, Tensor]:
    """Keys and values of the prompts, as if they were padded on the left to `length`, and scores (B, V) after them."""
    import torch

    order = sorted(range(len(prompts)), key=lambda place: list(prompts[place]))  # neighbours share most
    back_B = torch.tensor(order).argsort()
    reads = [_read(model, tree, length) for tree in grown([prompts[place] for place in order])]
    cache = reads[0][0]
    for place, layer in enumerate(cache.layers):
        own = [read.layers[place] for read, _ in reads]
        layer.keys = torch.cat([one.keys for one in own])[back_B]  # (B, H, L, D)
        layer.values = torch.cat([one.values for one in own])[back_B]
    return cache, torch.cat([scores for _, scores in reads])[back_B]


def grown(prompts: Sequence[Sequence[int]]) -> list[Tree]:
    """The prompts in trees of at most TREE_TOKENS, but for single ones that are longer."""
    trees: list[Tree] = []
    for prompt in prompts:
        if not trees or len(trees[-1].nodes) + len(prompt) > TREE_TOKENS:
            trees.append(Tree())
        trees[-1].add(prompt)
    return trees


def _read(model: Any, tree: Tree, length: int) -> tuple[Any, Tensor]:
    """As `read_trees`, of one tree."""
    import torch

    sees_UU = np.eye(len(tree.nodes), dtype=bool)
    depth_U = np.zeros(len(tree.nodes), np.int64)
    for (above, _), place in tree.nodes.items():
        if above >= 0:
            sees_UU[place] |= sees_UU[above]
            depth_U[place] = depth_U[above] + 1
    hidden_UU = torch.zeros(sees_UU.shape, dtype=model.dtype).masked_fill(torch.from_numpy(~sees_UU), -torch.inf)
    read = model(
        input_ids=torch.tensor([[token for _, token in tree.nodes]]), attention_mask=hidden_UU[None, None],
        position_ids=torch.from_numpy(depth_U)[None], use_cache=True,
        logits_to_keep=torch.tensor([path[-1] for path in tree.paths]),
    )  # fmt: skip
    rows_BL = torch.tensor([[0] * (length - len(path)) + path for path in tree.paths])
    for layer in read.past_key_values.layers:
        layer.keys = layer.keys[0][:, rows_BL].transpose(0, 1)  # (1, H, U, D) -> (B, H, L, D)
        layer.values = layer.values[0][:, rows_BL].transpose(0, 1)
    return read.past_key_values, read.logits[0].float()
