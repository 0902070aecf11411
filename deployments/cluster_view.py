"""The cluster as the console shows it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from deployments.handles import call
from models.console import DeploymentState
from models.errors import EngineUnavailableError
from models.inference import EngineStats

_KEPT_S = 15.0
_LIMIT_S = 2.0


class RayClusterView:
    """Asks Serve's controller and the models, at most every `_KEPT_S` however many pages are open."""

    def __init__(self, *, engines: Sequence[DeploymentHandle[Any]], application: str) -> None:
        self._engines = engines
        self._application = application
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="serve-status")
        self._known: list[DeploymentState] = []
        self._known_at = float("-inf")
        self._lock = asyncio.Lock()
        self._stats: list[EngineStats] = []
        self._stats_at = float("-inf")
        self._stats_lock = asyncio.Lock()

    async def deployments(self) -> list[DeploymentState]:
        async with self._lock:
            if time.monotonic() - self._known_at > _KEPT_S:
                loop = asyncio.get_running_loop()
                async with asyncio.timeout(_LIMIT_S):
                    self._known = await loop.run_in_executor(self._pool, self._ask)
                self._known_at = time.monotonic()
            return self._known

    async def engines(self) -> list[EngineStats]:
        async with self._stats_lock:
            if time.monotonic() - self._stats_at > _KEPT_S:
                # A question starts a replica where there is none: a model that was scaled to zero
                # must not be kept awake by whoever looks.
                running = {each.name for each in await self.deployments() if each.running}
                asked = (
                    call(handle, "stats", timeout_s=_LIMIT_S)
                    for handle in self._engines
                    if handle.deployment_name in running
                )
                found: list[EngineStats | BaseException] = await asyncio.gather(
                    *asked, return_exceptions=True
                )
                self._stats = [stats for stats in found if isinstance(stats, EngineStats)]
                self._stats_at = time.monotonic()
            return self._stats

    def _ask(self) -> list[DeploymentState]:
        try:
            status = serve.status().applications.get(self._application)
        except (RayError, RayServeException) as error:
            raise EngineUnavailableError(f"Ray Serve can't be asked: {error}") from error
        if status is None:
            return []
        found: list[DeploymentState] = []
        for name, deployment in status.deployments.items():
            # Ray keeps the states' type to itself.
            replicas = {
                str(getattr(s, "value", s)): int(n) for s, n in deployment.replica_states.items()
            }
            found.append(
                DeploymentState(
                    name=name,
                    status=str(getattr(deployment.status, "value", deployment.status)),
                    running=replicas.get("RUNNING", 0),
                    target=sum(n for state, n in replicas.items() if state != "STOPPING"),
                    message=deployment.message,
                )
            )
        return found
