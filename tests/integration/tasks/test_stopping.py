"""The adapter without Serve: stopping, starting again, an absent server, and the policy's figure."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import cast

import pytest
from pydantic import SecretStr
from ray.serve.config import AutoscalingContext
from ray.serve.schema import TaskProcessorConfig

from deployments.autoscaling import StreamBacklogPolicy
from deployments.tasks import RedisStreamsAdapterConfig, RedisStreamsTaskProcessorAdapter
from models.errors import QueueUnavailableError
from tests.fixtures.valkey import ValkeyServer

pytestmark = pytest.mark.integration

LIMIT_S = 20.0
Open = Callable[..., RedisStreamsTaskProcessorAdapter]


@pytest.fixture
def open_adapter(redis_prefix: str) -> Iterator[Open]:
    opened: list[RedisStreamsTaskProcessorAdapter] = []

    def open_one(url: str, **changes: float) -> RedisStreamsTaskProcessorAdapter:
        adapter_config = RedisStreamsAdapterConfig(
            redis_url=SecretStr(url), prefix=redis_prefix, **{"drain_s": 0.2, **changes}
        )
        adapter = RedisStreamsTaskProcessorAdapter(
            TaskProcessorConfig(queue_name="jobs", adapter_config=adapter_config)
        )
        adapter.initialize(2)
        opened.append(adapter)
        return adapter

    yield open_one
    for adapter in opened:
        adapter.close()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_what_isnt_finished_is_handed_back(open_adapter: Open, valkey_url: str) -> None:
    first, second = open_adapter(valkey_url), open_adapter(valkey_url)
    began, go_on = threading.Event(), threading.Event()

    def slow() -> str:
        began.set()
        assert go_on.wait(LIMIT_S)
        return "done"

    for adapter in (first, second):
        adapter.register_task_handle(slow, "slow")
    first.start_consumer()
    task = first.enqueue_task_sync("slow")
    assert began.wait(LIMIT_S)
    first.stop_consumer()
    assert first.get_task_status_sync(task.id).status == "PENDING"
    with pytest.raises(RuntimeError, match="isn't running"):
        first.check()
    go_on.set()
    second.start_consumer()
    wait_for(lambda: second.get_task_status_sync(task.id).status == "SUCCESS")
    second.check()


def test_a_stopped_consumer_starts_again(open_adapter: Open, valkey_url: str) -> None:
    adapter = open_adapter(valkey_url)

    async def double(number: int) -> int:
        return 2 * number

    adapter.register_task_handle(double)
    for number in (1, 2):
        adapter.start_consumer()
        task = adapter.enqueue_task_sync("double", [number])
        wait_for(lambda task=task: adapter.get_task_status_sync(task.id).status == "SUCCESS")
        assert adapter.get_task_status_sync(task.id).result == 2 * number
        adapter.stop_consumer()


def test_an_absent_server_is_said_and_waited_for(
    open_adapter: Open, private_valkey: ValkeyServer
) -> None:
    adapter = open_adapter(private_valkey.url)
    adapter.register_task_handle(lambda: 1, "one")
    adapter.start_consumer()
    private_valkey.kill()
    with pytest.raises(QueueUnavailableError):
        adapter.enqueue_task_sync("one")
    assert "error" in adapter.health_check_sync()[0]["redis"]
    private_valkey.start()
    task = adapter.enqueue_task_sync("one")
    wait_for(lambda: adapter.get_task_status_sync(task.id).status == "SUCCESS")
    adapter.check()


def test_a_result_that_cant_be_kept_doesnt_repeat_the_task(
    open_adapter: Open, valkey_url: str
) -> None:
    adapter = open_adapter(valkey_url, max_result_bytes=100)
    calls: list[str] = []

    def large(text: str) -> object:
        calls.append(text)
        return text if text == "x" * 200 else object()

    adapter.register_task_handle(large)
    adapter.start_consumer()
    for text in ("x" * 200, "y"):
        task = adapter.enqueue_task_sync("large", [text])
        wait_for(lambda task=task: adapter.get_task_status_sync(task.id).status == "SUCCESS")
        assert adapter.get_task_status_sync(task.id).result is None
    assert len(calls) == 2


def test_two_handlers_of_one_name_are_refused(open_adapter: Open, valkey_url: str) -> None:
    adapter = open_adapter(valkey_url)
    adapter.register_task_handle(lambda: 1, "one")
    with pytest.raises(ValueError, match="two handlers for task 'one'"):
        adapter.register_task_handle(lambda: 2, "one")


def test_the_policy_reads_the_backlog_from_the_controller(
    open_adapter: Open, valkey_url: str, redis_prefix: str
) -> None:
    policy = StreamBacklogPolicy(
        queue_name="jobs",
        prefix=redis_prefix,
        redis_url=valkey_url,
        turns_per_replica=4,
        poll_interval_s=0.01,
    )
    at_zero = cast(
        "AutoscalingContext", SimpleNamespace(current_num_replicas=0, target_num_replicas=0)
    )
    assert policy(at_zero)[0] == 0
    adapter = open_adapter(valkey_url)
    for number in range(9):
        # With a countdown: nobody but the policy makes them ready while there is no consumer.
        adapter.enqueue_task_sync("any", [number], countdown=0.01)
    wait_for(lambda: policy(at_zero) == (3, {"backlog": 9}))


def test_the_policy_keeps_the_number_while_redis_is_away() -> None:
    policy = StreamBacklogPolicy(
        queue_name="jobs", redis_url="redis://127.0.0.1:1/0", poll_interval_s=0.0
    )
    context = SimpleNamespace(current_num_replicas=3, target_num_replicas=3)
    for _ in range(20):
        assert policy(cast("AutoscalingContext", context))[0] == 3
        time.sleep(0.01)
