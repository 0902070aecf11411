"""Ray's own export of the running product, read by a real Prometheus with the shipped rules."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serve_app.settings import PROJECT_ROOT
from tests.e2e.product import NOTES, Product
from tests.fixtures.prometheus import Prometheus, run_prometheus

QUIET = ("RecadoSilent", "RecadoStoreAway")

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420)]


@pytest.fixture(scope="module")
def target(product: Product) -> str:
    run = json.loads((product.data_dir / "run.json").read_text())
    return f"127.0.0.1:{run['ports']['ray_metrics']}"


@pytest.fixture(scope="module")
def prometheus(
    target: str, prometheus_bin: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("prometheus")
    with run_prometheus(prometheus_bin, folder, target=target) as running:
        running.await_value("min(ray_recado_store_up)", 1)
        yield running


def test_a_text_and_a_voice_note_move_every_figure(
    product: Product, prometheus: Prometheus
) -> None:
    accepted = 'sum(ray_recado_webhooks_total{kind="message",outcome="accepted"})'
    sent = 'sum(ray_recado_sends_total{outcome="sent"})'
    before = {each: prometheus.value(each) for each in (accepted, sent)}
    note = str(NOTES / "hours-saturday.ogg")
    for said in (
        product.say("where are you", phone="whatsapp:+15557000001"),
        product.say("--audio", note, phone="whatsapp:+15557000002"),
    ):
        assert said.returncode == 0, said.stdout + said.stderr
    for each in (accepted, sent):
        assert prometheus.await_value(each, before[each] + 2) == before[each] + 2
    for stage in ("queued", "record", "resolve", "transcribe", "answer", "commit", "send"):
        prometheus.await_value(f'sum(ray_recado_stage_seconds_count{{stage="{stage}"}})', 2)
    for queue in ("inbound", "outbound", "status"):
        prometheus.await_value(f'sum(ray_recado_queue_wait_seconds_count{{queue="{queue}"}})', 2)
        prometheus.await_value(
            f'sum(ray_recado_queue_processing_seconds_count{{queue="{queue}"}})', 2
        )
    prometheus.await_value("sum(ray_recado_reply_seconds_count)", 2)
    prometheus.await_value("sum(ray_recado_model_tokens_total)", 10)
    prometheus.await_value("sum(ray_recado_model_audio_seconds_total)", 1)
    prometheus.await_value('sum(ray_recado_delivery_reports_total{status="delivered"})', 2)
    # Serve sets these only at its health checks, less often than they are exported here.
    healthy = 'ray_serve_deployment_replica_healthy{application="recado"}'
    prometheus.await_value(f"sum(max_over_time({healthy}[1m]))", 5)


def test_every_panel_of_the_dashboard_shows_something(prometheus: Prometheus) -> None:
    """Panels of what went wrong may be empty while nothing did."""
    dashboard = json.loads((PROJECT_ROOT / "ops" / "grafana" / "recado.json").read_text())
    expected = {"Retries", "New dead letters"}
    deadline = time.monotonic() + 30
    # A rate needs two samples of a series.
    while (empty := _empty(dashboard, prometheus)) - expected:
        assert time.monotonic() < deadline, empty
        time.sleep(1)


def _empty(dashboard: dict[str, Any], prometheus: Prometheus) -> set[str]:
    return {
        panel["title"]
        for panel in dashboard["panels"]
        for each in panel.get("targets", ())
        if not prometheus.query(f"last_over_time(({_over(each['expr'])})[1m:1s])")
    }


def _over(expression: str) -> str:
    return expression.replace("$__rate_interval", "5m")


def test_every_rule_can_be_evaluated(prometheus: Prometheus) -> None:
    """And nothing is wrong: a rule may be pending until it has seen enough."""
    deadline = time.monotonic() + 40

    def quiet() -> bool:
        rules = prometheus.rules()
        well = {rule["health"] for rule in rules.values()} == {"ok"}
        return well and all(rules[name]["state"] == "inactive" for name in QUIET)

    while not quiet():
        assert time.monotonic() < deadline, prometheus.rules()
        time.sleep(0.3)
