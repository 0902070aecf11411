"""Ray's export, read without a Prometheus."""

from __future__ import annotations

import pytest

from serve_app.ops import instruments as i
from serve_app.ops.exposition import Scrape


def exported(a: int, b: int, slow: int) -> str:
    own = 'Component="core_worker",SessionName="s",otel_scope_name="x"'
    fast = a + b
    return f"""# HELP ray_recado_webhooks_total Webhooks.
# TYPE ray_recado_webhooks_total counter
ray_recado_webhooks_total{{{own},WorkerId="1",kind="message",outcome="accepted"}} {a}.0
ray_recado_webhooks_total{{{own},WorkerId="2",kind="message",outcome="accepted"}} {b}.0
# TYPE ray_recado_stage_seconds histogram
ray_recado_stage_seconds_bucket{{{own},stage="answer",le="0.1"}} {fast}.0
ray_recado_stage_seconds_bucket{{{own},stage="answer",le="0.25"}} {fast + slow}.0
ray_recado_stage_seconds_bucket{{{own},stage="answer",le="+Inf"}} {fast + slow}.0
ray_recado_stage_seconds_count{{{own},stage="answer"}} {fast + slow}.0
ray_recado_stage_seconds_sum{{{own},stage="answer"}} 1.0
# TYPE ray_node_cpu gauge
ray_node_cpu{{{own}}} 1.0
"""


def test_processes_are_summed_and_differences_taken() -> None:
    before, after = Scrape.parse(exported(3, 4, 0)), Scrape.parse(exported(13, 4, 10))
    grown = after.since(before)
    assert after.total(i.WEBHOOKS, outcome="accepted") == 17
    assert grown.total(i.WEBHOOKS, kind="message") == 10
    assert grown.total(i.WEBHOOKS, kind="status") == 0
    assert grown.count(i.STAGE_SECONDS, stage="answer") == 20


def test_quantiles_are_those_of_prometheus() -> None:
    grown = Scrape.parse(exported(13, 4, 10)).since(Scrape.parse(exported(3, 4, 0)))
    assert grown.quantile(i.STAGE_SECONDS, 0.5, stage="answer") == pytest.approx(0.1)
    assert grown.quantile(i.STAGE_SECONDS, 0.75, stage="answer") == pytest.approx(0.175)
    assert grown.quantile(i.STAGE_SECONDS, 0.5, stage="record") is None
