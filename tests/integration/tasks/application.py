"""A Serve application with a task consumer, in a process and a cluster of its own.

`python -m tests.integration.tasks.application REDIS_URL PREFIX FOLDER CHAT_URL` prints `ready` and stops when
its standard input is closed. Handlers leave files in FOLDER, so that the test sees what ran where; a second
application is `ChatModel` with the server at CHAT_URL.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import time
from pathlib import Path

import ray
from pydantic import SecretStr
from ray import serve
from ray.serve.schema import TaskProcessorConfig
from ray.serve.task_consumer import task_consumer, task_handler

from deployments.chat_model import ChatModel
from deployments.handles import RemoteChatModel
from deployments.tasks import RedisStreamsAdapterConfig, StreamsTaskConsumer
from models.errors import PermanentError
from models.inference import ChatMessage, ChatRequest
from serve_app.settings import ChatSettings, LogSettings

CONCURRENCY = 4


def task_config(url: str, prefix: str) -> TaskProcessorConfig:
    return TaskProcessorConfig(
        queue_name="work",
        adapter="deployments.tasks:RedisStreamsTaskProcessorAdapter",
        adapter_config=RedisStreamsAdapterConfig(
            redis_url=SecretStr(url),
            prefix=prefix,
            lease_s=1.5,
            max_crashes=2,
            backoff_base_s=0.1,
            backoff_cap_s=0.2,
            cancel_poll_s=0.1,
            drain_s=2.0,
        ),
        max_retries=2,
        failed_task_queue_name="failed-work",
        unprocessable_task_queue_name="strange-work",
    )


def application(url: str, prefix: str, folder: Path) -> serve.Application:
    @serve.deployment(
        num_replicas=2,
        max_ongoing_requests=CONCURRENCY,
        health_check_period_s=1,
        ray_actor_options={"num_cpus": 0.1},
    )
    @task_consumer(task_processor_config=task_config(url, prefix))
    class Work(StreamsTaskConsumer):
        @task_handler
        async def add(self, a: int, b: int) -> int:
            await asyncio.sleep(0)
            return a + b

        @task_handler(name="describe")
        def describe_file(self, path: str, *, words: dict[str, int]) -> dict[str, object]:
            time.sleep(0.01)
            return {"path": path, "total": sum(words.values())}

        @task_handler
        async def note(self, key: str, number: int) -> None:
            path = folder / f"order-{key}"
            written = await asyncio.to_thread(lambda: path.read_text() if path.exists() else "")
            await asyncio.sleep(0.02)
            path.write_text(f"{written}{number} ")

        @task_handler
        def crash_once(self, name: str) -> str:
            return _die_unless((folder / name), f"survived in {os.getpid()}")

        @task_handler
        async def crash_always(self) -> None:
            os.kill(os.getpid(), signal.SIGKILL)

        @task_handler
        async def fail(self, why: str) -> None:
            with (folder / "failed").open("a") as file:
                file.write(f"{why}\n")
            raise ValueError(why)

        @task_handler
        def refuse(self) -> None:
            raise PermanentError("never")

        @task_handler
        async def hang(self, name: str) -> None:
            (folder / name).write_text(json.dumps("started"))
            try:
                await asyncio.sleep(600)
            finally:
                (folder / name).write_text(json.dumps("ended"))

        @task_handler
        async def ask(self, text: str, timeout_s: float) -> str:
            handle = serve.get_deployment_handle("ChatModel", app_name="models")
            request = ChatRequest(
                request_id=text, messages=(ChatMessage(role="user", content=text),)
            )
            return (await RemoteChatModel(handle, timeout_s=timeout_s).chat(request)).content

    return Work.bind()


def models(chat_url: str) -> serve.Application:
    settings = ChatSettings(engine="openai", model="slow", base_url=chat_url, retries=0)
    chat_model = ChatModel.options(ray_actor_options={"num_cpus": 0.1})
    return chat_model.bind(settings, device="cpu", log=LogSettings())


def _die_unless(marker: Path, result: str) -> str:
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return result


def main() -> None:
    url, prefix, folder, chat_url = sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4]
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        object_store_memory=128 * 1024**2,
    )
    serve.start(proxy_location="Disabled")
    serve.run(models(chat_url), name="models", route_prefix=None)
    serve.run(application(url, prefix, folder), name="work", route_prefix=None)
    print("ready", flush=True)
    sys.stdin.read()
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    main()
