"""`speech.engine: auto`: which engine this machine and this model allow."""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from models.errors import InferenceError

SpeechEngineName = Literal["faster-whisper", "transformers"]

CUBLAS = "libcublas.so.12"
"""What ctranslate2 4.8 loads at its first computation on a GPU; cuDNN isn't needed."""


@dataclass(frozen=True, slots=True)
class Choice:
    engine: SpeechEngineName
    reason: str


def choose_speech_engine(
    model: Path | str,
    *,
    device: str,
    torch_model: Path | str | None = None,
    load_library: Callable[[str], object] = ctypes.CDLL,
    import_module: Callable[[str], object] = importlib.import_module,
) -> Choice:
    """faster-whisper where it can run, else torch. `torch_model` is the model in transformers' form where
    that lies elsewhere.

    Raises `InferenceError` if neither can.
    """
    obstacle = _obstacle(
        model, device=device, load_library=load_library, import_module=import_module
    )
    if obstacle is None:
        return Choice("faster-whisper", f"CTranslate2 can run the model on {device}")
    model = torch_model or model
    if isinstance(model, Path) and not is_transformers_folder(model):
        raise InferenceError(
            f"{obstacle}, and {model} isn't in transformers' form either: set `speech.model` to a "
            "Whisper model in transformers' form, such as openai/whisper-large-v3-turbo"
        )
    if any(importlib.util.find_spec(name) is None for name in ("torch", "transformers")):
        raise InferenceError(f"{obstacle}, and torch with transformers isn't installed either")
    return Choice("transformers", obstacle)


def is_transformers_folder(folder: Path) -> bool:
    return any(folder.glob("model*.safetensors"))


def _obstacle(
    model: Path | str,
    *,
    device: str,
    load_library: Callable[[str], object],
    import_module: Callable[[str], object],
) -> str | None:
    """What keeps faster-whisper from running the model."""
    if isinstance(model, Path) and not (model / "model.bin").is_file():
        return f"{model} isn't in CTranslate2's form"
    if isinstance(model, str) and model.startswith("openai/"):
        return f"{model} is in transformers' form"
    for name in ("ctranslate2", "faster_whisper"):
        try:
            import_module(name)
        except (ImportError, OSError) as error:
            return f"{name} can't be imported ({error})"
    if device.startswith("cuda"):
        try:
            load_library(CUBLAS)
        except OSError:
            return f"CTranslate2 needs {CUBLAS}, which can't be loaded here"
    return None
