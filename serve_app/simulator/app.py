"""Putting the simulator together."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import httpx2
from fastapi import FastAPI

from serve_app.simulator.accounts import Accounts
from serve_app.simulator.callbacks import Courier
from serve_app.simulator.control import control_router
from serve_app.simulator.faults import FaultDie
from serve_app.simulator.inbound import Inbound
from serve_app.simulator.journey import Service
from serve_app.simulator.phone import phone_router
from serve_app.simulator.recordings import VoiceNotes
from serve_app.simulator.rest import TwilioRest, install_errors
from serve_app.simulator.settings import SimulatorSettings
from serve_app.simulator.state import SimulatorState
from serve_app.simulator.webhooks import Detour, WebhookPoster
from serve_app.simulator.whatsapp_cloud.inbound import CloudInbound
from serve_app.simulator.whatsapp_cloud.reports import CloudCourier
from serve_app.simulator.whatsapp_cloud.rest import GraphRest, install_graph_errors
from serve_app.simulator.whatsapp_cloud.webhooks import CloudPoster


def create_simulator(settings: SimulatorSettings) -> FastAPI:
    """The application; its connections and tasks live as long as its lifespan."""
    state = SimulatorState(
        max_messages=settings.max_messages, max_media_bytes=settings.max_media_bytes
    )
    die = FaultDie()
    # Always direct: what it calls is next door.
    http = httpx2.AsyncClient(trust_env=False, limits=httpx2.Limits(max_connections=200))
    detour = Detour.between(
        settings.public_webhook_url or settings.webhook_url, settings.webhook_url
    )
    accounts = Accounts(settings)
    poster = WebhookPoster(http=http, accounts=accounts, detour=detour)
    voice_notes = VoiceNotes()
    courier = Courier(settings=settings, state=state, poster=poster, die=die)
    cloud = settings.cloud()
    cloud_poster = CloudPoster(http=http, settings=cloud)
    cloud_courier = CloudCourier(settings=cloud, state=state, poster=cloud_poster, die=die)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            await courier.stop()
            await cloud_courier.stop()
            voice_notes.close()
            await http.aclose()

    app = FastAPI(
        title="Recado's stand-in for Twilio",
        lifespan=lifespan,
        openapi_url="/simulator/openapi.json",
        # FastAPI's pages of the description load their scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
    )
    install_errors(app)
    install_graph_errors(app)
    graph = GraphRest(settings=cloud, state=state, courier=cloud_courier, die=die)
    cloud_inbound = CloudInbound(settings=cloud, state=state, poster=cloud_poster)
    rest = TwilioRest(settings=settings, state=state, accounts=accounts, courier=courier, die=die)
    inbound = Inbound(
        settings=settings, state=state, accounts=accounts, poster=poster, voice_notes=voice_notes
    )
    service = Service(settings=settings, poster=poster)
    app.include_router(rest.router())
    app.include_router(graph.router())
    app.include_router(
        control_router(
            state=state, accounts=accounts, inbound=inbound, cloud=cloud_inbound, die=die
        )
    )

    app.include_router(phone_router(settings=settings, state=state, service=service))
    return app
