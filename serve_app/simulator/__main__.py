"""`python -m serve_app.simulator`: run the simulator by itself."""

from __future__ import annotations

import argparse
import os
import sys

import uvicorn
from pydantic import SecretStr

from serve_app.simulator.app import create_simulator
from serve_app.simulator.settings import SimulatorSettings


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m serve_app.simulator", description="A stand-in for Twilio."
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8001)
    parser.add_argument("--base-url", help="where it is reached; default http://HOST:PORT")
    parser.add_argument("--webhook-url", required=True, help="where inbound messages are posted")
    parser.add_argument("--public-webhook-url", help="the URL that is signed, if it differs")
    parser.add_argument("--account-sid", required=True)
    parser.add_argument(
        "--auth-token-env", default="RECADO_SIM_TOKEN", help="variable that holds the token"
    )
    parser.add_argument("--number", action="append", default=[], help="a sender of the account")
    parser.add_argument("--early-404s", type=int, default=0)
    parser.add_argument("--enforce-window", action="store_true")
    parser.add_argument("--max-messages", type=int, default=50_000)
    parser.add_argument("--log-level", default="warning")
    options = parser.parse_args()
    token = os.environ.get(options.auth_token_env)
    if not token:
        sys.exit(f"set {options.auth_token_env} to the account's auth token")
    settings = SimulatorSettings(
        base_url=options.base_url or f"http://{options.host}:{options.port}",
        webhook_url=options.webhook_url,
        public_webhook_url=options.public_webhook_url,
        account_sid=options.account_sid,
        auth_token=SecretStr(token),
        numbers=tuple(options.number),
        early_404s=options.early_404s,
        enforce_window=options.enforce_window,
        max_messages=options.max_messages,
    )
    uvicorn.run(
        create_simulator(settings),
        host=options.host,
        port=options.port,
        log_level=options.log_level,
        access_log=False,
        timeout_graceful_shutdown=2,
    )


if __name__ == "__main__":
    main()
