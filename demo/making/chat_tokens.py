"""The demo chat model's tokens: byte-level BPE with single digits, and the template that joins them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from demo.making.dialogues import Dialogues, Message

END, PAD = "<|end|>", "<|pad|>"
ROLES = {"user": "<|user|>", "assistant": "<|assistant|>", "tool": "<|tool|>"}
SYSTEM = "<|system|>"
MARKUP = ("<tool_call>", "</tool_call>")
SPECIAL = (END, *ROLES.values(), SYSTEM, *MARKUP, PAD)
IGNORED = -100
"""The label of a token that the model doesn't write."""

# System messages and lists of tools are left out: so small a model knows its own tools by heart.
TEMPLATE = (Path(__file__).parent / "chat_template.jinja").read_text(encoding="utf-8")


def train_tokenizer(random: Random, *, size: int, conversations: int) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    # Digits one by one: a price is copied digit by digit, never as a number that was seen in training.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(random, conversations), trainer)
    return tokenizer


class ChatEncoder:
    """Conversations to tokens and labels: the loss is on what the assistant writes."""

    def __init__(self, tokenizer: Any) -> None:
        """`tokenizer` is a `tokenizers.Tokenizer`."""
        self._tokenizer = tokenizer
        self._roles: dict[str, int] = {
            role: tokenizer.token_to_id(token) for role, token in ROLES.items()
        }
        self.end: int = tokenizer.token_to_id(END)
        self.pad: int = tokenizer.token_to_id(PAD)

    @classmethod
    def load(cls, file: Path) -> ChatEncoder:
        return cls(Tokenizer.from_file(str(file)))

    @property
    def size(self) -> int:
        return self._tokenizer.get_vocab_size()

    def encode(self, messages: Sequence[Message]) -> tuple[list[int], list[int]]:
        """Tokens and labels, of one length."""
        tokens: list[int] = []
        labels: list[int] = []
        for message in messages:
            body = [*self._tokenizer.encode(message.written()).ids, self.end]
            tokens += [self._roles[message.role], *body]
            learnt = body if message.role == "assistant" else [IGNORED] * len(body)
            labels += [IGNORED, *learnt]
        return tokens, labels

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """What the model is given to go on from."""
        return [*self.encode(messages)[0], self._roles["assistant"]]

    def decode(self, tokens: Sequence[int]) -> str:
        return self._tokenizer.decode(list(tokens), skip_special_tokens=False)


def _texts(random: Random, conversations: int) -> Iterator[str]:
    dialogues = Dialogues(random)
    for _ in range(conversations):
        for message in dialogues.conversation():
            yield message.written().removeprefix(MARKUP[0]).removesuffix(MARKUP[1])
