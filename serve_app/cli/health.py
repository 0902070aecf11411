"""What `recado status` knows of a running installation, and what it makes of it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import httpx2
from pydantic import BaseModel

from models.conversations import ReplyStatus
from models.errors import RecadoError
from models.jobs import Backlog
from serve_app.bootstrap import open_stores
from serve_app.cli.context import load_context
from serve_app.cli.serve_api import DeploymentState, read_deployments
from serve_app.local.layout import LocalError
from serve_app.tasks import end_tasks

_LIMIT_S = 8.0
_OLDEST_S = 60.0
_SENDS_SINCE = timedelta(hours=1)
_FEW_SENDS = 5
"""Of fewer than these in an hour a share says nothing."""
_ACTIONS = {
    "redis": "webhooks go to Postgres meanwhile; see docs/operations/outages.md",
    "postgres": "turns wait until it is back; see docs/operations/outages.md",
    "worker": "its replicas are replaced by themselves; `recado.log` says why they ended",
    "sender": "its replica is replaced by itself; `recado.log` says why it ended",
    "transcriber": "it may still load its model; `recado.log` and Ray's dashboard say more",
    "chat_model": "it may still load its model; `recado.log` and Ray's dashboard say more",
}

_FOR_PEOPLE = (
    (ReplyStatus.PARKED, "are parked", "parked"),
    (ReplyStatus.FAILED, "failed", "failed"),
    (ReplyStatus.UNKNOWN, "are in doubt", "doubtful"),
)


class Problem(BaseModel):
    """`serious` ones make the installation unhealthy; the others wait for a person."""

    what: str
    action: str
    serious: bool = True


@dataclass(frozen=True)
class Installation:
    """What is looked at: a service of this machine, or of a cluster."""

    url: str
    """Where its `/healthz/ready` answers."""
    dashboard_url: str | None
    """Ray's; None leaves the replicas out."""
    data_dir: Path
    config: Path | None
    """None is the shipped one."""
    logs: str
    """Where a person finds them."""


class Health(BaseModel):
    ready: bool
    parts: dict[str, str] = {}
    deployments: list[DeploymentState] = []
    queues: list[Backlog] = []
    replies: dict[str, int] = {}
    """Those that aren't settled well, by state."""
    sent: int = 0
    """Of the last hour, as the next."""
    failed: int = 0
    spool: int = 0
    problems: list[Problem] = []

    @property
    def healthy(self) -> bool:
        return self.ready and not any(problem.serious for problem in self.problems)


async def look(at: Installation) -> Health:
    """Never raises for what is away: that is a problem of its own."""
    tasks: list[asyncio.Task[Any]] = [
        asyncio.create_task(_readiness(at)),
        asyncio.create_task(_deployments(at)),
        asyncio.create_task(_stores(at)),
    ]
    try:
        (ready, parts), deployments, (stored, away) = await asyncio.gather(*tasks)
    finally:
        await end_tasks(tasks)
    health = Health(ready=ready, parts=parts, deployments=deployments, **stored)
    problems = judge(health, url=at.url, logs=at.logs)
    return health.model_copy(update={"problems": [*problems, *away]})


def judge(health: Health, *, url: str = "", logs: str = "the log") -> list[Problem]:
    """What the figures mean, the worst first."""
    found: list[Problem] = []
    for part, state in health.parts.items():
        if state != "ok":
            action = _ACTIONS.get(part, f"see {logs}")
            found.append(Problem(what=f"{part}: {state}", action=action))
    if not health.ready and not health.parts:
        what = f"the service doesn't answer at {url}".removesuffix(" at ")
        found.append(Problem(what=what, action=f"look at {logs}, or restart"))
    for each in health.deployments:
        if each.status not in ("HEALTHY", "UPSCALING", "DOWNSCALING"):
            what = f"{each.name}: {each.status.lower()} {each.message}".strip()
            found.append(
                Problem(what=what[:200], action="Ray's dashboard shows its replicas' logs")
            )
    for queue in health.queues:
        if queue.oldest_waiting_s > _OLDEST_S:
            what = f"a turn waits in {queue.queue} for {queue.oldest_waiting_s:.0f} s"
            action = (
                "more replicas (max_replicas in config.yaml), or find what is slow: recado tail"
            )
            found.append(Problem(what=what, action=action))
        if queue.dead:
            what = f"{queue.dead} dead letters in {queue.queue}"
            action = f"recado dead list --queue {queue.queue}"
            found.append(Problem(what=what, action=action, serious=False))
    asked = health.sent + health.failed
    if asked >= _FEW_SENDS and health.failed * 2 > asked:
        what = f"{health.failed} of {asked} replies of the last hour couldn't be sent"
        action = "recado replies list --failed says why; recado doctor looks at the accounts"
        found.append(Problem(what=what, action=action))
    for status, words, option in _FOR_PEOPLE:
        if count := health.replies.get(status.value, 0):
            action = f"recado replies list --{option}"
            found.append(Problem(what=f"{count} replies {words}", action=action, serious=False))
    if health.spool:
        what = f"{health.spool} webhooks are in the spool"
        action = "they are published by themselves once Redis is back"
        found.append(Problem(what=what, action=action, serious=False))
    return sorted(found, key=lambda problem: not problem.serious)


async def _readiness(at: Installation) -> tuple[bool, dict[str, str]]:
    try:
        async with httpx2.AsyncClient(timeout=_LIMIT_S, trust_env=False) as http:
            answer = await http.get(f"{at.url}/healthz/ready")
            document: Any = answer.json()
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError):
        return False, {}
    told = cast("dict[str, Any]", document) if isinstance(document, dict) else {}
    parts = cast("dict[str, str]", told.get("parts") or {})
    return answer.status_code == 200, parts


async def _deployments(at: Installation) -> list[DeploymentState]:
    if at.dashboard_url is None:
        return []
    try:
        return await read_deployments(at.dashboard_url)
    except (httpx2.HTTPError, ValueError):
        # The service's own answer decides; the dashboard is a convenience.
        return []


async def _stores(at: Installation) -> tuple[dict[str, Any], list[Problem]]:
    try:
        context = load_context(data_dir=at.data_dir, config=at.config)
        async with (
            asyncio.timeout(_LIMIT_S),
            open_stores(context.settings, context.environment) as stores,
        ):
            since = datetime.now(UTC) - _SENDS_SINCE
            counts = await stores.replies.delivery_counts(since=since)
            replies = await stores.replies.count_open()
            return {
                "queues": [await queue.backlog() for queue in stores.queues.values()],
                "replies": {status.value: count for status, count in replies.items()},
                "sent": sum(c.replies for c in counts if c.status is ReplyStatus.SENT),
                "failed": sum(c.replies for c in counts if c.status is ReplyStatus.FAILED),
                "spool": await stores.spool.count(),
            }, []
    except LocalError as error:
        what = "the stores aren't looked into: nobody says where they are"
        return {}, [Problem(what=what, action=str(error), serious=False)]
    except (RecadoError, TimeoutError) as error:
        what = f"the stores can't be looked into: {str(error) or 'no answer in time'}"
        return {}, [Problem(what=what, action=_ACTIONS["redis"])]
