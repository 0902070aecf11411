"""Ray and Ray Serve of one machine: start, deploy, wait, stop."""

# Ray's own types are partial.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import ray
from ray import serve
from ray.exceptions import RayError
from ray.serve.schema import ApplicationStatus, ServeDeploySchema, ServeStatus

from models.errors import RecadoError
from serve_app.cli.run_state import RunState

_OBJECT_STORE_BYTES = 512 * 1024**2
"""What crosses between replicas is small: the largest is one voice note."""
_NAMESPACE = "serve"
_LOOPBACK = "127.0.0.1"
_POLL_S = 0.1
_ERROR_LINE = re.compile(r"[\w.]+(Error|Exception|Interrupt|Exit)\b.*:")


class ClusterError(RecadoError):
    """One line that says what Ray or Serve could not do."""


def start_ray(run: RunState) -> str:
    """A cluster of this process's own; the folder of its logs."""
    context: Any = ray.init(
        address="local",
        namespace=_NAMESPACE,
        # A turn needs a worker, an ingress and both models at once.
        num_cpus=None if (os.cpu_count() or 1) >= 2 else 2,
        include_dashboard=True,
        dashboard_host=_LOOPBACK,
        _node_ip_address=_LOOPBACK,
        dashboard_port=run.ports.dashboard,
        _metrics_export_port=run.ports.ray_metrics,
        object_store_memory=_OBJECT_STORE_BYTES,
        log_to_driver=False,
        logging_level=logging.WARNING,
    )
    return str(context.address_info["session_dir"])


def deploy(config: dict[str, Any], run: RunState) -> None:
    """Start Serve and do what `serve run config.yaml` does, at the addresses of `run`.

    The application is built and its replicas start while Serve's proxies still do. Raises `ClusterError`.
    """
    options = {**(config.get("http_options") or {}), "host": run.host, "port": run.ports.http}
    schema = ServeDeploySchema.model_validate({**config, "http_options": options})
    with ThreadPoolExecutor(1, thread_name_prefix="serve") as beside:
        starting = beside.submit(_start_serve, run, config.get("proxy_location"))
        while not starting.done() and _controller() is None:
            time.sleep(_POLL_S)
        controller = _controller()
        if controller is not None:
            controller.deploy_apps(schema, _blocking=False)
        starting.result()


def wait_until_running(*, deadline: float, stopped: Callable[[], bool]) -> None:
    """Until every application runs. Raises `ClusterError` with Serve's reason."""
    while not stopped():
        applications = serve.status().applications
        states = {name: app.status for name, app in applications.items()}
        for name, app in applications.items():
            if app.status == ApplicationStatus.DEPLOY_FAILED:
                raise ClusterError(f"The application {name} did not start: {_reason(name)}")
        if states and all(state == ApplicationStatus.RUNNING for state in states.values()):
            return
        if time.monotonic() > deadline:
            waiting = ", ".join(_waiting(serve.status())) or "nothing was deployed"
            raise ClusterError(f"The service was not ready in time; not running: {waiting}")
        time.sleep(_POLL_S)


def wait_until_ready(run: RunState, *, deadline: float, stopped: Callable[[], bool]) -> None:
    """Until the service says so through its own door."""
    reasons = "no answer"
    with httpx2.Client(timeout=5.0, trust_env=False) as client:
        while not stopped():
            try:
                answer = client.get(f"{run.url}/healthz/ready")
            except httpx2.HTTPError as error:
                reasons = str(error) or type(error).__name__
            else:
                if answer.status_code == 200:
                    return
                reasons = answer.text[:300]
            if time.monotonic() > deadline:
                raise ClusterError(f"The service runs but is not ready: {reasons}")
            time.sleep(_POLL_S)


def stop_serve(*, timeout_s: float) -> None:
    """Replicas finish what they do, within their own limits; then HAProxy ends."""
    controller = _controller()
    if controller is not None:
        controller.shutdown(timeout_s=timeout_s)


def stop_ray() -> None:
    ray.shutdown()


def _start_serve(run: RunState, proxy_location: str | None) -> None:
    try:
        serve.start(
            proxy_location=proxy_location, http_options={"host": run.host, "port": run.ports.http}
        )
    except (RayError, TimeoutError, RuntimeError) as error:
        raise ClusterError(f"Ray Serve did not start: {shorten(str(error))}") from error


def _controller() -> Any:
    """Serve's own client, as `serve run` uses it: the public functions neither deploy a configuration nor
    take a limit for the shutdown. None while there is no controller."""
    from ray.serve.context import _get_global_client  # pyright: ignore[reportPrivateUsage] - see above

    return _get_global_client(raise_if_no_controller_running=False)


def _waiting(status: ServeStatus) -> list[str]:
    return [
        f"{name} ({deployment.message or deployment.status})"
        for app in status.applications.values()
        for name, deployment in app.deployments.items()
        if str(deployment.status) != "HEALTHY"
    ]


def _reason(name: str) -> str:
    app = serve.status().applications[name]
    texts = [app.message, *(deployment.message for deployment in app.deployments.values())]
    full = "\n".join(text for text in texts if text)
    return shorten(full)


def shorten(text: str) -> str:
    """The error itself out of a traceback that crossed processes."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if _ERROR_LINE.match(line)]
    return (errors or lines or ["no reason given"])[-1][:600]


def session_logs(session_dir: str) -> Path:
    return Path(session_dir) / "logs"
