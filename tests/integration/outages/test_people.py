"""What a person does after an outage: `recado reconcile` and `recado replies`, as they are typed."""

from __future__ import annotations

import asyncio
import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from models.conversations import Reply, ReplyStatus
from serve_app.bootstrap import open_delivery_tools, read_environment
from serve_app.store.operators import PostgresOperatorRepository
from tests.fixtures.proxy import open_proxy
from tests.integration.chain.command_line import recado
from tests.integration.chain.house import BUSINESS, House, contact, open_house, until

pytestmark = pytest.mark.integration


@pytest.fixture
def house(
    valkey_url: str,
    redis_prefix: str,
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Any:
    def opened(**options: Any) -> Any:
        return open_house(
            redis_url=valkey_url,
            prefix=redis_prefix,
            database_url=database_url,
            folder=tmp_path,
            monkeypatch=monkeypatch,
            **options,
        )

    return opened


async def lose(at: House, body: str, *, of: int, voice: bool = False) -> None:
    media = [{"content_base64": "T2dnUw=="}] if voice else []
    answer = await at.simulator.post(
        "/simulator/messages",
        json={"from": contact(of), "to": BUSINESS, "body": body, "media": media},
    )
    assert answer.json()["webhook_status"] is None


async def test_lost_webhooks_are_made_good(house: Any, tmp_path: Path) -> None:
    async with (
        open_proxy(("127.0.0.1", 1)) as door,
        house(webhooks_via=f"http://127.0.0.1:{door.port}") as at,
    ):
        port = urlsplit(os.environ["RECADO_PUBLIC_URL"]).port
        assert port is not None
        door._target = ("127.0.0.1", port)
        await at.write("it arrived", of=1)
        await at.received(of=1)
        await at.settle()
        await door.cut()
        await lose(at, "first", of=2)
        await lose(at, "second", of=2)
        await lose(at, "", of=3, voice=True)
        await door.heal()

        counted = await recado(at, tmp_path, "reconcile", "--since", "1h", "--dry-run")
        assert counted.exit_code == 0, counted.output
        assert re.search(r"│ +4 +│ +3 +│ +\(dry run\)", counted.output), counted.output
        backlog = await at.stores.inbound.backlog()
        assert backlog.waiting + backlog.delayed + backlog.in_flight == 0

        env = read_environment(at.settings)
        async with open_delivery_tools(at.settings, env) as tools:
            (account,) = await tools.stores.accounts.list_all()
            since = datetime.now(UTC) - timedelta(hours=1)
            both = await asyncio.gather(
                *(tools.reconciler.reconcile(account, since=since) for _ in range(2))
            )
        assert sum(result.published for result in both) == 3

        said = await at.received(of=2)
        await at.settle()
        said = await at.received(of=2)
        assert " / ".join(body.removeprefix("You said: ") for body in said) == "first / second"
        (spoken,) = await at.received(of=3)
        assert "a table for two" in spoken
        assert len(await at.received(of=1)) == 1

        again = await recado(at, tmp_path, "reconcile", "--since", "1h")
        assert re.search(r"│ +4 +│ +0 +│ +0 +│", again.output), again.output


async def test_what_was_lost_with_redis_is_made_good(house: Any, tmp_path: Path) -> None:
    """Recorded, not answered yet, and then Redis forgot it."""
    async with house(staffed=False) as at:
        await at.write("Hello")
        keys = await at.stores.redis.keys(f"{at.settings.queue.prefix}*")
        await at.stores.redis.delete(*keys)
        async with at.worker(), at.sender():
            result = await recado(at, tmp_path, "reconcile", "--since", "10m")
            assert result.exit_code == 0, result.output
            assert await at.received() == ["You said: Hello"]
            await at.settle()
        assert await at.received() == ["You said: Hello"]


async def test_a_list_that_cannot_be_read(house: Any, tmp_path: Path) -> None:
    async with house(staffed=False) as at:
        await at.faults(list_unavailable=True)
        result = await recado(at, tmp_path, "reconcile", "--since", "1h")
        assert result.exit_code == 1
        assert "503" in result.output


async def test_looking_back_too_far(house: Any, tmp_path: Path) -> None:
    async with house(staffed=False) as at:
        result = await recado(at, tmp_path, "reconcile", "--since", "9d")
        assert "72 h" in str(result.exception)
        result = await recado(at, tmp_path, "reconcile", "--since", "soon")
        assert "no span of time" in str(result.exception)
        result = await recado(at, tmp_path, "reconcile", "--since", "1h", "--account", "AC9")
        assert "AC9" in str(result.exception)


async def parked(at: House, *, of: int, arrives: bool) -> Reply:
    """A reply that nobody could find out about: no report, no list."""
    fault = {"error_after": 1.0} if arrives else {"error_before": 1.0}
    await at.faults(**fault, lost_callbacks=1.0, list_unavailable=True)
    sid = await at.write(f"from {of}", of=of)

    async def is_parked() -> bool:
        replies = (await at.progress(sid)).replies
        return bool(replies) and replies[0].status is ReplyStatus.PARKED

    await until(is_parked, seconds=20)
    await at.settle()
    await at.faults()
    return (await at.progress(sid)).replies[0]


async def test_parked_replies_are_sent_again_unless_they_arrived(
    house: Any, tmp_path: Path
) -> None:
    async with house(sender={"resolve_after_s": 0.1, "resolve_attempts": 2}) as at:
        arrived = await parked(at, of=1, arrives=True)
        absent = await parked(at, of=2, arrives=False)
        assert await at.received(of=1, at_least=1) == ["You said: from 1"]

        listed = (await recado(at, tmp_path, "replies", "list", "--parked")).output
        assert listed.index(arrived.id) < listed.index(absent.id)
        assert contact(1) not in listed
        assert "You said: from 1" in listed
        full = (await recado(at, tmp_path, "replies", "list", "--full")).output
        assert contact(1) in full
        shown = (await recado(at, tmp_path, "replies", "show", absent.id)).output
        assert "parked since" in shown
        assert contact(2) not in shown

        # While nobody can tell whether it arrived, nothing is sent.
        await at.faults(list_unavailable=True)
        refused = await recado(at, tmp_path, "replies", "resend", "--all")
        assert "--blindly" in str(refused.exception)
        await at.faults()

        done = await recado(at, tmp_path, "replies", "resend", "--all")
        assert done.exit_code == 0, done.output
        assert "1 was sent" in done.output.lower()
        assert "1 resent" in done.output
        assert await at.received(of=2) == ["You said: from 2"]
        await at.settle()
        assert await at.received(of=1) == ["You said: from 1"]
        assert await at.received(of=2) == ["You said: from 2"]
        assert "None." in (await recado(at, tmp_path, "replies", "list")).output


async def test_one_is_dropped_and_one_sent_blindly(house: Any, tmp_path: Path) -> None:
    async with house(sender={"resolve_after_s": 0.1, "resolve_attempts": 1}) as at:
        unwanted = await parked(at, of=1, arrives=False)
        wanted = await parked(at, of=2, arrives=False)
        dropped = await recado(at, tmp_path, "replies", "drop", unwanted.id)
        assert dropped.exit_code == 0, dropped.output
        again = await recado(at, tmp_path, "replies", "resend", unwanted.id)
        assert "can't be done" in str(again.exception)
        await at.faults(list_unavailable=True)
        sent = await recado(at, tmp_path, "replies", "resend", "--blindly", wanted.id)
        assert "1 resent" in sent.output
        assert await at.received(of=2) == ["You said: from 2"]
        twice = await recado(at, tmp_path, "replies", "resend", "--blindly", wanted.id)
        assert twice.exit_code == 1
        await at.settle()
        assert await at.received(of=2) == ["You said: from 2"]
        reply = await at.stores.replies.get(unwanted.id)
        assert reply is not None
        assert reply.status is ReplyStatus.CANCELED
        # On record as the console's deeds are, with who gave the command.
        deeds = await PostgresOperatorRepository(pool=at.stores.pool).actions(limit=9)
        assert [(deed.action, deed.subject, deed.outcome) for deed in reversed(deeds)] == [
            ("drop", f"reply {unwanted.id}", "dropped"),
            ("resend", f"reply {unwanted.id}", "refused"),
            ("resend blindly", f"reply {wanted.id}", "resent"),
            ("resend blindly", f"reply {wanted.id}", "refused"),
        ]
        assert all("command line" in deed.operator for deed in deeds)


async def test_an_unknown_reply(house: Any, tmp_path: Path) -> None:
    async with house(staffed=False) as at:
        for command in ("show", "resend", "drop"):
            result = await recado(at, tmp_path, "replies", command, "nothing")
            assert "no reply nothing" in str(result.exception)
        result = await recado(at, tmp_path, "replies", "resend")
        assert "--all" in str(result.exception)
