"""Both stores, what is kept in them, and the database made ready."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from redis.asyncio import Redis

from serve_app.api.readiness import Check
from serve_app.demo_owner import store_demo_owner
from serve_app.local.environment import effective_environment, required
from serve_app.local.layout import DataDir
from serve_app.local.secrets import ensure_secrets
from serve_app.ports import Queue
from serve_app.queue.connection import connect, ping
from serve_app.queue.send_rates import RedisSendRates
from serve_app.queue.service import QueueService
from serve_app.settings import (
    AppSettings,
    EnvironmentSettings,
    TwilioSettings,
    WhatsAppCloudSettings,
)
from serve_app.store.accounts import PostgresTwilioAccountRepository
from serve_app.store.cipher import TokenCipher
from serve_app.store.consents import PostgresConsentRepository
from serve_app.store.contacts import PostgresContactRepository
from serve_app.store.conversations import PostgresConversationRepository
from serve_app.store.documents import PostgresDocumentRepository
from serve_app.store.figures import StoredFigures
from serve_app.store.migrate import migrate
from serve_app.store.notes import PostgresNoteRepository
from serve_app.store.owners import PostgresOwnerRepository
from serve_app.store.pool import StorePool, open_pool
from serve_app.store.pool import ping as ping_postgres
from serve_app.store.replies import PostgresReplyRepository
from serve_app.store.secrets import PostgresOwnerSecretRepository
from serve_app.store.spool import PostgresSpoolRepository

INBOUND = "inbound"


OUTBOUND = "outbound"


STATUS = "status"


@dataclass(frozen=True, slots=True)
class Stores:
    """Both stores and everything that is kept in them."""

    redis: Redis
    pool: StorePool
    inbound: Queue
    outbound: Queue
    status: Queue
    accounts: PostgresTwilioAccountRepository
    owners: PostgresOwnerRepository
    conversations: PostgresConversationRepository
    replies: PostgresReplyRepository
    consents: PostgresConsentRepository
    rates: RedisSendRates
    spool: PostgresSpoolRepository
    figures: StoredFigures
    documents: PostgresDocumentRepository
    secrets: PostgresOwnerSecretRepository
    notes: PostgresNoteRepository
    contacts: PostgresContactRepository

    @property
    def queues(self) -> dict[str, Queue]:
        return {queue.name: queue for queue in (self.inbound, self.outbound, self.status)}

    def checks(self) -> dict[str, Check]:
        async def redis() -> None:
            await ping(self.redis)

        async def postgres() -> None:
            await ping_postgres(self.pool)

        return {"redis": redis, "postgres": postgres}


def read_environment(settings: AppSettings) -> EnvironmentSettings:
    """The environment, completed by what local services wrote down. Raises `LocalError` naming a
    variable that is missing."""
    return effective_environment(EnvironmentSettings(), public_url=settings.public_url)


@asynccontextmanager
async def open_stores(settings: AppSettings, env: EnvironmentSettings) -> AsyncGenerator[Stores]:
    """Raises `StoreUnavailableError` if Postgres can't be reached, `LocalError` if `env` lacks one of both
    stores or the key; Redis is connected on first use."""
    redis_url = required(env.redis_url, "REDIS_URL").get_secret_value()
    database_url = required(env.database_url, "DATABASE_URL").get_secret_value()
    cipher = TokenCipher(required(env.secret_key, "SECRET_KEY").get_secret_value())
    async with AsyncExitStack() as stack:
        redis = connect(redis_url, settings.queue)
        stack.push_async_callback(redis.aclose)
        pool = await stack.enter_async_context(open_pool(database_url, settings.store))
        sending = settings.queue.model_copy(update={"max_attempts": settings.sender.max_attempts})
        yield Stores(
            redis=redis,
            pool=pool,
            inbound=QueueService(redis=redis, name=INBOUND, settings=settings.queue),
            outbound=QueueService(redis=redis, name=OUTBOUND, settings=sending),
            status=QueueService(redis=redis, name=STATUS, settings=settings.queue),
            accounts=PostgresTwilioAccountRepository(pool=pool, cipher=cipher),
            owners=PostgresOwnerRepository(pool=pool),
            conversations=PostgresConversationRepository(pool=pool),
            replies=PostgresReplyRepository(pool=pool),
            consents=PostgresConsentRepository(pool=pool),
            rates=RedisSendRates(
                redis=redis,
                prefix=settings.queue.prefix,
                timeout_s=settings.queue.command_timeout_s,
                longest_pause_s=settings.sender.slow_down_pause_s,
                recovery_s=settings.sender.slow_down_recovery_s,
            ),
            spool=PostgresSpoolRepository(pool=pool),
            figures=StoredFigures(pool=pool),
            documents=PostgresDocumentRepository(pool=pool),
            secrets=PostgresOwnerSecretRepository(pool=pool, cipher=cipher),
            notes=PostgresNoteRepository(pool=pool),
            contacts=PostgresContactRepository(pool=pool),
        )


def with_simulator(settings: AppSettings, env: EnvironmentSettings) -> AppSettings:
    """Settings whose providers are the simulator, where one runs."""
    if env.simulator_url is None:
        return settings
    origin = env.simulator_url.rstrip("/")
    origins = (origin, origin.replace("127.0.0.1", "localhost"))
    twilio: TwilioSettings = settings.twilio.model_copy(
        update={"api_url": origin, "messaging_url": origin, "local_origins": origins}
    )
    cloud: WhatsAppCloudSettings = settings.whatsapp_cloud.model_copy(
        update={"api_url": f"{origin}/graph", "local_origins": origins}
    )
    return settings.model_copy(update={"twilio": twilio, "whatsapp_cloud": cloud})


async def prepare(settings: AppSettings) -> None:
    """Migrate the database and, where the simulator runs, store the demo owner with its account."""
    env = read_environment(settings)
    await migrate(required(env.database_url, "DATABASE_URL").get_secret_value(), settings.store)
    if env.simulator_url is None:
        return
    secrets = ensure_secrets(DataDir.at(env.data_dir))
    async with open_stores(settings, env) as stores:
        await store_demo_owner(
            owners=stores.owners,
            accounts=stores.accounts,
            account_sid=secrets.simulator_account_sid,
            auth_token=secrets.simulator_auth_token,
        )
