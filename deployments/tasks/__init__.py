"""Ray Serve's `@task_consumer` on Redis streams, for any Serve application: docs/task-consumer.md."""

from deployments.tasks.adapter import RedisStreamsTaskProcessorAdapter
from deployments.tasks.config import RedisStreamsAdapterConfig
from deployments.tasks.consumer_base import StreamsTaskConsumer

__all__ = [
    "RedisStreamsAdapterConfig",
    "RedisStreamsTaskProcessorAdapter",
    "StreamsTaskConsumer",
]
