"""What a task consumer's class may inherit so that Serve sees its health and its backlog."""

from __future__ import annotations

from deployments.tasks.adapter import RedisStreamsTaskProcessorAdapter


class StreamsTaskConsumer:
    """For a class under `@task_consumer` with `RedisStreamsTaskProcessorAdapter`: Serve replaces a replica
    whose consumer has ended, and `deployments.autoscaling:BacklogPolicy` gets its figure."""

    _adapter: RedisStreamsTaskProcessorAdapter  # Serve's decorator sets it

    def check_health(self) -> None:
        self._adapter.check()

    async def record_autoscaling_stats(self) -> dict[str, float]:
        return {"backlog": float(await self._adapter.backlog())}
