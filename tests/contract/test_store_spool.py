"""What every store promises of the spool, the fakes included."""

from __future__ import annotations

from contextlib import aclosing

import pytest

from models.jobs import NewJob
from serve_app.ports import SpooledJob
from tests.contract.store_samples import Store


def _job(number: int, **fields: object) -> NewJob:
    return NewJob(
        **{
            "id": f"job{number}",
            "conversation": f"c{number % 2}",
            "payload": f'{{"n": {number}, "s": "ñ"}}',
            "trace": {"traceparent": "00"},
            "fairness_key": f"café {number}",
            **fields,
        }
    )


async def _ids(store: Store, *, limit: int = 100) -> list[list[str]]:
    return [
        [spooled.job.id for spooled in batch] async for batch in store.spool.batches(limit=limit)
    ]


async def test_round_trip(store: Store) -> None:
    await store.spool.add("inbound", _job(1), debounce_s=0.5)

    batches = [batch async for batch in store.spool.batches(limit=10)]

    assert batches == [[SpooledJob(queue="inbound", job=_job(1), debounce_s=0.5)]]
    assert await store.spool.count() == 0


async def test_idempotent_per_queue(store: Store) -> None:
    for queue in ("inbound", "inbound", "status"):
        await store.spool.add(queue, _job(1))
    await store.spool.add("inbound", _job(1, payload="another"))

    assert await store.spool.count() == 2
    async with aclosing(store.spool.batches(limit=10)) as batches:
        [*spooled] = await anext(batches)
    assert [(item.queue, item.job) for item in spooled] == [
        ("inbound", _job(1)),
        ("status", _job(1)),
    ]


async def test_in_order_of_arrival(store: Store) -> None:
    for number in range(7):
        await store.spool.add("inbound", _job(number))

    assert await _ids(store, limit=3) == [
        ["job0", "job1", "job2"],
        ["job3", "job4", "job5"],
        ["job6"],
    ]
    assert await _ids(store) == []


async def test_deleted_only_after_handling(store: Store) -> None:
    for number in range(4):
        await store.spool.add("inbound", _job(number))

    async def sweep_until_the_queue_is_away_again() -> None:
        async with aclosing(store.spool.batches(limit=2)) as batches:
            async for batch in batches:
                if batch[0].job.id == "job2":
                    raise ConnectionError

    with pytest.raises(ConnectionError):
        await sweep_until_the_queue_is_away_again()

    assert await store.spool.count() == 2
    assert await _ids(store) == [["job2", "job3"]]


async def test_what_is_taken_out_stays_and_is_passed_over(store: Store) -> None:
    for number in range(5):
        await store.spool.add("inbound", _job(number))
    seen: list[str] = []
    async for batch in store.spool.batches(limit=2):
        seen += [item.job.id for item in batch]
        batch[:] = [item for item in batch if item.job.id not in ("job0", "job3")]

    assert seen == [f"job{number}" for number in range(5)]
    assert await _ids(store) == [["job0", "job3"]]


async def test_counted_by_queue_and_no_further_than_asked(store: Store) -> None:
    for number in range(4):
        await store.spool.add("inbound", _job(number))
    await store.spool.add("status", _job(9))

    assert await store.spool.count() == 5
    assert await store.spool.count(queue="inbound") == 4
    assert await store.spool.count(queue="nobody") == 0
    assert await store.spool.count(queue="inbound", at_most=3) == 3
    assert await store.spool.count(at_most=3) == 3


async def test_other_sweepers_find_nothing(store: Store) -> None:
    for number in range(4):
        await store.spool.add("inbound", _job(number))

    async with aclosing(store.spool.batches(limit=2)) as batches:
        first = await anext(batches)
        assert await _ids(store) == [], "locked while the first sweeper handles its batch"
        await store.spool.add("inbound", _job(9))
        second = await anext(batches)

    assert [item.job.id for item in first + second] == ["job0", "job1", "job2", "job3"]
    assert await _ids(store) == [["job2", "job3", "job9"]]


async def test_whose_jobs_are_spooled(store: Store) -> None:
    assert await store.spool.conversations(limit=10) == set()
    for number in range(4):
        await store.spool.add("inbound", _job(number))
    assert await store.spool.conversations(limit=10) == {"c0", "c1"}
    assert len(await store.spool.conversations(limit=1)) == 1
    await _ids(store)
    assert await store.spool.conversations(limit=10) == set()
