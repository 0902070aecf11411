"""Speech to text on a replica."""

from __future__ import annotations

from ray import serve

from deployments.engine_replica import EngineReplica
from models.inference import Transcript, TranscriptionRequest
from serve_app.engines.registry import create_speech_engine
from serve_app.ops.logging import configure_logging
from serve_app.ports import SpeechEngine
from serve_app.settings import LogSettings, SpeechSettings


@serve.deployment(name="Transcriber")
class Transcriber(EngineReplica[SpeechEngine]):
    """Batches the requests that arrive at this replica."""

    async def __init__(  # pyright: ignore[reportGeneralTypeIssues] -- Serve awaits it
        self, settings: SpeechSettings, *, device: str, log: LogSettings
    ) -> None:
        configure_logging(log, service="transcriber")
        engine = create_speech_engine(settings, device=device)
        await self.start_engine(engine, model="speech", batch_limit=settings.max_batch_size)

    async def transcribe(self, request: TranscriptionRequest) -> Transcript:
        return await self.engine.transcribe(request)
