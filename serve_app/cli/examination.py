"""What `recado doctor` looks at."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from collections.abc import Sequence

import httpx2

from models.accounts import TwilioAccount
from models.errors import InferenceError, RecadoError
from models.findings import Finding
from serve_app.bootstrap import Stores, open_stores, with_simulator
from serve_app.channels.registry import public_address
from serve_app.channels.twilio.inspection import TwilioInspector
from serve_app.channels.whatsapp_cloud.inspection import WhatsAppCloudInspector
from serve_app.cli.context import CliContext, CommandError
from serve_app.engines.registry import resolve_model
from serve_app.queue.inspection import inspect_redis
from serve_app.settings import AppSettings, ChatSettings, SpeechSettings
from serve_app.store.inspection import inspect_postgres

_HTTP_TIMEOUT_S = 10.0
_SMI_TIMEOUT_S = 10.0


async def examine(context: CliContext, *, account_id: str | None) -> list[Finding]:
    """Raises `CommandError` for an account that isn't stored."""
    findings = [*_address(context), *_models(context.settings)]
    try:
        async with open_stores(context.settings, context.environment) as stores:
            findings += await inspect_redis(stores.redis)
            findings += await inspect_postgres(stores.pool)
            accounts = await _accounts(stores, account_id)
    except CommandError:
        raise
    except RecadoError as error:
        action = (
            "Start it, or mend RECADO_DATABASE_URL; the accounts can't be looked at without it."
        )
        findings.append(Finding(check="postgres", level="failed", text=str(error), action=action))
        return findings
    if not accounts:
        action = "Describe the business in a file and store it: recado apply FILE."
        findings.append(
            Finding(check="accounts", level="failed", text="none is stored", action=action)
        )
    local = context.environment.simulator_url is not None
    async with httpx2.AsyncClient(timeout=_HTTP_TIMEOUT_S, trust_env=not local) as http:
        findings += await inspect_accounts(accounts, context, http=http)
    return findings


async def inspect_accounts(
    accounts: Sequence[TwilioAccount], context: CliContext, *, http: httpx2.AsyncClient
) -> list[Finding]:
    """Each at its own provider: one provider's secrets are nothing to another."""
    url = public_address(context.environment)
    inspectors: dict[str, TwilioInspector | WhatsAppCloudInspector] = {
        "twilio": TwilioInspector(
            settings=with_simulator(context.settings, context.environment).twilio,
            public_url=url,
            http=http,
        ),
        "whatsapp_cloud": WhatsAppCloudInspector(
            public_url=url, verify_token=context.environment.whatsapp_verify_token, http=http
        ),
    }
    findings: list[Finding] = []
    for account in accounts:
        inspector = inspectors.get(account.channel)
        if inspector is None:
            text = f"there is no channel {account.channel}"
            action = "Mend the owner's file and store it again: recado apply FILE."
            findings.append(Finding(check=account.id, level="failed", text=text, action=action))
        else:
            findings += await inspector.inspect(account)
    return findings


async def _accounts(stores: Stores, account_id: str | None) -> list[TwilioAccount]:
    found = [account for account in await stores.accounts.list_all() if account.active]
    if account_id is None:
        return found
    chosen = [account for account in found if account.id == account_id]
    if not chosen:
        raise CommandError(f"No active account {account_id} is stored: see `recado accounts list`.")
    return chosen


def _address(context: CliContext) -> list[Finding]:
    url = public_address(context.environment)
    if context.environment.simulator_url is not None:
        text = f"{url}; Twilio is the simulator here"
        return [Finding(check="public address", level="ok", text=text)]
    if url.startswith("https://"):
        return [Finding(check="public address", level="ok", text=url)]
    action = "Set RECADO_PUBLIC_URL to the https address that Twilio calls, up to the path."
    return [Finding(check="public address", level="failed", text=url, action=action)]


def _models(settings: AppSettings) -> list[Finding]:
    findings = [_model("speech", settings.speech)]
    if settings.chat.engine == "openai":
        well = settings.chat.base_url is not None
        findings.append(
            Finding(
                check="chat model",
                level="ok" if well else "failed",
                text=f"{settings.chat.model} at {settings.chat.base_url or 'no address'}",
                action="" if well else "Set chat.base_url to the server's address, up to /v1.",
            )
        )
    else:
        findings.append(_model("chat", settings.chat))
    findings.append(_gpu(settings))
    return findings


def _model(kind: str, settings: SpeechSettings | ChatSettings) -> Finding:
    check = f"{kind} model"
    try:
        found = resolve_model(settings.model, kind="speech" if kind == "speech" else "chat")
    except InferenceError as error:
        return Finding(check=check, level="failed", text=str(error), action=f"Mend {kind}.model.")
    if settings.model == "demo":
        action = f"Set {kind}.model to a real one (README, Real models)."
        text = "demo: it knows the demo café and little else"
        return Finding(check=check, level="warning", text=text, action=action)
    where = "on this disk" if not isinstance(found, str) else "from the model hub"
    return Finding(check=check, level="ok", text=f"{settings.model}, {where}")


def _gpu(settings: AppSettings) -> Finding:
    wanted = "cuda" in (settings.speech.device, settings.chat.device)
    names = _gpus()
    if names:
        libraries = importlib.util.find_spec("torch") is not None
        text = ", ".join(names) + ("" if libraries else "; torch is missing")
        return Finding(check="GPU", level="ok" if libraries else "failed", text=text)
    if wanted:
        action = (
            "Look at the driver (nvidia-smi), or set device to auto. Other nodes aren't looked at."
        )
        return Finding(
            check="GPU", level="failed", text="cuda is asked for, none is here", action=action
        )
    return Finding(check="GPU", level="ok", text="none here; the models run on CPU, or elsewhere")


def _gpus() -> list[str]:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    try:
        done = subprocess.run(  # noqa: S603 - found on PATH, fixed arguments
            [tool, "--query-gpu=name,memory.total", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=_SMI_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [line.strip() for line in done.stdout.splitlines() if line.strip()]
