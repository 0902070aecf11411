"""Admission: limits, time-outs, cancellation and counters around an engine's requests."""

import asyncio

import pytest

from models.errors import EngineUnavailableError, InferenceError, MediaRejectedError
from serve_app.engines.admission import Admission


def make(limit: int = 2, timeout_s: float = 5.0) -> Admission:
    admission = Admission(engine="the test engine", limit=limit, timeout_s=timeout_s)
    admission.open()
    return admission


async def value(result: int = 1) -> int:
    return result


async def never() -> None:
    await asyncio.Event().wait()


async def test_refuses_before_it_opens_and_after_it_closes():
    admission = Admission(engine="the test engine", limit=1, timeout_s=1)
    with pytest.raises(EngineUnavailableError, match="not running") as refused:
        await admission.run("a", value)
    assert refused.value.retry_after
    admission.open()
    assert await admission.run("a", value) == 1
    admission.close()
    with pytest.raises(EngineUnavailableError):
        await admission.run("a", value)
    assert admission.requests == 1


async def test_refuses_above_the_limit_and_admits_again_when_there_is_room():
    admission = make(limit=2)
    inside = [asyncio.create_task(admission.run(str(i), never)) for i in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(EngineUnavailableError, match="full") as refused:
        await admission.run("c", value)
    assert refused.value.retry_after
    admission.cancel("0")
    with pytest.raises(EngineUnavailableError, match="cancelled"):
        await inside[0]
    assert await admission.run("c", value) == 1
    await admission.drain(grace_s=0)
    with pytest.raises(EngineUnavailableError, match="stopped"):
        await inside[1]
    assert admission.inside == 0
    assert admission.failures == 0


async def test_a_request_that_takes_too_long_is_unavailable_and_its_work_ends():
    ended = asyncio.Event()

    async def slow() -> None:
        try:
            await never()
        finally:
            ended.set()

    admission = make(timeout_s=0.01)
    with pytest.raises(EngineUnavailableError, match=r"0\.01 s"):
        await admission.run("a", slow)
    assert ended.is_set()
    assert admission.failures == 1


async def test_a_cancelled_caller_ends_the_work_and_stays_cancelled():
    admission = make()
    caller = asyncio.create_task(admission.run("a", never))
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert admission.inside == 0


@pytest.mark.parametrize(
    ("raised", "seen"),
    [
        (MediaRejectedError("bad"), MediaRejectedError),
        (RuntimeError("boom"), InferenceError),
        (TimeoutError("inner"), InferenceError),
    ],
)
async def test_errors_leave_as_errors_of_the_tree(raised, seen):
    async def failing() -> None:
        raise raised

    admission = make()
    with pytest.raises(seen):
        await admission.run("a", failing)
    assert (admission.requests, admission.failures) == (1, 1)
