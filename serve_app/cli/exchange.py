"""One message through the simulator: sent as a phone does, followed until its reply."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import httpx2

from models.conversations import MessageProgress
from models.errors import RecadoError
from models.jobs import JobState
from serve_app.bootstrap import Stores, open_stores
from serve_app.cli.context import CliContext, CommandError
from serve_app.demo_owner import load_demo_account
from serve_app.local.layout import DataDir
from serve_app.local.secrets import read_secrets


@dataclass(frozen=True)
class Exchange:
    """What came of one message."""

    message_id: str
    seconds: float
    replies: tuple[str, ...]
    progress: MessageProgress | None
    whereabouts: str


async def exchange(
    context: CliContext,
    message: Mapping[str, Any],
    *,
    channel: str,
    phone: str,
    to: str | None,
    timeout: float,
) -> Exchange:
    """`message` is as the simulator takes it, without its ends. Raises `CommandError` without a simulator,
    and what the stores raise."""
    if context.environment.simulator_url is None:
        raise CommandError("No simulator runs here: start it with `./recado up`.")
    demo = load_demo_account(channel)
    recipient = to or demo.phone_numbers[0].address
    simulator = str(context.environment.simulator_url)
    async with httpx2.AsyncClient(base_url=simulator, timeout=20.0, trust_env=False) as client:
        started = time.monotonic()
        sent = await _post(client, {**message, "channel": channel, "from": phone, "to": recipient})
        message_id, cursor = str(sent["message_sid"]), int(sent["cursor"])
        if int(sent["webhook_status"] or 0) >= 300 or not sent["webhook_status"]:
            status = sent["webhook_status"] or "no answer"
            return Exchange(message_id, 0.0, (), None, f"The webhook was refused: {status}.")
        replies, cursor = await _wait(client, phone, cursor, seconds=timeout)
        seconds = time.monotonic() - started
        async with open_stores(context.settings, context.environment) as stores:
            account_sid = demo.account_sid or _simulator_account(context)
            progress = await stores.conversations.progress(
                account_sid=account_sid, message_id=message_id
            )
            where = (
                ""
                if replies
                else await _whereabouts(stores, f"{channel}:{account_sid}:{message_id}", progress)
            )
            # A long reply comes in several messages.
            missing = len(progress.replies) - len(replies) if progress and replies else 0
            while missing > 0 and time.monotonic() - started < timeout:
                more, cursor = await _wait(client, phone, cursor, seconds=1.0)
                replies += more
                missing -= len(more)
    return Exchange(message_id, seconds, tuple(replies), progress, where)


def _simulator_account(context: CliContext) -> str:
    secrets = read_secrets(DataDir.at(context.environment.data_dir))
    if secrets is None:
        raise CommandError("The simulator's account isn't known here: say --data-dir.")
    return secrets.simulator_account_sid


async def _wait(
    client: httpx2.AsyncClient, phone: str, cursor: int, *, seconds: float
) -> tuple[list[str], int]:
    """New outbound messages to the phone, and the cursor behind them."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        page = await _get(
            client,
            "/simulator/messages",
            contact=phone,
            after=cursor,
            wait_s=round(min(left, 10.0), 2),
        )
        entries = cast(list[dict[str, Any]], page["messages"])
        cursor = int(page["cursor"])
        bodies = [str(e["body"]) for e in entries if e["direction"] != "inbound"]
        if bodies:
            return bodies, cursor
    return [], cursor


async def _get(client: httpx2.AsyncClient, path: str, **params: str | float) -> dict[str, Any]:
    return _json(await client.get(path, params=params))


async def _post(client: httpx2.AsyncClient, message: dict[str, Any]) -> dict[str, Any]:
    return _json(await client.post("/simulator/messages", json=message))


def _json(response: httpx2.Response) -> dict[str, Any]:
    if response.is_error:
        raise CommandError(f"The simulator refused: {response.status_code} {response.text[:200]}")
    return response.json()


async def _whereabouts(stores: Stores, job_id: str, progress: MessageProgress | None) -> str:
    """Where a message is that got no reply."""
    if progress is not None and progress.replies:
        states = ", ".join(f"{reply.id}: {reply.status.value}" for reply in progress.replies)
        return f"It was answered, but the reply hasn't arrived ({states})."
    if progress is not None and progress.turn_id is not None:
        return (
            "It was processed without a reply: a person has this conversation. "
            "Give it back with `recado conversations give-back`, or write from another phone (--from)."
        )
    try:
        state, job = await stores.inbound.job_state(job_id)
    except RecadoError as error:
        return f"The queue can't be asked: {error}"
    if state is JobState.DEAD:
        return "It is a dead letter: see `recado dead list`."
    if job is not None:
        last = f", last error: {job.history[-1].message}" if job.history else ""
        return f"It is in the queue ({state.value}, {job.attempts} failed attempts{last})."
    return f"The queue says: {state.value}."
