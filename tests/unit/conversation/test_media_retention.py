"""References to files go after their time."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from models.errors import StoreUnavailableError
from models.messages import MediaRef
from serve_app.conversation.media_retention import MediaRetention
from serve_app.tasks import end_tasks
from tests.unit.conversation import stage
from tests.unit.conversation.stage import NOON, Stage

PHOTO = MediaRef(url="https://m/1", content_type="image/jpeg")


def retention(on: Stage, conversations: object = None) -> MediaRetention:
    return MediaRetention(
        conversations=conversations or on.store.conversations,  # type: ignore[arg-type]
        clock=on.clock,
        keep_days=30,
        interval_s=60,
    )


@pytest.mark.parametrize(("days", "kept"), [(29, True), (31, False)])
async def test_after_thirty_days(days: int, kept: bool) -> None:
    on = await stage.build_stage()
    message = stage.message(
        1, "", media=(PHOTO,), kind="image", received_at=NOON - timedelta(days=days)
    )
    await on.turn(message)
    assert await retention(on).sweep() == int(not kept)
    (stored,) = on.store.tables.messages.values()
    assert bool(stored.message.media) is kept
    assert stored.message.kind == "image"


async def test_more_than_one_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve_app.conversation.media_retention.BATCH", 2)
    on = await stage.build_stage()
    old = NOON - timedelta(days=60)
    await on.turn(*(stage.message(n, "x", media=(PHOTO,), received_at=old) for n in range(5)))
    assert await retention(on).sweep() == 5


async def test_the_loop_survives_a_store_that_is_away() -> None:
    on = await stage.build_stage()
    looks = asyncio.Event()

    class Away:
        calls = 0

        async def forget_media(self, **_: object) -> int:
            self.calls += 1
            if self.calls > 2:
                looks.set()
                return 0
            raise StoreUnavailableError("away") if self.calls == 1 else RuntimeError("bad row")

    task = asyncio.create_task(retention(on, Away()).run())
    async with asyncio.timeout(10):
        await looks.wait()
    await end_tasks([task])
