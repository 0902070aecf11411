"""Composes the deployments: `import_path` of `config.yaml`. The first of the two composition roots."""

# Ray's own types are partial.
# pyright: reportUnknownMemberType=false

# No postponed annotations here: Serve reads the type of `args` from the signature as it is.

import asyncio
import os
from typing import Any, Literal

import psutil
import ray
from ray.serve import Application, Deployment
from ray.serve.config import HTTPOptions
from ray.serve.context import _get_global_client  # pyright: ignore[reportPrivateUsage]

from deployments.chat_model import ChatModel
from deployments.ingress import Ingress
from deployments.sender import Sender
from deployments.transcriber import Transcriber
from deployments.worker import Worker
from serve_app.bootstrap import prepare
from serve_app.local.services import ensure_services
from serve_app.settings import AppSettings, EnvironmentSettings

Device = Literal["cpu", "cuda"]


def build(args: AppSettings) -> Application:
    """The application. Unknown keys in `args` are an error that names them.

    Migrates the database. Where RECADO_REDIS_URL or RECADO_DATABASE_URL isn't set, embedded stores and
    the simulator are started, which live as long as this Ray node.
    """
    ensure_services(
        EnvironmentSettings(),
        while_pid=node_process(),
        service_url=service_url(),
        public_url=args.public_url,
    )
    asyncio.run(prepare(args))
    speech_device = resolve_device(args.speech.device)
    chat_device = "cpu" if args.chat.engine == "openai" else resolve_device(args.chat.device)
    chat_model = _placed(ChatModel, chat_device, args.chat.gpus, args.chat.cpus).bind(
        args.chat, device=chat_device, log=args.log
    )
    transcriber = _placed(Transcriber, speech_device, args.speech.gpus, args.speech.cpus).bind(
        args.speech, device=speech_device, log=args.log
    )
    # Serve starts replicas in the order in which they are bound here: what loads longest comes first.
    worker = Worker.bind(args, chat_model=chat_model, transcriber=transcriber)
    return Ingress.bind(
        args,
        worker=worker,
        sender=Sender.bind(args),
        transcriber=transcriber,
        chat_model=chat_model,
    )


def resolve_device(device: Literal["auto", "cpu", "cuda"]) -> Device:
    """`auto` is cuda where the cluster has a GPU."""
    if device != "auto":
        return device
    has_gpu = ray.is_initialized() and ray.cluster_resources().get("GPU", 0) >= 1
    return "cuda" if has_gpu else "cpu"


def service_url() -> str:
    """Where Serve's proxies listen, up to the path, as seen from this machine."""
    # Serve has no public way to ask for its HTTP options.
    client = _get_global_client(raise_if_no_controller_running=False)
    options = client.http_config if client else HTTPOptions()
    host = "127.0.0.1" if options.host in (None, "", "0.0.0.0") else options.host  # noqa: S104
    return f"http://{host}:{options.port}"


def node_process() -> int:
    """The process id of this Ray node's raylet, whose child Serve builds applications in; outside of
    Ray this process."""
    for ancestor in psutil.Process().parents():
        if ancestor.name() == "raylet":
            return ancestor.pid
    return os.getpid()


def _placed(deployment: Deployment, device: Device, gpus: float, cpus: float) -> Deployment:
    options: dict[str, Any] = {"num_cpus": cpus, "num_gpus": gpus if device == "cuda" else 0}
    return deployment.options(ray_actor_options=options)
