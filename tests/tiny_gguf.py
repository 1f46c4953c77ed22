"""A real GGUF file of 60 kB with random weights, so that llama.cpp can be tested without a download."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant: "


def write_tiny_gguf(path: Path, width: int = 32, context: int = 2048) -> Path:
    """Write a one-layer Llama over single bytes; token n + 3 is byte n."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(context)
    writer.add_embedding_length(width)
    writer.add_block_count(1)
    writer.add_feed_forward_length(2 * width)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(width // 2)
    writer.add_vocab_size(259)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))])
    writer.add_token_scores([0.0] * 259)
    writer.add_token_types([2, 3, 3] + [6] * 256)  # unknown, control, control, bytes
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(TEMPLATE)
    rng = np.random.default_rng(0)
    for name, *shape in _tensors(width):
        values = np.ones(shape) if name.endswith("norm.weight") else rng.normal(0, 0.3, shape)
        writer.add_tensor(name, values.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _tensors(width: int) -> list[tuple]:
    block = "blk.0."
    return [
        ("token_embd.weight", 259, width), ("output_norm.weight", width), ("output.weight", 259, width),
        (block + "attn_norm.weight", width), (block + "ffn_norm.weight", width),
        *((block + f"attn_{part}.weight", width, width) for part in ("q", "k", "v", "output")),
        (block + "ffn_gate.weight", 2 * width, width), (block + "ffn_up.weight", 2 * width, width),
        (block + "ffn_down.weight", width, 2 * width),
    ]  # fmt: skip
