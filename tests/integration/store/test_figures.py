"""How long stages took, of all owners or of some."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from models.conversations import StepTiming
from serve_app.settings import StoreSettings
from serve_app.store.figures import StoredFigures
from serve_app.store.pool import open_pool
from tests.contract.store_samples import SettableClock, a_turn, open_postgres_store

pytestmark = pytest.mark.integration


async def test_stages_over_a_stretch_of_time_and_by_owner(database_url: str) -> None:
    began = datetime.now(UTC) - timedelta(seconds=1)
    async with (
        open_postgres_store(database_url, SettableClock()) as store,
        open_pool(database_url, StoreSettings()) as pool,
    ):
        figures = StoredFigures(pool=pool)
        for owner, seconds in (("o1", (0.1, 0.2, 0.3)), ("o2", (5.0,))):
            for number, took in enumerate(seconds):
                conversation, stored = await store.begin(
                    owner_id=owner, prefix=f"{owner}-{number}-"
                )
                turn = a_turn(conversation, stored, turn_id=f"{owner}-{number}", replies=())
                timings = (StepTiming(step="answer", started_s=0.0, seconds=took),)
                await store.conversations.commit_turn(turn.model_copy(update={"timings": timings}))
        until = datetime.now(UTC) + timedelta(minutes=1)
        (of_one,) = await figures.stages(since=began, until=until, owners=["o1"])
        assert (of_one.stage, of_one.count) == ("answer", 3)
        assert of_one.p50_s == pytest.approx(0.2)
        (of_all,) = await figures.stages(since=began, until=until)
        assert of_all.count == 4
        assert await figures.stages(since=until, until=until + timedelta(hours=1)) == []
        assert await figures.stages(since=began, until=began + timedelta(milliseconds=1)) == []
