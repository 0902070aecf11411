"""What `TaskProcessorConfig.adapter_config` holds for Redis streams."""

from __future__ import annotations

import os

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from models.errors import PermanentError
from serve_app.settings import QueueSettings

URL_VARIABLE = "RECADO_REDIS_URL"


class RedisStreamsAdapterConfig(BaseModel):
    """Durations are seconds. How often a task is tried is `TaskProcessorConfig.max_retries`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    redis_url: SecretStr | None = None
    """`redis://`, `rediss://` or `unix://`; None reads RECADO_REDIS_URL where the adapter runs, so that no
    password is pickled with the deployment."""
    prefix: str = Field(default="tasks", min_length=1)
    """First part of every key."""
    task_timeout_s: float = Field(default=600.0, gt=0)
    """A task that takes longer counts as a failed attempt."""
    lease_s: float = Field(default=30.0, gt=0)
    """The task of a consumer that was silent for this long is given to another one."""
    max_crashes: int = Field(default=3, ge=1)
    """Deliveries that ended with the consumer's death after which a task becomes a dead letter."""
    backoff_base_s: float = Field(default=1.0, gt=0)
    backoff_cap_s: float = Field(default=60.0, gt=0)
    """The n-th retry waits uniform(0, min(cap, base * 2**n))."""
    max_countdown_s: float = Field(default=604_800.0, gt=0)
    """The longest `countdown` a task may be enqueued with."""
    result_ttl_s: float = Field(default=86_400.0, gt=0)
    """How long results, and ids against enqueueing twice, are remembered."""
    store_results: bool = True
    """Whether what a handler returns is kept for `get_task_status`; costs a write a task."""
    max_result_bytes: int = Field(default=1_048_576, ge=2)
    """A larger result isn't kept."""
    cancel_poll_s: float = Field(default=0.5, gt=0)
    """How soon a running task hears that it was cancelled."""
    drain_s: float = Field(default=7.0, ge=0)
    """On shutdown: how long running tasks may finish before they are handed back. Keep it some seconds below
    Serve's `graceful_shutdown_timeout_s`, and below the 10 s that Serve gives an adapter."""
    call_timeout_s: float = Field(default=10.0, gt=0)
    """Limit of one call of the adapter: enqueueing, status, cancelling."""

    def url(self) -> str:
        """Raises `PermanentError` if neither the configuration nor the environment names a server."""
        if self.redis_url is not None:
            return self.redis_url.get_secret_value()
        url = os.environ.get(URL_VARIABLE)
        if not url:
            raise PermanentError(
                f"no Redis server: set redis_url of RedisStreamsAdapterConfig, or {URL_VARIABLE}"
            )
        return url

    def queue_settings(self, *, max_retries: int | None) -> QueueSettings:
        """`max_retries` None: as often as it takes."""
        return QueueSettings(
            prefix=self.prefix,
            lease_s=self.lease_s,
            max_attempts=2**31 if max_retries is None else max_retries + 1,
            max_crashes=self.max_crashes,
            backoff_base_s=self.backoff_base_s,
            backoff_cap_s=self.backoff_cap_s,
            max_turn_jobs=1,
            debounce_max_s=self.max_countdown_s,
            dedupe_ttl_s=self.result_ttl_s,
        )
