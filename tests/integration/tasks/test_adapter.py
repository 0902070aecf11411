"""`@task_consumer` on a real Serve with two replicas and a real Valkey."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from ray.serve.schema import TaskResult
from ray.serve.task_consumer import instantiate_adapter_from_config

from deployments.tasks import RedisStreamsTaskProcessorAdapter
from models.errors import PermanentError
from models.jobs import DeadReason, Job, JobState
from tests.integration.tasks.application import task_config
from tests.integration.tasks.slow_chat_server import SlowChatServer, slow_chat_server

pytestmark = pytest.mark.integration

PROJECT = Path(__file__).resolve().parents[3]
LIMIT_S = 40.0

T = TypeVar("T")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tasks")


@pytest.fixture(scope="module")
def chat_server() -> Iterator[SlowChatServer]:
    with slow_chat_server() as server:
        yield server


@pytest.fixture(scope="module")
def tasks(
    valkey_url: str, folder: Path, chat_server: SlowChatServer
) -> Iterator[RedisStreamsTaskProcessorAdapter]:
    """The adapter as another application would use it, with the consumer running elsewhere."""
    prefix = f"tasks-{uuid.uuid4().hex[:8]}"
    errors = folder / "errors"
    with errors.open("wb") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.integration.tasks.application"),
                *(valkey_url, prefix, str(folder), chat_server.url),
            ],
            cwd=PROJECT,
            env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": str(PROJECT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
        )
    assert process.stdin is not None
    assert process.stdout is not None
    adapter = instantiate_adapter_from_config(task_config(valkey_url, prefix))
    assert isinstance(adapter, RedisStreamsTaskProcessorAdapter)
    try:
        assert process.stdout.readline() == b"ready\n", errors.read_text()[-3000:]
        yield adapter
    finally:
        adapter.close()
        process.stdin.close()
        try:
            process.wait(30)
        finally:
            process.kill()
            process.wait(10)
            process.stdout.close()


def settled(tasks: RedisStreamsTaskProcessorAdapter, task_id: str) -> TaskResult:
    return until(
        lambda: tasks.get_task_status_sync(task_id),
        lambda found: found.status in {"SUCCESS", "FAILURE", "REVOKED"},
    )


def until(look: Callable[[], T], enough: Callable[[T], bool]) -> T:
    deadline = time.monotonic() + LIMIT_S
    while not enough(found := look()):
        assert time.monotonic() < deadline, f"still {found}"
        time.sleep(0.05)
    return found


def test_async_and_sync_handlers_return_results(tasks: RedisStreamsTaskProcessorAdapter) -> None:
    added = tasks.enqueue_task_sync("add", args=[2, 3])
    described = tasks.enqueue_task_sync("describe", ["a.txt"], {"words": {"x": 1, "y": 4}})
    assert added.status == "PENDING"
    assert settled(tasks, added.id).result == 5
    found = settled(tasks, described.id)
    assert (found.status, found.result) == ("SUCCESS", {"path": "a.txt", "total": 5})


def test_a_task_that_is_done_while_it_is_looked_at_has_its_result(
    tasks: RedisStreamsTaskProcessorAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = tasks._queue.job_state

    async def late(task_id: str) -> tuple[JobState, Job | None]:
        await tasks.enqueue_task_async("add", [2, 3], task_id=task_id)
        async with asyncio.timeout(LIMIT_S):
            while (found := await look(task_id))[0] is not JobState.DONE:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        return found

    monkeypatch.setattr(tasks._queue, "job_state", late)
    found = tasks.get_task_status_sync("done-meanwhile")
    assert (found.status, found.result) == ("SUCCESS", 5)


async def test_the_async_methods_do_the_same(tasks: RedisStreamsTaskProcessorAdapter) -> None:
    added = await tasks.enqueue_task_async("add", kwargs={"a": 20, "b": 22})
    assert settled(tasks, added.id).result == 42
    assert (await tasks.get_task_status_async(added.id)).status == "SUCCESS"
    assert {
        name: row["ok"] for part in await tasks.health_check_async() for name, row in part.items()
    }
    metrics = await tasks.get_metrics_async()
    assert {"waiting", "in_flight", "delayed", "failed", "unprocessable"} <= metrics.keys()


def test_a_task_id_is_enqueued_once(tasks: RedisStreamsTaskProcessorAdapter, folder: Path) -> None:
    for _ in range(3):
        tasks.enqueue_task_sync("note", ["once", 7], task_id="once-and-only")
    assert settled(tasks, "once-and-only").status == "SUCCESS"
    last = tasks.enqueue_task_sync("add", [1, 1])
    settled(tasks, last.id)
    assert (folder / "order-once").read_text() == "7 "


def test_tasks_of_one_key_run_in_order(
    tasks: RedisStreamsTaskProcessorAdapter, folder: Path
) -> None:
    sent = [
        tasks.enqueue_task_sync("note", ["ana", number], ordering_key="ana") for number in range(12)
    ]
    for task in sent:
        assert settled(tasks, task.id).status == "SUCCESS"
    assert (folder / "order-ana").read_text().split() == [str(number) for number in range(12)]


def test_a_countdown_is_waited_for_and_can_be_cancelled(
    tasks: RedisStreamsTaskProcessorAdapter,
) -> None:
    started = time.monotonic()
    soon = tasks.enqueue_task_sync("add", [1, 2], countdown=1.0)
    never = tasks.enqueue_task_sync("add", [1, 2], countdown=500.0)
    assert tasks.get_task_status_sync(never.id).status == "PENDING"
    tasks.cancel_task_sync(never.id)
    assert tasks.get_task_status_sync(never.id).status == "REVOKED"
    assert settled(tasks, soon.id).result == 3
    assert time.monotonic() - started >= 1.0


def test_a_running_task_is_cancelled(tasks: RedisStreamsTaskProcessorAdapter, folder: Path) -> None:
    task = tasks.enqueue_task_sync("hang", ["hanging"])
    until((folder / "hanging").exists, bool)
    assert tasks.get_task_status_sync(task.id).status == "STARTED"
    tasks.cancel_task_sync(task.id)
    assert settled(tasks, task.id).status == "REVOKED"
    assert until(lambda: json.loads((folder / "hanging").read_text()), "ended".__eq__)


@pytest.mark.parametrize("limit_s", [None, 1.0])
def test_a_lost_turn_ends_its_reply_where_it_is_written(
    tasks: RedisStreamsTaskProcessorAdapter, chat_server: SlowChatServer, limit_s: float | None
) -> None:
    """Cancelled or out of time here, it ends in `ChatModel`'s replica and on the server behind it."""
    text = f"lost-{limit_s}"
    task = tasks.enqueue_task_sync("ask", [text, limit_s or 300.0])
    assert text in chat_server.asked.get(timeout=LIMIT_S)
    if limit_s is None:
        assert chat_server.abandoned.empty()
        tasks.cancel_task_sync(task.id)
    assert text in chat_server.abandoned.get(timeout=LIMIT_S)
    # What ran out of time is tried again by the queue.
    tasks.cancel_task_sync(task.id)
    assert settled(tasks, task.id).status == "REVOKED"


def test_a_failing_task_is_retried_and_then_a_dead_letter(
    tasks: RedisStreamsTaskProcessorAdapter, folder: Path
) -> None:
    task = tasks.enqueue_task_sync("fail", ["no such luck"])
    found = settled(tasks, task.id)
    assert (found.status, found.result) == ("FAILURE", "ValueError: no such luck")
    assert (folder / "failed").read_text().splitlines() == ["no such luck"] * 3
    letter = next(letter for letter in tasks.failed_tasks() if letter.job.id == task.id)
    assert letter.reason is DeadReason.EXHAUSTED
    assert len(letter.job.history) == 3
    assert "raise ValueError(why)" in letter.job.history[0].traceback


def test_a_permanent_error_isnt_retried_and_can_be_replayed(
    tasks: RedisStreamsTaskProcessorAdapter,
) -> None:
    task = tasks.enqueue_task_sync("refuse")
    assert settled(tasks, task.id).status == "FAILURE"
    (letter,) = [letter for letter in tasks.failed_tasks() if letter.job.id == task.id]
    assert letter.reason is DeadReason.PERMANENT
    assert tasks.replay(letter.id)
    again = until(
        lambda: [letter for letter in tasks.failed_tasks() if letter.job.id == task.id], bool
    )
    assert again[0].id != letter.id


def test_a_task_without_a_handler_is_unprocessable(
    tasks: RedisStreamsTaskProcessorAdapter, valkey_url: str
) -> None:
    task = tasks.enqueue_task_sync("nobody_knows")
    found = settled(tasks, task.id)
    assert found.status == "FAILURE"
    assert "no handler for task 'nobody_knows', only: add" in found.result
    (letter,) = [letter for letter in tasks.unprocessable_tasks() if letter.job.id == task.id]
    assert letter.reason is DeadReason.UNPROCESSABLE
    assert task.id not in {letter.job.id for letter in tasks.failed_tasks()}


def test_a_crashed_replicas_task_is_repeated_by_another(
    tasks: RedisStreamsTaskProcessorAdapter,
) -> None:
    task = tasks.enqueue_task_sync("crash_once", ["crashed"])
    found = settled(tasks, task.id)
    assert found.status == "SUCCESS"
    assert found.result.startswith("survived in")


def test_a_task_that_kills_its_consumers_is_a_dead_letter(
    tasks: RedisStreamsTaskProcessorAdapter,
) -> None:
    task = tasks.enqueue_task_sync("crash_always")
    assert settled(tasks, task.id).status == "FAILURE"
    (letter,) = [letter for letter in tasks.failed_tasks() if letter.job.id == task.id]
    assert (letter.reason, letter.job.crashes) == (DeadReason.CRASH, 2)
    # Serve brings the replicas back, and they work.
    assert settled(tasks, tasks.enqueue_task_sync("add", [4, 4]).id).result == 8


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"args": [object()]}, "can't be written as JSON"),
        ({"priority": 3}, "unknown option priority: there are task_id, ordering_key, countdown"),
        ({"countdown": -1}, "countdown must be 0 to"),
        ({"countdown": 1, "ordering_key": "a"}, "don't go together"),
    ],
)
def test_what_cant_be_enqueued_is_refused(
    tasks: RedisStreamsTaskProcessorAdapter, call: dict[str, object], message: str
) -> None:
    with pytest.raises(PermanentError, match=message):
        tasks.enqueue_task_sync("add", **call)  # type: ignore[arg-type]


def test_an_unknown_task_is_said_to_be_unknown(tasks: RedisStreamsTaskProcessorAdapter) -> None:
    assert tasks.get_task_status_sync("never-enqueued").status == "UNKNOWN"
    tasks.cancel_task_sync("never-enqueued")
    assert tasks.get_task_status_sync("never-enqueued").status == "UNKNOWN"
