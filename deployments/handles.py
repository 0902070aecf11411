"""The models' ports over Ray Serve handles."""

from __future__ import annotations

import asyncio
from typing import Any

from ray.exceptions import ActorDiedError, RayError, RayTaskError, WorkerCrashedError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle, DeploymentResponse

from models.errors import EngineUnavailableError, RecadoError
from models.inference import ChatReply, ChatRequest, Transcript, TranscriptionRequest


class RemoteTranscriber:
    """`serve_app.ports.Transcriber` on a deployment."""

    def __init__(self, handle: DeploymentHandle[Any], *, timeout_s: float) -> None:
        self._handle = handle
        self._timeout_s = timeout_s

    async def transcribe(self, request: TranscriptionRequest) -> Transcript:
        return await call(self._handle, "transcribe", request, timeout_s=self._timeout_s)


class RemoteChatModel:
    """`serve_app.ports.ChatModel` on a deployment."""

    def __init__(self, handle: DeploymentHandle[Any], *, timeout_s: float) -> None:
        self._handle = handle
        self._timeout_s = timeout_s

    async def chat(self, request: ChatRequest) -> ChatReply:
        return await call(self._handle, "chat", request, timeout_s=self._timeout_s)


async def call(handle: DeploymentHandle[Any], method: str, *args: object, timeout_s: float) -> Any:
    """Call a deployment's method; cancelled there when the caller is cancelled or out of time.

    Raises the error of our own tree that the replica raised, else `EngineUnavailableError`.
    """
    try:
        return await _answer(getattr(handle, method).remote(*args), timeout_s=timeout_s)
    except RayTaskError as error:
        if isinstance(error.cause, RecadoError):
            raise error.cause from None
        raise EngineUnavailableError(f"{handle.deployment_name}: {error}") from error
    except TimeoutError as error:
        raise EngineUnavailableError(
            f"{handle.deployment_name} gave no answer within {timeout_s:g} s"
        ) from error
    except (ActorDiedError, WorkerCrashedError) as error:
        raise EngineUnavailableError(
            f"{handle.deployment_name} died: {error}", died=True
        ) from error
    except (RayError, RayServeException) as error:
        raise EngineUnavailableError(f"{handle.deployment_name}: {error}") from error


async def _answer(response: DeploymentResponse[Any], *, timeout_s: float) -> Any:
    """Ray lets a request run on whose answer nobody waits for any more."""
    try:
        async with asyncio.timeout(timeout_s):
            return await response
    except (asyncio.CancelledError, TimeoutError):
        response.cancel()
        raise
