"""What the simulator can be told, before it starts and while it runs."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from serve_app.simulator.whatsapp_cloud.account import CloudSettings


class SimulatorSettings(BaseModel):
    """Durations are seconds, sizes bytes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base_url: str = "http://127.0.0.1:8001"
    """Where the simulator is reached: it goes into the media URLs it announces."""
    webhook_url: str = "http://127.0.0.1:8000/webhooks/twilio"
    """Where inbound messages are posted; connection overrides in the fragment are honoured."""
    public_webhook_url: str | None = None
    """The URL that is signed, where it differs from the one that is called (a proxy in between).
    Delivery reports to the same public place take the same detour."""
    account_sid: str = "AC" + "0" * 32
    auth_token: SecretStr
    numbers: tuple[str, ...] = ()
    """Senders that belong to the account; with none given, any sender will do."""
    status_delays_s: tuple[float, float, float] = (0.02, 0.05, 0.05)
    """From queued to sent, from sent to delivered, from delivered to read (WhatsApp only)."""
    early_404s: int = Field(default=0, ge=0)
    """How often a new file answers 404 before it is there."""
    enforce_window: bool = False
    """Let WhatsApp messages fail with 63016 (the Cloud API's: 131047) unless the contact wrote in the last
    24 hours or they are templates."""
    max_messages: int = Field(default=50_000, ge=1)
    """Messages kept; the oldest are forgotten."""
    max_media_bytes: int = Field(default=268_435_456, ge=1)
    """Files kept, in sum; the oldest are forgotten."""
    callback_concurrency: int = Field(default=32, ge=1)
    api_name: str = "2010-04-01"

    def cloud(self) -> CloudSettings:
        """The stand-in for the Cloud API beside it: a service's webhooks have neighbouring addresses, and the
        same token serves as the app's secret and for the API."""
        return CloudSettings(
            base_url=self.base_url,
            webhook_url=self.webhook_url.partition("#")[0].rpartition("/")[0] + "/whatsapp_cloud",
            app_secret=self.auth_token,
            access_token=self.auth_token,
            early_404s=self.early_404s,
            enforce_window=self.enforce_window,
            status_delays_s=self.status_delays_s,
        )

    @property
    def signed_webhook_url(self) -> str:
        """With the connection overrides, which are those of `webhook_url`."""
        _, mark, overrides = self.webhook_url.partition("#")
        return (self.public_webhook_url or self.webhook_url).partition("#")[0] + mark + overrides


class Faults(BaseModel):
    """Misbehaviour on demand. Shares are of the requests that would otherwise have succeeded; at most one
    of the faults strikes a request."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = 0
    """The same seed strikes the same requests, counted from when the faults were set."""
    rate_429: float = Field(default=0.0, ge=0, le=1)
    retry_after_s: int | None = None
    """Put a Retry-After header on the 429s."""
    error_before: float = Field(default=0.0, ge=0, le=1)
    """500 and the message isn't accepted."""
    error_after: float = Field(default=0.0, ge=0, le=1)
    """500 although the message is accepted."""
    timeout_after: float = Field(default=0.0, ge=0, le=1)
    """No answer although the message is accepted."""
    hold_s: float = Field(default=60.0, gt=0)
    """How long a request without answer is held."""
    reject: float = Field(default=0.0, ge=0, le=1)
    """400 with `reject_code`."""
    reject_code: int = 21211
    fail_deliveries: int = Field(default=0, ge=0)
    """How many of the next messages are accepted and then fail with `fail_code`."""
    fail_code: int = 30008
    delay_s: float = Field(default=0.0, ge=0)
    """Before every answer to a send."""
    lost_callbacks: float = Field(default=0.0, ge=0, le=1)
    duplicate_callbacks: float = Field(default=0.0, ge=0, le=1)
    shuffled_callbacks: float = Field(default=0.0, ge=0, le=1)
    """Share of the messages whose delivery reports come in a wrong order."""
    list_unavailable: bool = False
    typing_unavailable: bool = False
    media_500: float = Field(default=0.0, ge=0, le=1)
