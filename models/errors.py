"""The error tree.

::

    RecadoError
     ├── RetryableError            try again later; `retry_after` is a lower bound in seconds
     │    ├── StoreUnavailableError     Postgres can't be reached or timed out
     │    ├── QueueUnavailableError     Redis can't be reached or timed out
     │    ├── EngineUnavailableError    a model replica is starting, full or gone
     │    ├── OverloadedError           more work waits than may wait
     │    ├── MediaNotReadyError        the provider doesn't serve the file yet
     │    ├── ListUnavailableError      the provider's list of messages can't be read
     │    └── SendDeferredError         the provider refused before accepting; safe to repeat
     ├── PermanentError            trying again can't help
     │    ├── SignatureError            a webhook that its provider didn't sign
     │    ├── UnprocessableError        a signed webhook that can't be understood
     │    ├── AccountNotFoundError      nobody here owns the number that was written to
     │    ├── MediaRejectedError        too large, of a wrong kind, from a wrong host
     │    │    ├── MediaUnauthorizedError    the account's credentials don't open it
     │    │    └── RecordingTooLongError     longer than anybody listens to
     │    ├── InferenceError            the model can't answer this request
     │    ├── ToolError                 a tool failed; the message may be shown to the model
     │    └── SendRejectedError         the provider refused for good; `code` says why
     ├── SendUnknownError          it is not known whether the provider accepted the message
     ├── SnoozeError               not now, and nobody's fault: come back in `delay_s` seconds
     └── StaleClaimError           another consumer owns the turn now; stop, settle nothing

Whoever knows the cause raises the right kind; only the consumer decides what to do with it.
"""

from models.messages import Fault


class RecadoError(Exception):
    """Root of everything this project raises on purpose."""


class RetryableError(RecadoError):
    """Try again later, not before `retry_after` seconds have passed."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class StoreUnavailableError(RetryableError):
    """Postgres can't be reached or timed out. `away` is False if the server answered
    with an error of another kind: then the work may be at fault, not the server."""

    def __init__(
        self, message: str, *, retry_after: float | None = None, away: bool = True
    ) -> None:
        super().__init__(message, retry_after=retry_after)
        self.away = away


class QueueUnavailableError(RetryableError):
    """Redis can't be reached, timed out or refuses writes. `away` is False if the server answered
    with an error of another kind: then the work may be at fault, not the server."""

    def __init__(
        self, message: str, *, retry_after: float | None = None, away: bool = True
    ) -> None:
        super().__init__(message, retry_after=retry_after)
        self.away = away


class EngineUnavailableError(RetryableError):
    """A model replica is starting, full or gone. `died` if it died with the request in its hands: then the
    request may be what killed it."""

    def __init__(
        self, message: str, *, retry_after: float | None = None, died: bool = False
    ) -> None:
        super().__init__(message, retry_after=retry_after)
        self.died = died


class OverloadedError(RetryableError):
    """More work waits than the configured bound; nothing more is accepted until it is less."""


class ListUnavailableError(RetryableError):
    """The provider's list of messages can't be read now."""


class MediaNotReadyError(RetryableError):
    """The provider announced a file that it doesn't serve yet."""


class SendDeferredError(RetryableError):
    """The provider refused before accepting the message, so that repeating is safe."""

    def __init__(
        self,
        message: str,
        *,
        retry_after: float | None = None,
        code: int | None = None,
        fault: Fault = Fault.RETRY,
    ) -> None:
        super().__init__(message, retry_after=retry_after)
        self.code = code
        self.fault = fault


class PermanentError(RecadoError):
    """Trying again can't help."""


class SignatureError(PermanentError):
    """A webhook whose signature is missing or wrong."""


class UnprocessableError(PermanentError):
    """A correctly signed webhook that can't be understood."""


class AccountNotFoundError(PermanentError):
    """Nobody here owns the number that was written to."""


class MediaRejectedError(PermanentError):
    """A file that is too large, of a wrong kind or on a host that isn't allowed."""


class MediaUnauthorizedError(MediaRejectedError):
    """A file that the account's credentials don't open."""


class RecordingTooLongError(MediaRejectedError):
    """A recording that is longer than the configured limit of `max_seconds`."""

    def __init__(self, message: str, *, max_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.max_seconds = max_seconds


class InferenceError(PermanentError):
    """The model can't answer this request, however often it is asked."""


class ToolError(PermanentError):
    """A tool failed; the message is written for the model to explain."""


class SendRejectedError(PermanentError):
    """The provider refused the message for good; `code` is the provider's error code."""

    def __init__(
        self, message: str, *, code: int | None = None, fault: Fault = Fault.FINAL
    ) -> None:
        super().__init__(message)
        self.code = code
        self.fault = fault


class SendUnknownError(RecadoError):
    """It is not known whether the provider accepted the message: never repeat it blindly."""


class SnoozeError(RecadoError):
    """Not now, and nobody's fault: repeat the turn in `delay_s` seconds without counting an attempt."""

    def __init__(self, message: str, *, delay_s: float) -> None:
        super().__init__(message)
        self.delay_s = delay_s


class StaleClaimError(RecadoError):
    """Another consumer owns the turn now: stop working on it and settle nothing."""
