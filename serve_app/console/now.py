"""Now: how the service fares, live, over the last hour and the last day."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TypeVar

from starlette.responses import Response

from models.console import DeploymentState, Role, Traffic, WebhookCounts
from models.errors import RecadoError
from models.inference import EngineStats
from models.jobs import Backlog
from serve_app.console.visits import Visit

T = TypeVar("T")

WINDOWS = {
    "live": (300.0, 60, "the last 5 minutes"),
    "hour": (3_600.0, 60, "the last hour"),
    "day": (86_400.0, 96, "the last day"),
}
"""Seconds, slices, words."""
_CHECK_S = 2.0


@dataclass(frozen=True)
class Check:
    name: str
    problem: str | None


async def now(visit: Visit) -> Response:
    return await _show(visit, "now.html")


async def figures(visit: Visit) -> Response:
    return await _show(visit, "figures.html")


async def _show(visit: Visit, template: str) -> Response:
    window = visit.query("window") if visit.query("window") in WINDOWS else "live"
    seconds, points, words = WINDOWS[window]
    parts = visit.parts
    await parts.window.tell()
    asked_queues = [_or_none(queue.backlog()) for queue in parts.queues.values()]
    (traffic, webhooks, spooled), (deployments, engines), backlogs, checks = await asyncio.gather(
        asyncio.gather(
            _or_none(parts.views.traffic(seconds=seconds, points=points)),
            _or_none(parts.views.webhooks(seconds=seconds)),
            _or_none(parts.spooled()),
        ),
        _cluster(visit),
        asyncio.gather(*asked_queues),
        _checked(visit),
    )
    return visit.show(
        template,
        window=window,
        windows=list(WINDOWS),
        words=words,
        seconds_long=seconds,
        backlogs=[backlog for backlog in backlogs if backlog is not None],
        traffic=traffic,
        webhooks=webhooks,
        rate=_rate(webhooks, seconds),
        deployments=deployments,
        engines=engines,
        checks=[*checks, _provider(traffic)],
        spooled=spooled,
        verdict=_verdict(checks, backlogs, deployments),
        series=_series(traffic, seconds / points),
    )


def _verdict(
    checks: list[Check], backlogs: list[Backlog | None], deployments: list[DeploymentState] | None
) -> list[str]:
    """What an operator should look at first; empty if all is well."""
    found = [f"{check.name} is away: {check.problem}" for check in checks if check.problem]
    for backlog in backlogs:
        if backlog is None:
            continue
        if backlog.oldest_waiting_s > 60:
            waited = round(backlog.oldest_waiting_s)
            found.append(f"The oldest turn in {backlog.queue} has waited {waited} s.")
        if backlog.dead:
            found.append(f"{backlog.dead} dead letters in {backlog.queue}.")
    found += [
        f"{deployment.name}: {deployment.running} of {deployment.target} replicas."
        for deployment in deployments or []
        if deployment.status == "UNHEALTHY" or deployment.running == 0
    ]
    return found


def _provider(traffic: Traffic | None) -> Check:
    """Twilio as its answers tell: nothing is asked of it for this page."""
    counts = {status.value: count for status, count in traffic.replies} if traffic else {}
    doubtful = counts.get("unknown", 0) + counts.get("parked", 0)
    if counts.get("failed"):
        return Check("Twilio", f"refused {counts['failed']} replies")
    if doubtful:
        return Check("Twilio", f"{doubtful} replies without a clear answer")
    return Check("Twilio", None)


def _rate(webhooks: WebhookCounts | None, seconds: float) -> float | None:
    return None if webhooks is None else webhooks.total / seconds


def _series(traffic: Traffic | None, width: float) -> str:
    """For the chart: times, messages a minute, both p95 in seconds."""
    points = traffic.points if traffic else ()
    return json.dumps(
        [
            [round(point.at.timestamp()) for point in points],
            [round(point.messages * 60 / width, 2) for point in points],
            [point.queued_p95 for point in points],
            [point.processing_p95 for point in points],
        ]
    )


async def _checked(visit: Visit) -> list[Check]:
    async def look(name: str, check: Awaitable[None]) -> Check:
        try:
            async with asyncio.timeout(_CHECK_S):
                await check
        except TimeoutError:
            return Check(name, "no answer")
        except RecadoError as error:
            return Check(name, str(error)[:160])
        return Check(name, None)

    names = {"redis": "Redis", "postgres": "Postgres"}
    return list(
        await asyncio.gather(
            *(look(names.get(name, name), check()) for name, check in visit.parts.checks.items())
        )
    )


async def _or_none(asked: Awaitable[T]) -> T | None:
    """A page about trouble must come up in trouble."""
    try:
        async with asyncio.timeout(_CHECK_S * 2):
            return await asked
    except (RecadoError, TimeoutError):
        return None


async def _cluster(visit: Visit) -> tuple[list[DeploymentState] | None, list[EngineStats] | None]:
    cluster = visit.parts.cluster
    if cluster is None:
        return None, None
    return await asyncio.gather(_or_none(cluster.deployments()), _or_none(cluster.engines()))


ROUTES = (
    ("GET", "/now", now, Role.VIEW),
    ("GET", "/now/figures", figures, Role.VIEW),
)
