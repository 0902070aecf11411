"""Acknowledging webhooks: our ingress against the same check and a bare XADD elsewhere."""

from __future__ import annotations

import asyncio
import itertools
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlencode

import httpx2
from pydantic import SecretStr

from models.accounts import TwilioAccount
from models.errors import RecadoError
from serve_app.bootstrap import open_stores, read_environment
from serve_app.channels.twilio.signature import sign
from serve_app.cli.bench import ack_peer
from serve_app.cli.bench.http_load import LoadResult, drive, encode_post
from serve_app.cli.bench.machine import describe_machine, free_port, free_port_block
from serve_app.cli.bench.plot import Point, load_panels, write_svg
from serve_app.cli.bench.rounds import load_average, ratio
from serve_app.cli.bench.stores import own_environment
from serve_app.cli.ray_environment import ray_environment
from serve_app.cli.run_state import Ports
from serve_app.demo_owner import load_demo_owner
from serve_app.local.environment import required
from serve_app.local.layout import DataDir
from serve_app.local.services import ensure_services, release_services
from serve_app.settings import AppSettings, StoreSettings
from serve_app.store.migrate import migrate

PUBLIC_URL = "http://127.0.0.1:8000"
"""What is signed. A loopback address as `./recado up` has it, with which the console is on."""
PATH = "/webhooks/twilio"
SWEEP = (1, 2, 4, 8, 16, 32, 64)
SIDES = ("recado", "uvicorn", "serve defaults")


def run(*, rounds: int, seconds: float, connections: int, plot: Path | None) -> dict[str, object]:
    """The report: requests/s at `connections` and p50 at one connection, and the ratios."""
    with own_environment({"RECADO_PUBLIC_URL": PUBLIC_URL}) as env:
        services = ensure_services(env, while_pid=os.getpid(), simulator=False)
        try:
            account = TwilioAccount(
                id="bench",
                owner_id=load_demo_owner()[0].id,
                account_sid="AC" + secrets.token_hex(16),
                auth_token=SecretStr(secrets.token_hex(16)),
            )
            asyncio.run(_store(account))
            if services.redis_url is None:
                raise RecadoError("the local Valkey gave no address; see logs/services.log")
            with ExitStack() as stack:
                urls = _start_sides(stack, DataDir.at(env.data_dir), services.redis_url, account)
                return asyncio.run(_measure(urls, account, rounds, seconds, connections, plot))
        finally:
            release_services(env, while_pid=os.getpid())


async def _store(account: TwilioAccount) -> None:
    settings = AppSettings()
    env = read_environment(settings)
    await migrate(required(env.database_url, "DATABASE_URL").get_secret_value(), StoreSettings())
    async with open_stores(settings, env) as stores:
        await stores.owners.save(load_demo_owner()[0])
        await stores.accounts.save(account)


def _start_sides(
    stack: ExitStack, data_dir: DataDir, redis_url: str, account: TwilioAccount
) -> dict[str, str]:
    peer = {
        ack_peer.REDIS_URL: redis_url,
        ack_peer.TOKEN: account.auth_token.get_secret_value(),
        ack_peer.SIGNED_URL: PUBLIC_URL + PATH,
    }
    ports = {side: free_port() for side in SIDES}
    server = [sys.executable, "-m", "serve_app.cli.bench.ack_server"]
    fast = ray_environment(
        data_dir,
        Ports(
            http=ports["recado"],
            simulator=free_port(),
            dashboard=free_port(),
            fallback=free_port(),
            haproxy_stats=free_port(),
            haproxy_metrics=free_port(),
            ray_metrics=free_port(),
            replicas=free_port_block(),
        ),
        offline=True,
    )
    defaults = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "token",
        # By default Ray lets its workers give way to all else: a busy machine would measure the others.
        "RAY_worker_niceness": "0",
    }
    uvicorn = [sys.executable, "-m", "uvicorn", "--factory", f"{ack_peer.__name__}:create_peer"]
    uvicorn += ["--port", str(ports["uvicorn"]), "--no-access-log", "--log-level", "warning"]
    commands = {
        "recado": ([*server, "recado", str(ports["recado"])], fast),
        "uvicorn": (uvicorn, peer),
        "serve defaults": (
            [*server, "peer", str(ports["serve defaults"])],
            {**defaults, **peer},
        ),
    }
    for command, variables in commands.values():
        stack.enter_context(_process(command, variables))
    urls = {side: f"http://127.0.0.1:{port}{PATH}" for side, port in ports.items()}
    for side, url in urls.items():
        _await_answer(side, url)
    return urls


@contextmanager
def _process(command: list[str], variables: dict[str, str]) -> Generator[None]:
    process = subprocess.Popen(  # noqa: S603 -- our own modules
        command,
        env={**os.environ, **variables},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        if process.stdin:
            process.stdin.close()
        if "uvicorn" in command:
            process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


def _await_answer(side: str, url: str, *, timeout_s: float = 240.0) -> None:
    """An unsigned webhook is refused: 403 says that everything behind the route is there."""
    deadline = time.monotonic() + timeout_s
    answer = "no answer"
    while time.monotonic() < deadline:
        try:
            response = httpx2.post(url, data={"AccountSid": "AC0"}, timeout=5.0, trust_env=False)
            answer = str(response.status_code)
        except httpx2.HTTPError as error:
            answer = type(error).__name__
        if answer == "403":
            return
        time.sleep(0.2)
    raise RecadoError(f"the side '{side}' isn't ready after {timeout_s:g} s: {answer}")


async def _measure(
    urls: dict[str, str],
    account: TwilioAccount,
    rounds: int,
    seconds: float,
    connections: int,
    plot: Path | None,
) -> dict[str, object]:
    numbers = itertools.count()
    busy: dict[str, list[LoadResult]] = {side: [] for side in urls}
    alone: dict[str, list[LoadResult]] = {side: [] for side in urls}
    for url in urls.values():
        await drive(url, _requests(url, account, numbers, 500), connections=8, seconds=5)
    for _ in range(rounds):
        for side, url in urls.items():
            # More than any side can take in that time.
            feed = _requests(url, account, numbers, int(6_000 * seconds))
            busy[side].append(await drive(url, feed, connections=connections, seconds=seconds))
            feed = _requests(url, account, numbers, int(3_000 * seconds))
            alone[side].append(await drive(url, feed, connections=1, seconds=seconds / 2))
    machine = {
        **describe_machine("ray", "fastapi", "uvicorn", "redis"),
        "load average": load_average(),
    }
    if plot is not None:
        points = await _sweep(urls, account, numbers, seconds)
        panels = load_panels(points, what="webhooks")
        write_svg(plot, panels, note=", ".join(f"{k} {v}" for k, v in machine.items()))
    rates = {side: [r.per_second for r in results] for side, results in busy.items()}
    p50 = {side: [r.quantile_s(0.5) for r in results] for side, results in alone.items()}
    return {
        "machine": machine,
        "rounds": rounds,
        "connections": connections,
        "requests_per_s": rates,
        "p99_ms": {
            side: [1000 * r.quantile_s(0.99) for r in results] for side, results in busy.items()
        },
        "p50_ms_one_connection": {s: [1000 * v for v in values] for s, values in p50.items()},
        "refused": {side: sum(r.refused for r in results) for side, results in busy.items()},
        "ratios": {
            "requests/s against bare uvicorn (target 1.0 or more)": ratio(
                rates["recado"], rates["uvicorn"]
            ),
            "requests/s against Serve's defaults (target 11 or more)": ratio(
                rates["recado"], rates["serve defaults"]
            ),
            "p50 at one connection against bare uvicorn (target 1.2 or less)": ratio(
                p50["recado"], p50["uvicorn"]
            ),
        },
    }


async def _sweep(
    urls: dict[str, str], account: TwilioAccount, numbers: itertools.count[int], seconds: float
) -> dict[str, list[Point]]:
    points: dict[str, list[Point]] = {side: [] for side in urls}
    for connections in SWEEP:
        for side, url in urls.items():
            feed = _requests(url, account, numbers, int(6_000 * seconds))
            result = await drive(url, feed, connections=connections, seconds=seconds)
            p50_ms = 1000 * result.quantile_s(0.5)
            points[side].append(Point(connections, result.per_second, p50_ms))
    return points


def _requests(
    url: str, account: TwilioAccount, numbers: itertools.count[int], count: int
) -> list[bytes]:
    token = account.auth_token.get_secret_value()
    requests: list[bytes] = []
    for number in itertools.islice(numbers, count):
        params = {
            "MessageSid": f"SM{number:032x}",
            "SmsMessageSid": f"SM{number:032x}",
            "AccountSid": account.account_sid,
            "From": f"whatsapp:+1555{number % 1000:07d}",
            "To": "whatsapp:+15550142700",
            "Body": "what time do you open on saturday?",
            "NumMedia": "0",
            "NumSegments": "1",
            "SmsStatus": "received",
            "ApiVersion": "2010-04-01",
            "ProfileName": "Ana",
            "WaId": f"1555{number % 1000:07d}",
            "MessageType": "text",
        }
        signature = sign(token, PUBLIC_URL + PATH, params.items())
        body = urlencode(params).encode()
        requests.append(encode_post(url, body, {"X-Twilio-Signature": signature}))
    return requests
