"""What `recado status` knows of a running installation, and what it makes of it."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import httpx
from pydantic import BaseModel

from models.conversations import ReplyStatus
from models.errors import RecadoError
from models.jobs import Backlog
from serve_app.bootstrap import open_stores
from serve_app.cli.context import load_context
from serve_app.cli.run_state import RunState
from serve_app.cli.serve_api import DeploymentState, read_deployments
from serve_app.local.layout import DataDir
from serve_app.tasks import end_tasks

_LIMIT_S = 8.0
_OLDEST_S = 60.0
_ACTIONS = {
    "redis": "webhooks go to Postgres meanwhile; see docs/operations/outages.md",
    "postgres": "turns wait until it is back; see docs/operations/outages.md",
    "worker": "its replicas are replaced by themselves; `recado.log` says why they ended",
    "sender": "its replica is replaced by itself; `recado.log` says why it ended",
    "transcriber": "it may still load its model; `recado.log` and Ray's dashboard say more",
    "chat_model": "it may still load its model; `recado.log` and Ray's dashboard say more",
}


class Problem(BaseModel):
    """`serious` ones make the installation unhealthy; the others wait for a person."""

    what: str
    action: str
    serious: bool = True


class Health(BaseModel):
    ready: bool
    parts: dict[str, str] = {}
    deployments: list[DeploymentState] = []
    queues: list[Backlog] = []
    replies: dict[str, int] = {}
    spool: int = 0
    problems: list[Problem] = []

    @property
    def healthy(self) -> bool:
        return self.ready and not any(problem.serious for problem in self.problems)


async def look(run: RunState, data_dir: DataDir) -> Health:
    """Never raises for what is away: that is a problem of its own."""
    tasks: list[asyncio.Task[Any]] = [
        asyncio.create_task(_readiness(run)),
        asyncio.create_task(_deployments(run)),
        asyncio.create_task(_stores(run, data_dir)),
    ]
    try:
        (ready, parts), deployments, (queues, replies, spool, away) = await asyncio.gather(*tasks)
    finally:
        await end_tasks(tasks)
    health = Health(
        ready=ready,
        parts=parts,
        deployments=deployments,
        queues=queues,
        replies={status.value: count for status, count in replies.items()},
        spool=spool,
    )
    return health.model_copy(update={"problems": [*judge(health), *away]})


def judge(health: Health) -> list[Problem]:
    """What the figures mean, the worst first."""
    found: list[Problem] = []
    for part, state in health.parts.items():
        if state != "ok":
            action = _ACTIONS.get(part, "see the log")
            found.append(Problem(what=f"{part}: {state}", action=action))
    if not health.ready and not health.parts:
        found.append(
            Problem(what="the service doesn't answer", action="look at the log, or restart")
        )
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
    if parked := health.replies.get(ReplyStatus.PARKED.value, 0):
        what, action = f"{parked} replies are parked", "recado replies list --parked"
        found.append(Problem(what=what, action=action, serious=False))
    if health.spool:
        what = f"{health.spool} webhooks are in the spool"
        action = "they are published by themselves once Redis is back"
        found.append(Problem(what=what, action=action, serious=False))
    return sorted(found, key=lambda problem: not problem.serious)


async def _readiness(run: RunState) -> tuple[bool, dict[str, str]]:
    try:
        async with httpx.AsyncClient(timeout=_LIMIT_S, trust_env=False) as http:
            answer = await http.get(f"{run.url}/healthz/ready")
            document: Any = answer.json()
    except (httpx.HTTPError, ValueError):
        return False, {}
    told = cast("dict[str, Any]", document) if isinstance(document, dict) else {}
    parts = cast("dict[str, str]", told.get("parts") or {})
    return answer.status_code == 200, parts


async def _deployments(run: RunState) -> list[DeploymentState]:
    if run.dashboard_url is None:
        return []
    try:
        return await read_deployments(run.dashboard_url)
    except (httpx.HTTPError, ValueError):
        # The service's own answer decides; the dashboard is a convenience.
        return []


async def _stores(
    run: RunState, data_dir: DataDir
) -> tuple[list[Backlog], dict[ReplyStatus, int], int, list[Problem]]:
    try:
        from pathlib import Path

        context = load_context(data_dir=data_dir.root, config=Path(run.config))
        async with (
            asyncio.timeout(_LIMIT_S),
            open_stores(context.settings, context.environment) as stores,
        ):
            queues = [await queue.backlog() for queue in stores.queues.values()]
            return queues, await stores.replies.count_open(), await stores.spool.count(), []
    except (RecadoError, TimeoutError) as error:
        what = f"the stores can't be looked into: {str(error) or 'no answer in time'}"
        return [], {}, 0, [Problem(what=what, action=_ACTIONS["redis"])]
