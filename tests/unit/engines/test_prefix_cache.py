"""Prompts that begin as others did: the same tokens are written, and less is computed for them."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

from models.errors import InferenceError
from serve_app.engines.generation import ChatGenerator, ChatRow
from serve_app.engines.prefix_cache import SHORTEST, PrefixCache

SIZE: dict[str, Any] = {
    "vocab_size": 90,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "eos_token_id": 1,
    "pad_token_id": 0,
    # So that where a token stands makes a difference.
    "initializer_range": 0.4,
}
TOKENIZER = SimpleNamespace(
    pad_token_id=0,
    eos_token_id=1,
    added_tokens_decoder={},
    response_template=None,
    decode=lambda tokens, **_: " ".join(map(str, tokens)),
)


@pytest.fixture(scope="module")
def model() -> Any:
    torch.manual_seed(3)
    return LlamaForCausalLM(LlamaConfig(**SIZE)).eval()


class Watched:
    """A generator, and how many tokens the model was given."""

    def __init__(self, model: Any, *, max_bytes: int = 2**26) -> None:
        self.prefixes = PrefixCache(max_bytes=max_bytes)
        self.generator = ChatGenerator(tokenizer=TOKENIZER, model=model, prefixes=self.prefixes)
        self._model = model

    def write(self, *prompts: Sequence[int], max_tokens: int = 12) -> tuple[list[Any], int]:
        given: list[int] = []
        hook = self._model.register_forward_pre_hook(
            lambda _, args, kwargs: given.append(kwargs["input_ids"].numel()), with_kwargs=True
        )
        try:
            return self.generator.generate(rows(*prompts, max_tokens=max_tokens)), given[0]
        finally:
            hook.remove()


def rows(*prompts: Sequence[int], max_tokens: int = 12) -> list[ChatRow]:
    return [ChatRow(tokens=tuple(each), max_tokens=max_tokens, temperature=0.0) for each in prompts]


def alone(model: Any, prompt: Sequence[int], *, max_tokens: int = 12) -> Any:
    generator = ChatGenerator(tokenizer=TOKENIZER, model=model)
    return generator.generate(rows(prompt, max_tokens=max_tokens))[0]


def prompt(chance: Random, length: int) -> list[int]:
    return [chance.randrange(2, 90) for _ in range(length)]


def test_a_conversation_goes_on_from_what_was_read_and_written(model: Any) -> None:
    chance, watched = Random(1), Watched(model)
    asked = prompt(chance, 120)
    (first,), given = watched.write(asked)
    assert given == 120
    followed = [*asked, *first.tokens, *prompt(chance, 7)]
    (second,), given = watched.write(followed)
    assert second == alone(model, followed)
    # The last token of the reply was written and never read.
    assert given in {7, 8}


def test_mixed_batches_write_what_each_row_writes_alone(model: Any) -> None:
    chance, watched = Random(2), Watched(model)
    beginnings = [prompt(chance, length) for length in (40, 90, 150)]
    for _ in range(12):
        batch: list[list[int]] = []
        for _ in range(chance.randint(1, 5)):
            start = chance.choice([*beginnings, []])
            start = start[: chance.randint(0, len(start))]
            batch.append([*start, *prompt(chance, chance.randint(1, 60))])
        lengths = [chance.randint(1, 14) for _ in batch]
        wanted = [
            ChatRow(tokens=tuple(each), max_tokens=length, temperature=0.0)
            for each, length in zip(batch, lengths, strict=True)
        ]
        written = watched.generator.generate(wanted)
        assert written == [
            alone(model, each, max_tokens=length)
            for each, length in zip(batch, lengths, strict=True)
        ]
        beginnings.append([*batch[0], *written[0].tokens])
    assert watched.prefixes.reused_tokens > 200


def test_the_same_prompt_again_computes_its_last_token_only(model: Any) -> None:
    watched, asked = Watched(model), prompt(Random(3), 80)
    first, _ = watched.write(asked)
    again, given = watched.write(asked)
    assert again == first
    assert given == 1


def test_a_beginning_that_is_hardly_one_is_not_reused(model: Any) -> None:
    watched, asked = Watched(model), prompt(Random(4), 60)
    watched.write(asked)
    other = [*asked[: SHORTEST - 1], 89, *asked[SHORTEST + 1 :]]
    assert asked[SHORTEST - 1] != 89
    _, given = watched.write(other)
    assert given == len(other)


def test_memory_is_bounded_and_the_unused_go_first(model: Any) -> None:
    chance = Random(5)
    token = 2 * 2 * 2 * 8 * 4  # keys and values, layers, heads, width, bytes
    watched = Watched(model, max_bytes=token * 300)
    prompts = [prompt(chance, 80) for _ in range(5)]
    for each in prompts:
        watched.write(prompts[0])
        watched.write(each)
        assert watched.prefixes.bytes <= token * 300
    assert watched.write(prompts[0])[1] == 1
    assert watched.write(prompts[4])[1] == 1
    assert watched.write(prompts[1])[1] == 80
    watched.write(prompt(chance, 400), max_tokens=2)
    assert watched.prefixes.bytes <= token * 300


def test_a_model_that_forgets_is_left_as_it_is() -> None:
    torch.manual_seed(4)
    sliding = MistralForCausalLM(MistralConfig(**SIZE, sliding_window=24)).eval()
    watched, asked = Watched(sliding), prompt(Random(6), 60)
    (first,), _ = watched.write(asked)
    followed = [*asked, *first.tokens, 5, 6]
    (second,), given = watched.write(followed)
    assert given == len(followed)
    assert second == alone(sliding, followed)


def test_a_model_that_counts_positions_otherwise_is_found_out(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(model)
    watched.generator.try_prefixes()
    assert watched.prefixes.bytes == 0
    forward = model.forward

    def as_if_nothing_were_padded(*args: Any, position_ids: Any, **kwargs: Any) -> Any:
        return forward(*args, **kwargs)

    monkeypatch.setattr(model, "forward", as_if_nothing_were_padded)
    with pytest.raises(InferenceError, match="change what the model writes"):
        watched.generator.try_prefixes()
    asked = prompt(Random(7), 50)
    watched.write(asked)
    assert watched.write(asked)[1] == 50
