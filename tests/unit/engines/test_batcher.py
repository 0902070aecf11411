"""The batcher: when batches start, what shares one, and whom a failure concerns."""

import asyncio
from collections.abc import Sequence

import pytest

from models.errors import EngineUnavailableError, InferenceError
from serve_app.engines.batcher import Batcher


class Recorder:
    """Doubles its rows; holds each batch until `gate` is open."""

    def __init__(self, *, open_gate: bool = True) -> None:
        self.batches: list[list[object]] = []
        self.gate = asyncio.Event()
        if open_gate:
            self.gate.set()
        self.running = self.most_running = 0

    async def __call__(self, rows: Sequence[object]) -> list[object]:
        self.batches.append(list(rows))
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await self.gate.wait()
            await asyncio.sleep(0)
        finally:
            self.running -= 1
        if "bad" in rows:
            raise ValueError("a bad row")
        if "away" in rows:
            raise EngineUnavailableError("gone")
        return [(row, row) for row in rows]


def make(run, *, size=4, wait_s=0.01, in_flight=1) -> Batcher:
    return Batcher(run=run, max_batch_size=size, wait_s=wait_s, in_flight=in_flight)


async def settled(*submits):
    return await asyncio.gather(*submits, return_exceptions=True)


async def test_concurrent_rows_share_batches_up_to_the_limit_and_keep_their_results():
    run = Recorder()
    batcher = make(run, size=4)
    results = await asyncio.gather(*(batcher.submit(i) for i in range(10)))
    assert [batched.value for batched in results] == [(i, i) for i in range(10)]
    assert [len(batch) for batch in run.batches] == [4, 4, 2]
    assert [batched.batch_size for batched in results] == [4] * 8 + [2] * 2
    assert (batcher.batches, batcher.rows, batcher.waiting, batcher.running) == (3, 10, 0, 0)
    assert batcher.busy_seconds > 0


async def test_a_lone_row_waits_no_longer_than_it_must():
    loop = asyncio.get_running_loop()
    batcher = make(Recorder(), wait_s=0.05)
    started = loop.time()
    await batcher.submit(1)
    assert 0.045 <= loop.time() - started < 0.5


async def test_a_full_batch_does_not_wait():
    loop = asyncio.get_running_loop()
    batcher = make(Recorder(), size=2, wait_s=30)
    started = loop.time()
    await asyncio.gather(batcher.submit(1), batcher.submit(2))
    assert loop.time() - started < 5


async def test_keys_never_share_a_batch():
    run = Recorder()
    batcher = make(run, size=3, wait_s=30)
    await asyncio.gather(*(batcher.submit(i, key=i % 3) for i in range(9)))
    assert sorted(map(sorted, run.batches)) == [[0, 3, 6], [1, 4, 7], [2, 5, 8]]


async def test_the_oldest_key_goes_first_once_a_slot_is_free():
    run = Recorder(open_gate=False)
    batcher = make(run, size=2, wait_s=0)
    submits = [asyncio.create_task(batcher.submit("first"))]
    await asyncio.sleep(0.01)
    for row, key in [("old", "x"), ("new", "y"), ("newer", "y")]:
        submits.append(asyncio.create_task(batcher.submit(row, key=key)))
        await asyncio.sleep(0.002)
    run.gate.set()
    await asyncio.gather(*submits)
    assert run.batches == [["first"], ["old"], ["new", "newer"]]


@pytest.mark.parametrize("in_flight", [1, 2])
async def test_no_more_batches_run_together_than_allowed(in_flight):
    run = Recorder()
    batcher = make(run, size=1, in_flight=in_flight)
    await asyncio.gather(*(batcher.submit(i) for i in range(6)))
    assert run.most_running == in_flight


async def test_a_bad_row_fails_alone():
    run = Recorder()
    batcher = make(run)
    good, bad, other = await settled(*map(batcher.submit, [1, "bad", 2]))
    assert good.value == (1, 1)
    assert other.value == (2, 2)
    assert isinstance(bad, ValueError)
    assert run.batches == [[1, "bad", 2], [1], ["bad"], [2]]


async def test_an_unavailable_engine_fails_the_batch_without_repeating_it():
    run = Recorder()
    batcher = make(run)
    errors = await settled(*map(batcher.submit, [1, "away"]))
    assert [type(error) for error in errors] == [EngineUnavailableError] * 2
    assert len(run.batches) == 1


async def test_a_wrong_number_of_results_is_an_error():
    async def short(rows):
        return rows[1:]

    [error] = await settled(make(short).submit(1))
    assert isinstance(error, InferenceError)


async def test_a_cancelled_waiting_row_never_runs():
    run = Recorder(open_gate=False)
    batcher = make(run, size=1, wait_s=0)
    first, second, third = (asyncio.create_task(batcher.submit(i)) for i in (1, 2, 3))
    await asyncio.sleep(0.01)
    assert batcher.waiting == 2
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    assert batcher.waiting == 1
    run.gate.set()
    await asyncio.gather(first, third)
    assert run.batches == [[1], [3]]


async def test_the_result_of_a_cancelled_running_row_is_ignored():
    run = Recorder(open_gate=False)
    batcher = make(run, size=2)
    kept, dropped = (asyncio.create_task(batcher.submit(i)) for i in (1, 2))
    await asyncio.sleep(0.01)
    dropped.cancel()
    run.gate.set()
    assert (await kept).value == (1, 1)
    assert dropped.cancelled()


async def test_stopping_fails_waiting_rows_and_lets_running_ones_finish():
    run = Recorder(open_gate=False)
    batcher = make(run, size=1, wait_s=0)
    running, waiting = (asyncio.create_task(batcher.submit(i)) for i in (1, 2))
    await asyncio.sleep(0.01)
    stopping = asyncio.create_task(batcher.stop(grace_s=5))
    with pytest.raises(EngineUnavailableError):
        await waiting
    assert not stopping.done()
    run.gate.set()
    assert (await running).value == (1, 1)
    await stopping
    with pytest.raises(EngineUnavailableError):
        await batcher.submit(3)


async def test_the_rows_of_a_long_request_let_others_pass_and_are_not_passed_for_ever():
    run = Recorder(open_gate=False)
    batcher = make(run, size=2, wait_s=0)
    first = asyncio.create_task(batcher.submit("first"))
    while not run.batches:  # noqa: ASYNC110 - the recorder has no event for it
        await asyncio.sleep(0)
    long = [asyncio.create_task(batcher.submit(f"long-{n}", behind=n)) for n in range(4)]
    await asyncio.sleep(0)
    short = [asyncio.create_task(batcher.submit(f"short-{n}")) for n in range(4)]
    await asyncio.sleep(0)
    run.gate.set()
    await asyncio.gather(first, *long, *short)
    assert run.batches == [
        ["first"],
        ["long-0", "long-1"],
        ["short-0", "short-1"],
        ["long-2", "short-2"],
        ["short-3", "long-3"],
    ]
