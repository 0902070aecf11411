"""The business account that the stand-in for the Cloud API knows."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, SecretStr


class CloudSettings(BaseModel):
    """`webhook_url` is where everything is posted; the secrets are the app's and the API's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base_url: str
    webhook_url: str
    account_id: str = "100000000000001"
    phone_number_id: str = "200000000000001"
    display_phone_number: str = "15550142701"
    app_secret: SecretStr
    access_token: SecretStr
    early_404s: int = 0
    enforce_window: bool = False
    status_delays_s: tuple[float, float, float] = (0.02, 0.05, 0.05)
    max_body: int = Field(default=4096, ge=1)
