"""A task as it lies in the queue, and its result."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from models.errors import PermanentError, UnprocessableError


@dataclass(frozen=True, slots=True)
class TaskCall:
    """What to call with what."""

    task: str
    args: Sequence[Any]
    kwargs: Mapping[str, Any]

    def encode(self) -> str:
        """Raises `PermanentError` for arguments that JSON can't hold."""
        try:
            return json.dumps({"task": self.task, "args": self.args, "kwargs": self.kwargs})
        except (TypeError, ValueError) as error:
            raise PermanentError(
                f"the arguments of task '{self.task}' can't be written as JSON ({error}): "
                "pass an id or an address of what can't"
            ) from error

    @classmethod
    def decode(cls, payload: str) -> TaskCall:
        """Raises `UnprocessableError`."""
        try:
            fields = cast("dict[str, Any]", json.loads(payload))
            task, args, kwargs = fields["task"], fields["args"], fields["kwargs"]
        except (ValueError, TypeError, KeyError) as error:
            raise UnprocessableError(f"not a task: {error}") from error
        if not (isinstance(task, str) and isinstance(args, list) and isinstance(kwargs, dict)):
            raise UnprocessableError("not a task: wrong types")
        return cls(task, cast("list[Any]", args), cast("dict[str, Any]", kwargs))


class Status:
    """The names that Celery made usual."""

    PENDING = "PENDING"
    STARTED = "STARTED"
    RETRY = "RETRY"
    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"
    REVOKED = "REVOKED"
    UNKNOWN = "UNKNOWN"
    """Never enqueued, or longer ago than ids are remembered."""


def encode_result(status: str, result: Any = None) -> str:
    """Raises TypeError or ValueError for a result that JSON can't hold."""
    return json.dumps({"status": status, "result": result})


def decode_result(text: str) -> tuple[str, Any]:
    fields = json.loads(text)
    return fields["status"], fields["result"]
