"""Opens what one replica needs and hands it over; the second of the two composition roots.

Each `open_*` is an async context manager. Everything is built here, from settings and the
environment, and closed in the reverse order.
"""

from __future__ import annotations

from serve_app.bootstrap.delivery import (
    DeliveryTools,
    compose_attention,
    compose_privacy,
    compose_publisher,
    compose_sweeper,
    open_delivery_tools,
)
from serve_app.bootstrap.ingress import open_ingress
from serve_app.bootstrap.loops import compose_consumer, new_consumer_id, running
from serve_app.bootstrap.sender import SenderParts, open_sender
from serve_app.bootstrap.stores import (
    INBOUND,
    OUTBOUND,
    STATUS,
    Stores,
    open_stores,
    prepare,
    read_environment,
    with_simulator,
)
from serve_app.bootstrap.worker import WorkerParts, compose_orchestrator, open_outside, open_worker

__all__ = [
    "INBOUND",
    "OUTBOUND",
    "STATUS",
    "DeliveryTools",
    "SenderParts",
    "Stores",
    "WorkerParts",
    "compose_attention",
    "compose_consumer",
    "compose_orchestrator",
    "compose_privacy",
    "compose_publisher",
    "compose_sweeper",
    "new_consumer_id",
    "open_delivery_tools",
    "open_ingress",
    "open_outside",
    "open_sender",
    "open_stores",
    "open_worker",
    "prepare",
    "read_environment",
    "running",
    "with_simulator",
]
