"""One side of the acknowledging benchmark under Ray Serve, in a process and a cluster of its own.

`python -m serve_app.cli.bench.ack_server recado|peer PORT` serves until its standard input is closed. Which
of Serve's modes it runs in is decided by the environment.
"""

# Ray's own types are partial.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUntypedClassDecorator=false

from __future__ import annotations

import logging
import sys
from typing import Any

import ray
from ray import serve

from deployments.ingress import Ingress
from serve_app.cli.bench.ack_peer import create_peer
from serve_app.cli.configuration import read_configuration
from serve_app.settings import PROJECT_ROOT


@serve.deployment()
@serve.ingress(create_peer)
class Peer:
    """The peer as a user of Serve would deploy it, with whatever Serve does by itself."""


@serve.deployment(ray_actor_options={"num_cpus": 0})
class NoModel:
    """Where the ingress expects a model; nobody asks it for anything here."""

    async def ready(self) -> None:
        return None


def run_peer() -> None:
    serve.run(Peer.bind(), name="bench", route_prefix="/")


def run_recado() -> None:
    """The ingress as `config.yaml` has it, held at one replica; without the work behind it."""
    configuration = read_configuration(PROJECT_ROOT / "config.yaml")
    application: dict[str, Any] = configuration.serve["applications"][0]
    shipped: dict[str, Any] = next(
        each for each in application["deployments"] if each["name"] == "Ingress"
    )
    options = {name: value for name, value in shipped.items() if name != "name"}
    options["autoscaling_config"] = {**options["autoscaling_config"], "max_replicas": 1}
    model = NoModel.bind()
    serve.run(
        Ingress.options(**options).bind(
            configuration.settings, chat_model=model, transcriber=model
        ),
        name=application["name"],
        route_prefix=application["route_prefix"],
        logging_config=application["logging_config"],
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
    if side == "peer":
        run_peer()
    else:
        run_recado()
    sys.stdin.read()
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    main()
