"""The HTTP ingress on a replica."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from ray import serve
from ray.serve.handle import DeploymentHandle

from deployments.cluster_view import RayClusterView
from deployments.handles import RemoteChatModel, call
from deployments.metrics import RayMetrics
from serve_app.api.application import create_app
from serve_app.api.readiness import Check
from serve_app.bootstrap import open_ingress
from serve_app.console_bootstrap import mount_console
from serve_app.ops.logging import configure_logging
from serve_app.settings import AppSettings

READY_TIMEOUT_S = 2.0


@serve.deployment(name="Ingress")
@serve.ingress()
class Ingress:
    """Webhooks and health. `parts` are the deployments that answering needs, by name; holding their
    handles also makes them part of the application."""

    def __init__(self, settings: AppSettings, **parts: DeploymentHandle[Any]) -> None:
        configure_logging(settings.log, service="ingress")
        self._settings = settings
        self._parts = parts

    def __serve_build_asgi_app__(self) -> FastAPI:
        checks = {name: _check(handle) for name, handle in self._parts.items()}
        metrics = RayMetrics()
        chat_model, transcriber = self._parts["chat_model"], self._parts["transcriber"]
        app = create_app(
            lambda: open_ingress(
                self._settings,
                checks=checks,
                metrics=metrics,
                cluster=RayClusterView(
                    engines=(transcriber, chat_model),
                    application=serve.get_replica_context().app_name,
                ),
                chat_model=RemoteChatModel(chat_model, timeout_s=self._settings.chat.timeout_s),
            )
        )
        mount_console(app)
        return app


def _check(handle: DeploymentHandle[Any]) -> Check:
    async def check() -> None:
        await call(handle, "ready", timeout_s=READY_TIMEOUT_S)

    return check
