"""A real Llama of a few kB with random weights and a chat tokenizer, in transformers' form, without a download."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CORPUS = """You keep the memory of one user. Answer with edits only, one a line. Memory: (empty) Conversation of 2026:
user: I live in Lyon. assistant: What a nice place. user: Always give me prices in euros, please. Edits:
+ preference: Likes quiet places. | "the quiet one please"
+ preference?: Likes tea. | "tea"
+ instruction: giving prices => Use euros. | "always"
+ fact: Lives in Lyon. | "I live in Lyon"
"""
PAD, END = "<|pad|>", "<|im_end|>"
SPECIAL = [PAD, "<|im_start|>", END]
"""Their places are their ids."""


def write_tiny_llama(folder: Path, *, hidden: int = 32, layers: int = 2, seed: int = 0) -> Path:
    """Write a model with a context of 4,096 tokens, which are bytes and some parts of words; returns `folder`."""
    tokenizer = _tokenizer()
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=352, hidden_size=hidden, intermediate_size=2 * hidden, num_hidden_layers=layers,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=4096, initializer_range=0.1,
        pad_token_id=SPECIAL.index(PAD), bos_token_id=None, eos_token_id=SPECIAL.index(END),
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE, as Llama 3, Qwen and SmolLM2 have it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=340, min_frequency=2, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([CORPUS], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=PAD, eos_token=END, chat_template=TEMPLATE)


def write_tiny_adapter(folder: Path, base: Path, *, name: str = "default", seed: int = 0, **settings: object) -> Path:
    """Write a LoRA adapter over a tiny Llama as PEFT does; returns the folder with it: `folder`, or its `name`."""
    from peft import LoraConfig, get_peft_model

    model = LlamaForCausalLM.from_pretrained(base, local_files_only=True)
    chosen: dict[str, object] = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "down_proj"], **settings}
    model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **chosen), adapter_name=name)  # type: ignore[arg-type]
    torch.manual_seed(seed)
    with torch.no_grad():
        for path, weight in model.named_parameters():
            if "lora_" in path:
                weight.normal_(0, 0.3)
    model.save_pretrained(str(folder))
    return folder if name == "default" else folder / name
