"""Which channels there are: a new one is a folder and a line here."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

from serve_app.channels.twilio.channel import open_twilio
from serve_app.channels.whatsapp_cloud.channel import open_whatsapp_cloud
from serve_app.ports import Channel, Clock
from serve_app.settings import AppSettings, EnvironmentSettings


@asynccontextmanager
async def open_channels(
    settings: AppSettings, env: EnvironmentSettings, *, clock: Clock
) -> AsyncGenerator[dict[str, Channel]]:
    """Every channel by name, with its connections open until the context ends."""
    url = public_address(env)
    async with AsyncExitStack() as stack:
        opened: tuple[Channel, ...] = (
            await stack.enter_async_context(
                open_twilio(settings.twilio, public_url=url, clock=clock)
            ),
            await stack.enter_async_context(
                open_whatsapp_cloud(
                    settings.whatsapp_cloud, verify_token=env.whatsapp_verify_token, clock=clock
                )
            ),
        )
        yield {channel.name: channel for channel in opened}


def public_address(env: EnvironmentSettings) -> str:
    """The address that providers call, up to the path; `http://localhost:8000` where nobody said."""
    return (env.public_url or "http://localhost:8000").rstrip("/")
