"""The supervisor with real servers: start, join, restart, stop, and what a kill leaves behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest
from redis import Redis, RedisError

from serve_app.local import (
    DataDir,
    LocalError,
    effective_environment,
    ensure_services,
    release_services,
)
from serve_app.local.processes import ProcessRef
from serve_app.local.state import ServicesState, read_state
from serve_app.settings import EnvironmentSettings

pytestmark = pytest.mark.integration


@pytest.fixture
def env(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EnvironmentSettings]:
    for name in ("REDIS_URL", "DATABASE_URL", "SECRET_KEY", "PUBLIC_URL", "SIMULATOR_URL"):
        monkeypatch.delenv(f"RECADO_{name}", raising=False)
    env = EnvironmentSettings(data_dir=tmp_path / "data")
    yield env
    (env.data_dir / "users").mkdir(parents=True, exist_ok=True)
    for path in (env.data_dir / "users").iterdir():
        path.unlink()
    release_services(env, while_pid=os.getpid())


@pytest.fixture
def user() -> Iterator[subprocess.Popen[bytes]]:
    """A process that needs the services."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"])
    yield process
    process.kill()
    process.wait()


def _state(env: EnvironmentSettings) -> ServicesState:
    state = read_state(DataDir.at(env.data_dir))
    assert state is not None
    return state


def _wait(condition: Callable[[], bool], *, limit_s: float = 15.0) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def _redis(env: EnvironmentSettings) -> Redis:
    url = effective_environment(env).redis_url
    assert url is not None
    return Redis.from_url(url.get_secret_value(), decode_responses=True)


def _sql(env: EnvironmentSettings, query: str) -> object:
    async def run() -> object:
        url = effective_environment(env).database_url
        assert url is not None
        connection = await asyncpg.connect(url.get_secret_value(), timeout=10)
        try:
            return await connection.fetchval(query, timeout=10)
        finally:
            await connection.close()

    return asyncio.run(run())


def test_without_the_simulator_where_it_is_switched_off(
    env: EnvironmentSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECADO_SIMULATOR", "false")
    monkeypatch.setenv("RECADO_DATA_DIR", str(env.data_dir))
    real = EnvironmentSettings()
    services = ensure_services(real, while_pid=os.getpid(), simulator=True)
    assert services.simulator_url is None
    assert effective_environment(real).simulator_url is None
    assert "simulator" not in _state(real).processes


def test_they_start_are_joined_keep_their_data_and_leave_nothing(env: EnvironmentSettings) -> None:
    services = ensure_services(env, while_pid=os.getpid(), simulator=False)
    assert services.simulator_url is None
    with _redis(env) as redis:
        redis.set("kept", "yes")
        config = redis.config_get("append*") | redis.config_get("maxmemory-policy")
        assert config["appendonly"] == "yes"
        assert config["appendfsync"] == "always"
        assert config["maxmemory-policy"] == "noeviction"
    _sql(env, "CREATE TABLE kept AS SELECT 42 AS answer")

    before = _state(env)
    began = time.monotonic()
    assert ensure_services(env, while_pid=os.getpid(), simulator=False) == services
    assert time.monotonic() - began < 5.0
    assert _state(env).supervisor == before.supervisor

    release_services(env, while_pid=os.getpid())
    assert _state(env).state == "stopped"
    assert not any(ref.alive() for ref in [before.supervisor, *before.processes.values()])

    ensure_services(env, while_pid=os.getpid(), simulator=False)
    with _redis(env) as redis:
        assert redis.get("kept") == "yes"
    assert _sql(env, "SELECT answer FROM kept") == 42


def test_a_server_that_dies_comes_back_with_its_data(env: EnvironmentSettings) -> None:
    ensure_services(env, while_pid=os.getpid(), simulator=False)
    with _redis(env) as redis:
        redis.set("kept", "yes")
    first = dict(_state(env).processes)
    for name in ("valkey", "postgres"):
        os.kill(first[name].pid, signal.SIGKILL)

    def back() -> bool:
        now = _state(env).processes
        return all(now.get(name) not in (None, first[name]) for name in first)

    _wait(back)

    def answers() -> bool:
        try:
            with _redis(env) as redis:
                return redis.get("kept") == "yes" and _sql(env, "SELECT 1") == 1
        except (OSError, asyncpg.PostgresError, RedisError):
            return False

    _wait(answers)


@pytest.mark.skipif(sys.platform != "linux", reason="needs prlimit")
def test_a_full_disk_ends_servers_but_not_their_supervisor(env: EnvironmentSettings) -> None:
    ensure_services(env, while_pid=os.getpid(), simulator=False)
    with _redis(env) as redis:
        redis.set("kept", "yes")
    before = _state(env)
    supervisor = psutil.Process(before.supervisor.pid)
    limits = supervisor.rlimit(psutil.RLIMIT_FSIZE)
    # No file grows any more: neither the state's nor those of the servers that are started from here on.
    supervisor.rlimit(psutil.RLIMIT_FSIZE, (0, limits[1]))
    for name in ("valkey", "postgres"):
        os.kill(before.processes[name].pid, signal.SIGKILL)
    known = {ref.pid for ref in before.processes.values()}
    _wait(
        lambda: (
            not before.supervisor.alive()
            or bool({child.pid for child in supervisor.children()} - known)
        )
    )
    assert before.supervisor.alive()

    supervisor.rlimit(psutil.RLIMIT_FSIZE, limits)

    def serves() -> bool:
        try:
            with _redis(env) as redis:
                return redis.get("kept") == "yes" and _sql(env, "SELECT 1") == 1
        except (OSError, asyncpg.PostgresError, RedisError):
            return False

    _wait(serves, limit_s=20)
    _wait(lambda: all(ref.alive() for ref in _state(env).processes.values()))
    assert _state(env).supervisor == before.supervisor


def test_they_serve_until_the_last_user_is_gone(
    env: EnvironmentSettings, user: subprocess.Popen[bytes]
) -> None:
    ensure_services(env, while_pid=user.pid, simulator=False)
    ensure_services(env, while_pid=os.getpid(), simulator=False)
    release_services(env, while_pid=os.getpid())
    time.sleep(0.5)
    state = _state(env)
    assert state.state == "ready"
    user.kill()
    user.wait()
    _wait(lambda: _state(env).state == "stopped")
    assert not any(ref.alive() for ref in state.processes.values())


def test_a_killed_supervisor_takes_its_servers_along_and_the_next_one_starts(
    env: EnvironmentSettings,
) -> None:
    ensure_services(env, while_pid=os.getpid(), simulator=False)
    with _redis(env) as redis:
        redis.set("kept", "yes")
    before = _state(env)
    os.kill(before.supervisor.pid, signal.SIGKILL)
    _wait(lambda: not before.supervisor.alive())
    ensure_services(env, while_pid=os.getpid(), simulator=False)
    assert _state(env).supervisor != before.supervisor
    _wait(lambda: not any(ref.alive() for ref in before.processes.values()))
    with _redis(env) as redis:
        assert redis.get("kept") == "yes"


def test_many_that_ask_at_once_share_one_supervisor(env: EnvironmentSettings) -> None:
    script = (
        "import os, sys; from pathlib import Path;"
        "from serve_app.local import ensure_services;"
        "from serve_app.settings import EnvironmentSettings;"
        "ensure_services(EnvironmentSettings(data_dir=Path(sys.argv[1])),"
        " while_pid=os.getppid(), simulator=False)"
    )
    callers = [
        subprocess.Popen([sys.executable, "-c", script, str(env.data_dir)]) for _ in range(4)
    ]
    assert [caller.wait(timeout=60) for caller in callers] == [0, 0, 0, 0]
    running = [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if "serve_app.local" in (process.info["cmdline"] or [])
        and str(env.data_dir) in process.info["cmdline"]
    ]
    _wait(lambda: ProcessRef.of(_state(env).supervisor.pid) is not None)
    assert [pid for pid in running if pid == _state(env).supervisor.pid]
    logs = (env.data_dir / "logs" / "services.log").read_text()
    assert logs.count("local services ready") == 1


def test_the_simulator_runs_beside_them_and_knows_where_to_post(env: EnvironmentSettings) -> None:
    services = ensure_services(
        env,
        while_pid=os.getpid(),
        service_url="http://127.0.0.1:1",
        public_url="https://bot.example.com",
    )
    assert services.simulator_url is not None
    assert services.public_url == "https://bot.example.com"
    command = psutil.Process(_state(env).processes["simulator"].pid).cmdline()
    assert "http://127.0.0.1:1/webhooks/twilio" in command
    assert "https://bot.example.com/webhooks/twilio" in command
    # A process list is for everybody to read.
    assert not any(len(part) == 32 and part.isalnum() for part in command)


def test_with_both_stores_given_nothing_runs(tmp_path: Path) -> None:
    env = EnvironmentSettings.model_validate(
        {
            "data_dir": tmp_path / "data",
            "redis_url": "redis://elsewhere",
            "database_url": "postgresql://elsewhere",
        }
    )
    assert ensure_services(env, while_pid=os.getpid()).redis_url is None
    assert not (tmp_path / "data").exists()


def test_a_server_that_cannot_start_is_one_clear_line(
    env: EnvironmentSettings, tmp_path: Path
) -> None:
    (env.data_dir / "postgres").mkdir(parents=True)
    (env.data_dir / "postgres" / "PG_VERSION").write_text("9\n")
    with pytest.raises(LocalError, match="postgres stopped with status") as caught:
        ensure_services(env, while_pid=os.getpid(), simulator=False)
    assert "\n" not in str(caught.value)
    assert not (env.data_dir / "users" / str(os.getpid())).exists()
    failed = _state(env)
    assert failed.state == "failed"
    assert failed.processes == {}
