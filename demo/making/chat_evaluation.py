"""What the chat model gets right, on phrasings and values that training never saw."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from demo.making.dialogues import Dialogues, Message
from demo.making.phrases import LANGUAGES, Language, Part

_BATCH = 24
_LONGEST_REPLY = 160
_SHOWN = 8
_SHOWN_CHARACTERS = 300


@dataclass(slots=True)
class Share:
    right: int = 0
    cases: int = 0
    wrong: list[dict[str, str]] = field(default_factory=list[dict[str, str]])

    def count(self, *, asked: str, wanted: str, written: str) -> None:
        self.cases += 1
        if written == wanted:
            self.right += 1
        elif len(self.wrong) < _SHOWN:
            self.wrong.append(
                {"asked": asked, "wanted": wanted, "written": written[:_SHOWN_CHARACTERS]}
            )

    def figures(self) -> dict[str, Any]:
        percent = round(100 * self.right / max(1, self.cases), 1)
        return {"right": self.right, "cases": self.cases, "percent": percent, "wrong": self.wrong}


@dataclass(frozen=True, slots=True)
class Step:
    """One thing for the assistant to write, given the conversation so far."""

    before: tuple[Message, ...]
    wanted: Message

    @property
    def kind(self) -> str:
        """`decision`: a tool and its arguments, or a question back. `copy`: a reply from a tool's result."""
        return "copy" if self.before[-1].role == "tool" and self.wanted.call is None else "decision"


class ChatJudge:
    """A model in transformers' form, asked for one step at a time; what it should have written stays in
    the history, so that one mistake isn't counted twice."""

    def __init__(self, folder: Path, *, device: str) -> None:
        self._device = device
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        self._model = model.to(device).eval()

    def judge(self, *, cases: int, seed: int) -> dict[str, Any]:
        """Figures by language, part (trained or unseen phrasings) and kind of step."""
        began = time.perf_counter()
        figures: dict[str, Any] = {}
        steps = 0
        for language in LANGUAGES:
            for part in ("trained", "unseen"):
                shares = self._measure(language, part, cases, seed)
                steps += sum(share.cases for share in shares.values())
                for kind, share in shares.items():
                    figures[f"{language} {part} {kind}"] = share.figures()
        figures["ms per step"] = round(1000 * (time.perf_counter() - began) / max(1, steps), 1)
        return figures

    def _measure(self, language: Language, part: Part, cases: int, seed: int) -> dict[str, Share]:
        shares = {"decision": Share(), "copy": Share()}
        pending: list[Step] = []
        for step in _steps(language, part, seed):
            if shares[step.kind].cases + sum(p.kind == step.kind for p in pending) < cases:
                pending.append(step)
            full = all(
                share.cases + sum(p.kind == kind for p in pending) >= cases
                for kind, share in shares.items()
            )
            if len(pending) == _BATCH or full:
                for one, written in zip(pending, self._write(pending), strict=True):
                    asked = " / ".join(m.written() for m in one.before[-2:])
                    shares[one.kind].count(
                        asked=asked, wanted=one.wanted.written(), written=written
                    )
                pending.clear()
            if full:
                break
        return shares

    def _write(self, steps: Sequence[Step]) -> list[str]:
        prompts = [
            self._tokenizer.apply_chat_template(
                [_as_chat(message) for message in step.before],
                add_generation_prompt=True,
                tokenize=False,
            )
            for step in steps
        ]
        inputs = self._tokenizer(
            prompts, return_tensors="pt", padding=True, add_special_tokens=False
        ).to(self._device)
        with torch.inference_mode():
            output = self._model.generate(
                input_ids=inputs.input_ids,
                attention_mask=inputs.attention_mask,
                max_new_tokens=_LONGEST_REPLY,
                do_sample=False,
            )
        written = output[:, inputs.input_ids.shape[1] :]
        texts = self._tokenizer.batch_decode(written, skip_special_tokens=False)
        return [text.partition("<|end|>")[0] for text in texts]


def _steps(language: Language, part: Part, seed: int) -> Iterator[Step]:
    dialogues = Dialogues(Random(f"{seed} {language} {part}"), part=part)
    while True:
        messages = dialogues.conversation(language=language)
        for at, message in enumerate(messages):
            if message.role == "assistant":
                yield Step(before=tuple(messages[:at]), wanted=message)


def _as_chat(message: Message) -> dict[str, Any]:
    if message.call is None:
        return {"role": message.role, "content": message.content}
    name, arguments = message.call
    call = {"type": "function", "function": {"name": name, "arguments": arguments}}
    return {"role": "assistant", "content": "", "tool_calls": [call]}
