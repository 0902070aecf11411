"""One side of the acknowledging benchmark under Ray Serve, in a process and a cluster of its own.

`python -m serve_app.cli.bench.ack_server recado|peer PORT` prints `ready`, and stops when its
standard input is closed. Which of Serve's modes it runs in is decided by the environment.
"""

# Ray's own types are partial.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUntypedClassDecorator=false

from __future__ import annotations

import logging
import sys

import ray
from ray import serve
from ray.serve import Application

from deployments.ingress import Ingress
from serve_app.cli.bench.ack_peer import create_peer
from serve_app.settings import AppSettings, LogSettings


@serve.deployment(max_ongoing_requests=1000)
@serve.ingress(create_peer)
class Peer:
    """The peer as a user of Serve would deploy it."""


@serve.deployment(ray_actor_options={"num_cpus": 0})
class NoModel:
    """Where the ingress expects a model; nobody asks it for anything here."""

    async def ready(self) -> None:
        return None


def application(side: str) -> Application:
    if side == "peer":
        return Peer.bind()
    # What is measured is the acknowledgement, not the work behind it.
    settings = AppSettings(log=LogSettings(level="warning"))
    model = NoModel.bind()
    return Ingress.options(max_ongoing_requests=1000, num_replicas=1).bind(
        settings, chat_model=model, transcriber=model
    )


def main() -> None:
    side, port = sys.argv[1], int(sys.argv[2])
    ray.init(
        address="local",
        num_cpus=4,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        object_store_memory=256 * 1024**2,
        _node_ip_address="127.0.0.1",
    )
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(
        application(side),
        name="bench",
        route_prefix="/",
        logging_config={"enable_access_log": False, "log_level": "WARNING"},
    )
    print("ready", flush=True)  # the parent waits for it
    sys.stdin.read()
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    main()
