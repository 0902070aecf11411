"""The stores of a campaign: Valkey and Postgres with the durability of production, to be killed at will."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from uuid import uuid4

import asyncpg

from serve_app.local.layout import DataDir
from serve_app.local.postgres import Postgres
from serve_app.local.servers import identity
from serve_app.settings import StoreSettings
from serve_app.store.migrate import migrate
from tests.fixtures.valkey import ValkeyServer

DURABILITY = "Valkey: appendonly yes, appendfsync always; Postgres: fsync on, synchronous_commit on"
_TEMPLATE = "recado_template"


class DurablePostgres:
    """The embedded Postgres as `recado up` starts it, synced to disk."""

    def __init__(self, folder: Path) -> None:
        self._data_dir = DataDir.at(folder)
        self._data_dir.prepare()
        self._server = Postgres(data_dir=self._data_dir)
        self._server.prepare()
        self._process: subprocess.Popen[bytes] | None = None
        self._log = (folder / "postgres.log").open("ab")

    def dsn(self, database: str = "postgres") -> str:
        return self._server.url.replace("/postgres?", f"/{database}?")

    async def start(self, *, seconds: float = 60) -> None:
        launch = self._server.launch()
        self._process = subprocess.Popen(  # noqa: ASYNC220 - it takes a millisecond
            list(launch.command),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            cwd="/",
            start_new_session=True,
            preexec_fn=_stop_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509
            **identity(launch.user),
        )
        async with asyncio.timeout(seconds):
            while not self._server.is_ready(self._process.pid):  # noqa: ASYNC110 - it writes a file
                await asyncio.sleep(0.02)

    async def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT disconnects everybody; SIGQUIT is a crash, after which the log is replayed."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        await asyncio.to_thread(process.wait, 60)

    async def execute(self, statement: str) -> None:
        connection = await asyncpg.connect(self.dsn(), timeout=10, command_timeout=60)
        try:
            await connection.execute(statement)
        finally:
            await connection.close(timeout=5)

    def close(self) -> None:
        self._log.close()


def _stop_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGQUIT)


class Servers:
    """Both, in a temporary folder that is removed at the end."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="recado-faults-"))
        self._folder.chmod(0o755)
        redis = self._folder / "valkey"
        redis.mkdir()
        self.valkey = ValkeyServer(redis)
        self.postgres = DurablePostgres(self._folder / "stores")

    async def start(self) -> None:
        self.valkey.start()
        await self.postgres.start()
        await self.postgres.execute(f"CREATE DATABASE {_TEMPLATE}")
        await migrate(self.postgres.dsn(_TEMPLATE), StoreSettings())

    async def create_database(self) -> str:
        """A migrated one; its address."""
        name = f"row_{uuid4().hex[:12]}"
        await self.postgres.execute(f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE}")
        return self.postgres.dsn(name)

    async def close(self) -> None:
        self.valkey.kill()
        with contextlib.suppress(TimeoutError, subprocess.TimeoutExpired):
            await self.postgres.stop(signal.SIGQUIT)
        self.postgres.close()
        shutil.rmtree(self._folder, ignore_errors=True)
