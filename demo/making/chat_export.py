"""The trained chat model as a folder that transformers loads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from demo.making.chat_tokens import END, MARKUP, PAD, ROLES, SYSTEM, TEMPLATE, ChatEncoder
from demo.making.chat_training import chat_config
from demo.making.sizes import ChatSize

_LONGEST_REPLY = 160


def export_chat(size: ChatSize, *, tokenizer: Path, checkpoint: Path, target: Path) -> None:
    encoder = ChatEncoder.load(tokenizer)
    model: Any = LlamaForCausalLM(chat_config(size, encoder))
    state = torch.load(checkpoint / "state.pt", map_location="cpu", weights_only=True)
    model.load_state_dict(state["model"])
    fast = PreTrainedTokenizerFast(
        tokenizer_file=str(tokenizer),
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=[*ROLES.values(), SYSTEM, *MARKUP],
        clean_up_tokenization_spaces=False,
        model_max_length=size.context,
        padding_side="left",
    )
    fast.chat_template = TEMPLATE
    model.generation_config = GenerationConfig(
        max_new_tokens=_LONGEST_REPLY,
        do_sample=False,
        eos_token_id=encoder.end,
        pad_token_id=encoder.pad,
    )
    model.to(torch.bfloat16).save_pretrained(target)
    fast.save_pretrained(target)
