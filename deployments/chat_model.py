"""Chat completions on a replica."""

from __future__ import annotations

from ray import serve

from deployments.engine_replica import EngineReplica
from models.inference import ChatReply, ChatRequest
from serve_app.engines.registry import create_chat_engine
from serve_app.ops.logging import configure_logging
from serve_app.ports import ChatEngine
from serve_app.settings import ChatSettings, EnvironmentSettings, LogSettings


@serve.deployment(name="ChatModel")
class ChatModel(EngineReplica[ChatEngine]):
    """Batches the requests that arrive at this replica."""

    async def __init__(  # pyright: ignore[reportGeneralTypeIssues] -- Serve awaits it
        self, settings: ChatSettings, *, device: str, log: LogSettings
    ) -> None:
        configure_logging(log, service="chat-model")
        api_key = EnvironmentSettings().openai_api_key
        engine = create_chat_engine(settings, device=device, api_key=api_key)
        await self.start_engine(engine, model="chat", batch_limit=settings.max_batch_size)

    async def chat(self, request: ChatRequest) -> ChatReply:
        return await self.engine.chat(request)
