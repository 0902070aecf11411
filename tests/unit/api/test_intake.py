"""Where a webhook's content goes while stores come and go, and when nothing more is taken."""

from __future__ import annotations

import asyncio

import pytest
from structlog.typing import EventDict

from serve_app.api import account_cache, store_watch
from tests.unit.api.door import INBOUND, STATUS, Door, open_door, signed, text_message, with_token
from tests.unit.conversation.stage import ACCOUNT_SID, CONTACT

OTHER = "whatsapp:+15559990000"


async def spooled(door: Door) -> int:
    return len(door.store.tables.spool)


async def test_who_waited_in_vain_spares_the_others() -> None:
    async with open_door() as door:
        door.inbound.hung = True
        first = await door.post(text_message(1))
        began = asyncio.get_running_loop().time()
        for number in range(2, 7):
            assert (await door.post(text_message(number))).status_code == 200
        assert first.status_code == 200
        # Less than one of them would wait for Redis.
        assert asyncio.get_running_loop().time() - began < 0.25
        assert await spooled(door) == 6


async def test_a_message_does_not_overtake_one_in_the_spool() -> None:
    async with open_door() as door:
        door.inbound.down = True
        await door.post(text_message(1))
        door.inbound.down = False
        await door.watch.look()
        await door.post(text_message(2))
        await door.post(text_message(3, From=OTHER))
        assert await spooled(door) == 2
        assert [job.trace["message_id"] for job in await door.jobs()] == [f"SM{3:032d}"]
        door.store.tables.spool.clear()
        await door.watch.look()
        await door.post(text_message(4))
        assert len(await door.jobs()) == 1
        assert await spooled(door) == 0


async def test_a_look_while_a_row_is_being_written(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_door() as door:
        add = door.store.spool.add

        async def slow(*args: object, **kwargs: object) -> None:
            await door.watch.look()
            await add(*args, **kwargs)  # type: ignore[arg-type]

        monkeypatch.setattr(door.store.spool, "add", slow)
        door.inbound.down = True
        await door.post(text_message(1))
        door.inbound.down = False
        door.watch.redis_worked()
        await door.post(text_message(2))
        assert await spooled(door) == 2


async def test_redis_back_is_noticed_by_the_watch(logs: list[EventDict]) -> None:
    async with open_door() as door:
        door.inbound.down = True
        await door.post(text_message(1))
        await door.post(text_message(2, From=OTHER))
        door.store.tables.spool.clear()
        await door.watch.look()
        assert door.watch.redis_away
        door.inbound.down = False
        await door.watch.look()
        assert not door.watch.redis_away
        await door.post(text_message(3))
        assert len(await door.jobs()) == 1
    told = [entry["event"] for entry in logs if entry["event"].startswith("redis_")]
    assert told == ["redis_away", "redis_back"]
    assert next(e for e in logs if e["event"] == "redis_away")["log_level"] == "error"


async def test_the_spool_away_leaves_redis() -> None:
    """Even where the order would ask for the spool: taking the message comes first."""
    async with open_door() as door:
        door.inbound.down = True
        await door.post(text_message(1))
        door.inbound.down, door.spool.down = False, True
        await door.watch.look()
        assert (await door.post(text_message(2))).status_code == 200
        assert len(await door.jobs()) == 1


async def test_redis_away_and_back_before_anybody_looked() -> None:
    async with open_door() as door:
        door.inbound.down = True
        await door.post(text_message(1))
        door.inbound.down, door.spool.down = False, True
        assert (await door.post(text_message(2))).status_code == 200


async def test_both_known_to_be_away_is_said_at_once() -> None:
    async with open_door(publish_timeout_s=1, spool_timeout_s=1) as door:
        await door.post(text_message(1))
        door.inbound.down = door.spool.hung = True
        assert (await door.post(text_message(2))).status_code == 503
        await door.watch.look()
        began = asyncio.get_running_loop().time()
        assert (await door.post(text_message(3))).status_code == 503
        assert asyncio.get_running_loop().time() - began < 0.8


async def test_a_slow_spool_is_not_taken_for_one_that_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with open_door() as door:
        door.inbound.down = True
        add, wait_s = door.store.spool.add, 5.0

        async def slow(*args: object, **kwargs: object) -> None:
            await asyncio.sleep(wait_s)
            await add(*args, **kwargs)  # type: ignore[arg-type]

        monkeypatch.setattr(door.store.spool, "add", slow)
        assert (await door.post(text_message(1))).status_code == 503
        wait_s = 0.15
        assert (await door.post(text_message(2))).status_code == 200


async def test_too_many_spooled_conversations_to_keep_in_mind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(store_watch, "MOST_SPOOLED", 2)
    async with open_door() as door:
        door.inbound.down = True
        for number in range(3):
            await door.post(text_message(number, From=f"whatsapp:+1555000000{number}"))
        door.inbound.down = False
        await door.watch.look()
        await door.post(text_message(9, From=OTHER))
        assert await spooled(door) == 4


async def test_the_watch_outlives_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_door() as door:

        async def fail() -> None:
            raise KeyError("a bug")

        monkeypatch.setattr(door.inbound, "backlog", fail)
        await door.watch.look()
        assert door.watch.redis_away
        monkeypatch.undo()
        await door.watch.look()
        assert not door.watch.redis_away


# --- shedding -------------------------------------------------------------------------------------


async def fill(door: Door, count: int) -> None:
    for number in range(count):
        params = text_message(1000 + number, From=f"whatsapp:+1555{number:07d}")
        assert (await door.post(params)).status_code == 200
    await door.watch.look()


@pytest.mark.parametrize("debounce_s", [0.0, 5.0])
async def test_a_full_backlog_sheds_messages(debounce_s: float) -> None:
    async with open_door(max_backlog=3, debounce_s=debounce_s) as door:
        await fill(door, 3)
        assert (await door.post(text_message(1))).status_code == 200
        await door.watch.look()
        shed = await door.post(text_message(2))
        assert shed.status_code == 503
        assert int(shed.headers["retry-after"]) == 30
        # Delivery reports settle doubts, and have a backlog of their own.
        report = [("AccountSid", ACCOUNT_SID), ("MessageSid", "SM9"), ("MessageStatus", "sent")]
        assert (await door.post(report, path=STATUS)).status_code == 200
        ready = await door.http.get("/healthz/ready")
        assert ready.status_code == 200
        assert ready.json()["status"] == "shedding"
        assert "4 turns wait in inbound" in ready.json()["parts"]["backlog"]
        assert len(await door.jobs()) == 4
        await door.watch.look()
        assert (await door.post(text_message(2))).status_code == 200
        assert (await door.http.get("/healthz/ready")).json() == {"status": "ready", "parts": {}}


async def test_a_full_spool_sheds_as_a_full_queue_does() -> None:
    async with open_door(max_backlog=3) as door:
        door.inbound.down = True
        await fill(door, 3)
        assert (await door.post(text_message(1))).status_code == 200
        await door.watch.look()
        assert (await door.post(text_message(2))).status_code == 503
        report = [("AccountSid", ACCOUNT_SID), ("MessageSid", "SM9"), ("MessageStatus", "sent")]
        assert (await door.post(report, path=STATUS)).status_code == 200
        ready = await door.http.get("/healthz/ready")
        assert "4 webhooks are spooled for inbound" in ready.json()["parts"]["backlog"]
        door.inbound.down = False
        door.store.tables.spool.clear()
        await door.watch.look()
        assert (await door.post(text_message(2))).status_code == 200


async def test_who_opts_out_is_heard_while_messages_are_shed() -> None:
    async with open_door(max_backlog=1) as door:
        await door.post(text_message(1))
        await fill(door, 2)
        stop = text_message(2, Body="STOP")
        assert (await door.post(stop)).status_code == 503
        (contact,) = [c for c in door.store.tables.contacts.values() if c.address == CONTACT]
        assert contact.opted_out_at is not None


async def test_nobody_who_cannot_sign_learns_of_it() -> None:
    async with open_door(max_backlog=1) as door:
        await fill(door, 2)
        assert (await door.post(text_message(1), signature="forged")).status_code == 403


async def test_an_old_figure_sheds_nothing() -> None:
    async with open_door(max_backlog=1) as door:
        await fill(door, 2)
        assert (await door.post(text_message(1))).status_code == 503
        door.inbound.down = True
        for _ in range(6):
            door.clock.advance(1)
            await door.watch.look()
        assert (await door.post(text_message(1))).status_code == 200
        assert await spooled(door) == 1


async def test_nobody_counts_on_the_webhooks_path(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_door() as door:
        counted = 0

        async def count() -> None:
            nonlocal counted
            counted += 1

        monkeypatch.setattr(door.inbound, "backlog", count)
        await door.post(text_message(1))
        assert counted == 0


# --- accounts -------------------------------------------------------------------------------------


async def test_webhooks_at_once_ask_for_their_account_once() -> None:
    async with open_door() as door:
        await asyncio.gather(*(door.post(text_message(number)) for number in range(20)))
        assert door.accounts.calls == 1


async def test_a_flood_of_wrong_signatures_shares_few_lookups() -> None:
    async with open_door(spool_timeout_s=2) as door:
        await door.post(text_message(1))
        began = asyncio.get_running_loop().time()
        forged = [door.post(text_message(number), signature="forged") for number in range(60)]
        # With the token that Postgres holds since: picked up in the middle of the flood.
        await door.store.accounts.save(with_token("token-2"))
        params = text_message(99)
        true = door.post(params, signature=signed(INBOUND, params, "token-2"))
        answers = await asyncio.gather(*forged, true)
        assert [answer.status_code for answer in answers] == [403] * 60 + [200]
        seconds = asyncio.get_running_loop().time() - began
        assert door.accounts.calls <= 3 + seconds / account_cache.FRESH_EVERY_S


async def test_a_slow_postgres_holds_up_nobody_whose_account_is_known() -> None:
    async with open_door(spool_timeout_s=2) as door:
        await door.post(text_message(1))
        door.clock.advance(3600)
        door.accounts.hung = True
        began = asyncio.get_running_loop().time()
        for number in range(2, 12):
            assert (await door.post(text_message(number))).status_code == 200
        assert asyncio.get_running_loop().time() - began < 0.5
        assert door.accounts.calls == 2
