"""One trace from the webhook through the queues to the delivery report."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from serve_app.ops.tracing import Tracing, open_tracing, trace_headers
from serve_app.settings import EnvironmentSettings
from tests.fixtures.otlp import Collector, Span, run_collector
from tests.integration.chain.house import open_house

pytestmark = pytest.mark.integration

WAY = {
    "recado-ingress": {"webhook message"},
    "recado-worker": {
        "wait inbound",
        "process inbound",
        "record",
        "resolve",
        "transcribe",
        "answer",
        "commit",
    },
    "recado-sender": {"wait outbound", "process outbound", "send", "delivery report delivered"},
}


def way(spans: list[Span]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for span in spans:
        found.setdefault(span.service, set()).add(span.name)
    return found


def is_complete(collector: Collector) -> bool:
    for root in collector.named("webhook message"):
        found = way(collector.trace(root.trace))
        if all(names <= found.get(service, set()) for service, names in WAY.items()):
            return True
    return False


async def test_a_message_is_one_trace_from_the_webhook_to_the_report(
    valkey_url: str,
    redis_prefix: str,
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with run_collector() as collector:
        monkeypatch.setenv("RECADO_OTLP_ENDPOINT", collector.endpoint)
        async with open_house(
            redis_url=valkey_url,
            prefix=redis_prefix,
            database_url=database_url,
            folder=tmp_path,
            monkeypatch=monkeypatch,
        ) as house:
            await house.write("hello")
            await house.received()
            await asyncio.to_thread(collector.wait, lambda: is_complete(collector))
        (root,) = collector.named("webhook message")
        spans = {span.id: span for span in collector.trace(root.trace)}
        assert root.parent == ""
        for span in spans.values():
            assert span is root or span.parent in spans, span.name
            assert span.start <= span.end
            assert not span.failed
        names = {span.name: span for span in spans.values()}
        assert names["process inbound"].parent == root.id
        assert names["answer"].parent == names["process inbound"].id
        assert names["process outbound"].parent == names["commit"].id
        assert names["send"].parent == names["process outbound"].id
        # The report's webhook has a trace of its own, which is linked.
        reports = {span.trace for span in collector.named("webhook status")}
        assert set(names["delivery report delivered"].links) <= reports
        assert root.trace not in reports


async def test_nothing_is_made_without_an_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RECADO_OTLP_ENDPOINT", raising=False)
    async with open_tracing(EnvironmentSettings(), service="worker") as tracing:
        assert not tracing.on
        with tracing.span("webhook"):
            assert trace_headers() == {}


async def test_a_failure_is_on_its_span_and_a_broken_parent_is_a_new_trace() -> None:
    with run_collector() as collector:
        env = EnvironmentSettings(otlp_endpoint=collector.endpoint)
        async with open_tracing(env, service="worker") as tracing:
            with pytest.raises(ValueError, match="no"), tracing.span("fails"):
                raise ValueError("no")
            with tracing.span("orphan", parent={"traceparent": "garbage"}):
                assert trace_headers()["traceparent"].startswith("00-")
        assert collector.named("fails")[0].failed
        assert collector.named("orphan")[0].parent == ""


async def test_what_is_not_sampled_is_not_exported() -> None:
    with run_collector() as collector:
        env = EnvironmentSettings(otlp_endpoint=collector.endpoint, trace_sample=0.0)
        async with open_tracing(env, service="worker") as tracing:
            with tracing.span("webhook"):
                carried = trace_headers()
            assert not _sampled(carried)
            with tracing.span("process", parent=carried):
                assert not _sampled(trace_headers())
        assert collector.spans == []


def _sampled(carrier: dict[str, str]) -> bool:
    return bool(int(carrier["traceparent"][-2:], 16) & 1)


def test_an_unreachable_collector_harms_nobody() -> None:
    async def work() -> None:
        env = EnvironmentSettings(otlp_endpoint="http://127.0.0.1:9")
        async with open_tracing(env, service="worker") as tracing:
            assert isinstance(tracing, Tracing)
            with tracing.span("webhook"):
                pass

    asyncio.run(asyncio.wait_for(work(), 30))
