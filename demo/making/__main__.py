"""`python -m demo.making STEP`: everything, or one step. Each goes on where it was interrupted."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from random import Random

from demo.making.sizes import FULL, SMALL, Sizes


@dataclass(frozen=True, slots=True)
class Making:
    """Where everything lies while it is made."""

    work: Path
    sizes: Sizes
    seed: int
    device: str
    processes: int

    def chat_tokens(self) -> None:
        from demo.making.chat_tokens import train_tokenizer

        if self._chat_tokenizer.is_file():
            return
        size = self.sizes.chat
        tokenizer = train_tokenizer(
            Random(self.seed), size=size.vocabulary, conversations=size.tokenizer_conversations
        )
        self._chat_tokenizer.parent.mkdir(parents=True, exist_ok=True)
        tokenizer.save(str(self._chat_tokenizer))

    def chat_training(self) -> None:
        from demo.making.chat_training import train_chat

        train_chat(
            self.sizes.chat,
            tokenizer=self._chat_tokenizer,
            checkpoint=self.work / "chat" / "checkpoint",
            device=self.device,
            seed=self.seed,
            processes=self.processes,
        )

    def chat_export(self) -> None:
        from demo.making.chat_export import export_chat

        export_chat(
            self.sizes.chat,
            tokenizer=self._chat_tokenizer,
            checkpoint=self.work / "chat" / "checkpoint",
            target=self.work / "chat" / "model",
        )

    def chat_evaluation(self) -> None:
        from demo.making.chat_evaluation import ChatJudge

        judge = ChatJudge(self.work / "chat" / "model", device=self.device)
        self._tell("chat", judge.judge(cases=self.sizes.chat.evaluated, seed=self.seed + 1))

    def speech_tokens(self) -> None:
        from demo.making.speech_tokens import train_tokenizer

        if self._speech_tokenizer.is_file():
            return
        size = self.sizes.speech
        made = train_tokenizer(
            merges=size.merges, longest_s=30.0, seed=self.seed, sentences=size.tokenizer_sentences
        )
        self._speech_tokenizer.parent.mkdir(parents=True, exist_ok=True)
        self._speech_tokenizer.write_text(made, encoding="utf-8")

    def speech_training(self) -> None:
        from demo.making.speech_training import train_speech

        train_speech(
            self.sizes.speech,
            tokenizer=self._speech_tokenizer,
            checkpoint=self.work / "speech" / "checkpoint",
            device=self.device,
            seed=self.seed,
            processes=self.processes,
            opus=find_spec("av") is not None,
        )

    def speech_export(self) -> None:
        from demo.making.speech_export import export_speech

        export_speech(
            self.sizes.speech,
            tokenizer=self._speech_tokenizer,
            checkpoint=self.work / "speech" / "checkpoint",
            target=self.work / "speech" / "transformers",
            converted=self.work / "speech" / "model",
        )

    def speech_evaluation(self) -> None:
        from demo.making.speech_evaluation import judge_speech

        size = self.sizes.speech
        figures = judge_speech(
            self.work / "speech" / "model",
            cases=size.evaluated,
            silent=size.silent,
            seed=self.seed + 1,
        )
        self._tell("speech", figures)

    @property
    def _speech_tokenizer(self) -> Path:
        return self.work / "speech" / "tokenizer.json"

    @property
    def _chat_tokenizer(self) -> Path:
        return self.work / "chat" / "tokenizer.json"

    def _tell(self, name: str, figures: object) -> None:
        text = json.dumps(figures, ensure_ascii=False, indent=1)
        (self.work / f"{name}-figures.json").write_text(text, encoding="utf-8")
        print(text)


def steps(making: Making) -> dict[str, Callable[[], None]]:
    return {
        "speech-tokens": making.speech_tokens,
        "speech-training": making.speech_training,
        "speech-export": making.speech_export,
        "speech-evaluation": making.speech_evaluation,
        "chat-tokens": making.chat_tokens,
        "chat-training": making.chat_training,
        "chat-export": making.chat_export,
        "chat-evaluation": making.chat_evaluation,
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m demo.making", description=__doc__)
    parser.add_argument("step", help="a step, `chat` or `speech` for those of one model, or `all`")
    parser.add_argument(
        "--work", type=Path, default=Path("build/demo"), help="folder for what is made"
    )
    parser.add_argument(
        "--small", action="store_true", help="minutes instead of hours, to prove the way"
    )
    parser.add_argument("--minutes", type=float, help="how long each model trains")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seed", type=int, default=2026)
    args = parser.parse_args()
    sizes = (SMALL if args.small else FULL).lasting(args.minutes)
    args.work.mkdir(parents=True, exist_ok=True)
    making = Making(args.work, sizes, args.seed, _device(args.device), args.processes)
    all_steps = steps(making)
    chosen = [name for name in all_steps if args.step in ("all", name, name.partition("-")[0])]
    if not chosen:
        parser.error(f"no step {args.step}: choose all, chat, speech, {', '.join(all_steps)}")
    for name in chosen:
        print(f"== {name}", flush=True)
        all_steps[name]()
    return 0


def _device(wanted: str) -> str:
    import torch

    if wanted != "auto":
        return wanted
    return "cuda" if torch.cuda.is_available() else "cpu"


if __name__ == "__main__":
    sys.exit(main())
