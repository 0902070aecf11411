"""How large everything is made: in full, and small to prove that the way works."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class ChatSize:
    """A Llama. In bfloat16 it must stay below 8 MB."""

    vocabulary: int = 1_792
    width: int = 224
    layers: int = 6
    heads: int = 7
    feed_forward: int = 560
    context: int = 2_048
    tokenizer_conversations: int = 40_000
    sequence: int = 448
    batch: int = 16
    """Sequences a step; a GPU takes `gpu_batch`."""
    gpu_batch: int = 192
    learning_rate: float = 2.5e-3
    matrix_rate: float = 1.2e-2
    """The learning rate of matrices between layers."""
    compiled: bool = True
    """Whether torch compiles the network, which takes a C++ compiler and half a minute."""
    minutes: float = 100.0
    evaluated: int = 600
    """Steps (tool calls and replies) of each kind that are measured."""


@dataclass(frozen=True, slots=True)
class SpeechSize:
    """A Whisper. As CTranslate2's int8 it must stay below 8 MB."""

    merges: int = 620
    tokenizer_sentences: int = 20_000
    width: int = 176
    encoder_layers: int = 5
    decoder_layers: int = 3
    heads: int = 4
    pool: int = 24_000
    """Utterances in memory, renewed while they are trained on."""
    gpu_pool: int = 120_000
    first: int = 2_000
    """So many before training begins."""
    longest_s: float = 28.0
    frames: int = 6_400
    """Mel frames a step; a GPU takes `gpu_frames`."""
    gpu_frames: int = 80_000
    learning_rate: float = 1.5e-3
    matrix_rate: float = 6e-3
    """The learning rate of matrices between layers: half of the dialogues', not tried yet."""
    minutes: float = 150.0
    evaluated: int = 150
    """Clips of each kind that are measured."""
    silent: int = 100
    """Clips in which nobody speaks."""


@dataclass(frozen=True, slots=True)
class Sizes:
    chat: ChatSize = ChatSize()
    speech: SpeechSize = SpeechSize()

    def lasting(self, minutes: float | None) -> Sizes:
        """With another time for each training."""
        if minutes is None:
            return self
        return Sizes(
            chat=replace(self.chat, minutes=minutes), speech=replace(self.speech, minutes=minutes)
        )


FULL = Sizes()
SMALL = Sizes(
    chat=ChatSize(
        vocabulary=600,
        width=64,
        layers=2,
        heads=2,
        feed_forward=128,
        context=1_024,
        tokenizer_conversations=500,
        sequence=192,
        batch=8,
        gpu_batch=8,
        compiled=False,
        minutes=0.2,
        evaluated=2,
    ),
    speech=SpeechSize(
        merges=80,
        tokenizer_sentences=500,
        width=48,
        encoder_layers=2,
        decoder_layers=1,
        heads=2,
        pool=64,
        gpu_pool=64,
        first=32,
        frames=1_600,
        gpu_frames=1_600,
        minutes=0.2,
        evaluated=2,
        silent=2,
    ),
)
