"""From settings to engines: the one place that knows them all, and where their models lie.

A new engine is one file and one line here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import structlog
from pydantic import SecretStr

from models.errors import InferenceError
from serve_app.ports import ChatEngine, SpeechEngine
from serve_app.settings import PROJECT_ROOT, ChatSettings, SpeechSettings

log = structlog.get_logger(__name__)

DEMO_MODELS = PROJECT_ROOT / "demo" / "models"

ModelKind = Literal["speech", "speech-transformers", "chat"]


def create_speech_engine(settings: SpeechSettings, *, device: str) -> SpeechEngine:
    """`device` is `cpu` or `cuda`. Loads no model before `start()`."""
    engine, model = settings.engine, resolve_model(settings.model, kind="speech")
    # The demo model comes in both forms, in a folder each.
    torch_model = resolve_model(settings.model, kind="speech-transformers")
    if engine == "auto":
        from serve_app.engines.speech_probe import choose_speech_engine

        choice = choose_speech_engine(model, device=device, torch_model=torch_model)
        engine = choice.engine
        log.info("speech_engine_chosen", engine=engine, device=device, reason=choice.reason)
    if engine == "transformers":
        from serve_app.engines.transformers_whisper import TransformersWhisperEngine

        return TransformersWhisperEngine(settings=settings, device=device, model=torch_model)
    from serve_app.engines.faster_whisper import FasterWhisperEngine

    return FasterWhisperEngine(settings=settings, device=device, model=model)


def create_chat_engine(
    settings: ChatSettings, *, device: str, api_key: SecretStr | None = None
) -> ChatEngine:
    """`device` is `cpu` or `cuda` and concerns the local engine, `api_key` the remote one.

    Loads nothing before `start()`.
    """
    if settings.engine == "openai":
        from serve_app.engines.openai_compatible import OpenAICompatibleEngine

        return OpenAICompatibleEngine(settings=settings, api_key=api_key)
    from serve_app.engines.transformers_chat import TransformersChatEngine

    return TransformersChatEngine(
        settings=settings, device=device, model=resolve_model(settings.model, kind="chat")
    )


def resolve_model(name: str, *, kind: ModelKind) -> Path | str:
    """A folder as a `Path`, loaded without asking anyone; a size or hub name as it is.

    `speech` is the model in CTranslate2's form.

    Raises `InferenceError` for what can only mean a folder and isn't there.
    """
    setting = kind.partition("-")[0]
    if name == "demo":
        folder = DEMO_MODELS / kind
        if not folder.is_dir():
            raise InferenceError(
                f"the demo model is missing at {folder}: restore the folder `demo`, or set "
                f"`{setting}.model` to another model"
            )
        return folder
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder.resolve()
    if name.startswith((".", "~", "/")) or len(folder.parts) > 2:
        raise InferenceError(f"no model folder at {name}: set `{setting}.model` to one that exists")
    return name
