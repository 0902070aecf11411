"""`recado status`, `doctor` and `tail` on the running product."""

from __future__ import annotations

import json
import subprocess
import sys

import psutil
import pytest
from cryptography.fernet import Fernet

from tests.e2e.product import Product

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420)]


def test_status_says_that_it_is_well(product: Product) -> None:
    done = product.recado("status", "--json")
    found = json.loads(done.stdout)
    assert found["ready"]
    assert {each["name"] for each in found["deployments"]} >= {"Ingress", "Worker", "Sender"}
    assert {queue["queue"] for queue in found["queues"]} == {"inbound", "outbound", "status"}
    assert done.returncode == (0 if found["healthy"] else 1)
    assert "replicas" in product.recado("status").stdout


def test_status_of_an_ill_product_says_what_is_wrong_and_what_to_do(product: Product) -> None:
    services = json.loads((product.data_dir / "services.json").read_text())
    valkey = psutil.Process(services["processes"]["valkey"]["pid"])
    valkey.suspend()
    try:
        done = product.recado("status", "--json")
        shown = product.recado("status")
    finally:
        valkey.resume()
    product.await_ready()
    assert (done.returncode, shown.returncode) == (1, 1), done.stdout + shown.stdout
    found = json.loads(done.stdout)
    assert found["running"]
    assert not found["healthy"]
    assert found["parts"]["postgres"] == "ok"
    wrong = {problem["what"].split(":")[0]: problem for problem in found["problems"]}
    assert wrong["redis"]["serious"]
    assert "outages.md" in wrong["redis"]["action"]
    assert "not healthy" in shown.stdout
    assert "docs/operations/outages.md" in shown.stdout


def test_status_of_a_service_that_up_did_not_start_here(product: Product) -> None:
    """As on a cluster: an address, and the stores of the environment."""
    services = json.loads((product.data_dir / "services.json").read_text())
    here = {
        "RECADO_DATA_DIR": str(product.data_dir.parent / "elsewhere"),
        "RECADO_REDIS_URL": services["redis_url"],
        "RECADO_DATABASE_URL": services["database_url"],
        "RECADO_SECRET_KEY": Fernet.generate_key().decode(),
        "RECADO_PUBLIC_URL": product.url,
    }
    done = subprocess.run(
        [sys.executable, "-m", "serve_app.cli", "status", "--json"],
        env={**product.environment, **here},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    found = json.loads(done.stdout)
    assert (done.returncode, found["ready"], found["url"]) == (0, True, product.url), done.stdout
    assert {queue["queue"] for queue in found["queues"]} == {"inbound", "outbound", "status"}
    assert found["parts"]["worker"] == "ok"


def test_doctor_finds_the_demo_account_well(product: Product) -> None:
    done = product.recado(
        "doctor", "--account", "demo-twilio", "--json", "--config", str(product.config)
    )
    assert done.returncode == 0, done.stdout + done.stderr
    findings = {finding["check"]: finding["level"] for finding in json.loads(done.stdout)}
    assert findings["demo-twilio signature round trip"] == "ok"
    assert findings["demo-twilio webhook of whatsapp:+15550142700"] == "ok"
    assert findings["redis appendfsync"] == "ok"
    assert findings["postgres synchronous_commit"] == "ok"
    assert findings["speech model"] == "warning"


def test_tail_shows_a_message_through_all_processes(product: Product) -> None:
    assert product.say("where are you", phone="whatsapp:+15557000021").returncode == 0
    log = (product.data_dir / "logs" / "recado.log").read_text()
    entries = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    accepted = [entry for entry in entries if entry["event"] == "webhook_accepted"][-1]
    done = product.recado("tail", accepted["message_id"], "--no-follow")
    assert done.returncode == 0, done.stderr
    for event in ("webhook_accepted", "turn_finished", "reply_sent"):
        assert event in done.stdout
    missing = product.recado("tail", "nobody", "--no-follow")
    assert missing.returncode == 1
    assert "No line about nobody" in missing.stderr
