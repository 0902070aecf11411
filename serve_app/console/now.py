"""Now: how the service fares, live, over the last hour and the last day."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TypeVar

from starlette.responses import Response

from models.console import DeploymentState, Role, Traffic, WebhookCounts
from models.conversations import ReplyStatus
from models.errors import RecadoError
from models.inference import EngineStats
from models.jobs import Backlog
from models.samples import SampledFigures
from serve_app.console.figures_keeper import STRETCHES
from serve_app.console.visits import Visit

T = TypeVar("T")

_CHECK_S = 2.0
_CHANNELS = {"twilio": "Twilio", "whatsapp_cloud": "WhatsApp Cloud API"}
_SHARE, _FEW = 0.1, 3
"""A channel is in trouble with more than this share of its replies refused or in doubt, and so many at
least: one number that doesn't exist is no trouble of the provider's."""


@dataclass(frozen=True)
class Check:
    name: str
    problem: str | None
    note: str = ""
    idle: bool = False
    """There was nothing to tell from."""


async def now(visit: Visit) -> Response:
    return await _show(visit, "now.html")


async def figures(visit: Visit) -> Response:
    return await _show(visit, "figures.html")


async def _show(visit: Visit, template: str) -> Response:
    window = visit.query("window") if visit.query("window") in STRETCHES else "live"
    stretch = STRETCHES[window]
    parts = visit.parts
    queues = parts.queues.values()
    asked_queues = [_or_none(queue.backlog()) for queue in queues]
    asked_retries = [_or_none(queue.retried(within_s=stretch.seconds)) for queue in queues]
    (
        (figures, spooled),
        (deployments, engines),
        backlogs,
        retries,
        checks,
    ) = await asyncio.gather(
        asyncio.gather(_or_none(parts.figures.figures(window)), _or_none(parts.spooled())),
        _cluster(visit),
        asyncio.gather(*asked_queues),
        asyncio.gather(*asked_retries),
        _checked(visit),
    )
    traffic = figures.traffic if figures else None
    sampled = figures.sampled if figures else None
    webhooks = figures.webhooks + parts.window.untold() if figures else None
    checks += channel_checks(traffic, stretch.words)
    return visit.show(
        template,
        window=window,
        windows=list(STRETCHES),
        words=stretch.words,
        as_of=traffic.as_of if traffic else None,
        backlogs=[backlog for backlog in backlogs if backlog is not None],
        retried={queue.name: count for queue, count in zip(queues, retries, strict=True)},
        traffic=traffic,
        sampled=sampled,
        is_long=bool(stretch.usable_s),
        webhooks=webhooks,
        rate=_rate(webhooks, stretch.seconds),
        deployments=deployments,
        engines=engines,
        checks=checks,
        spooled=spooled,
        verdict=_verdict(checks, backlogs, deployments),
        series=_series(traffic, stretch.seconds / stretch.points),
        backlog_series=_backlog_series(sampled),
    )


def _verdict(
    checks: list[Check], backlogs: list[Backlog | None], deployments: list[DeploymentState] | None
) -> list[str]:
    """What an operator should look at first; empty if all is well."""
    found = [f"{check.name}: {check.problem}" for check in checks if check.problem]
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


def channel_checks(traffic: Traffic | None, words: str) -> list[Check]:
    """The providers as their answers tell: nothing is asked of them for this page."""
    if traffic is None:
        return []
    counts: dict[str, Counter[ReplyStatus]] = {}
    for channel, status, count in traffic.channels:
        counts.setdefault(channel, Counter())[status] += count
    found = [_channel(_CHANNELS.get(name, name), counts[name]) for name in sorted(counts)]
    return found or [Check("Providers", None, note=f"nothing sent in {words}", idle=True)]


def _channel(name: str, counts: Counter[ReplyStatus]) -> Check:
    failed = counts[ReplyStatus.FAILED]
    doubtful = counts[ReplyStatus.UNKNOWN] + counts[ReplyStatus.PARKED]
    tried = failed + doubtful + counts[ReplyStatus.SENT]
    told = [
        f"{count} {what}"
        for count, what in ((failed, "refused"), (doubtful, "without a clear answer"))
        if count
    ]
    text = f"{' and '.join(told)} of {tried} replies" if told else ""
    if any(count >= _FEW and count > _SHARE * tried for count in (failed, doubtful)):
        return Check(name, text)
    return Check(name, None, note=text, idle=not tried)


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


def _backlog_series(sampled: SampledFigures | None) -> str:
    points = sampled.points if sampled else ()
    if all(point.waiting is None for point in points):
        return "[[]]"
    return json.dumps(
        [[round(point.at.timestamp()) for point in points], [point.waiting for point in points]]
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
