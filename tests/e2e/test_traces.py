"""Traces of the running product: one from webhook to delivery report, over all its processes."""

from __future__ import annotations

import pytest

from tests.e2e.product import NOTES, Product
from tests.fixtures.otlp import Collector, Span

STEPS = {"process inbound", "transcribe", "answer", "commit", "send", "delivery report delivered"}

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420)]


def test_a_voice_note_is_one_trace_over_all_processes(
    product: Product, collector: Collector
) -> None:
    before = {span.trace for span in collector.named("webhook message")}
    note = str(NOTES / "hours-saturday.ogg")
    assert product.say("--audio", note, phone="whatsapp:+15557000011").returncode == 0
    complete: list[list[Span]] = []

    def is_complete() -> bool:
        """Each process exports by itself, one sooner than another."""
        for root in collector.named("webhook message"):
            spans = collector.trace(root.trace)
            names = {span.name for span in spans}
            if root.trace not in before and names >= STEPS:
                complete[:] = [spans]
        return bool(complete)

    collector.wait(is_complete)
    (spans,) = complete
    services = {span.service for span in spans}
    assert {"recado-ingress", "recado-worker", "recado-sender"} <= services
    # Ray Serve's own spans of the calls to the models, made in the models' processes.
    collector.wait(lambda: _serve_spans(collector, spans[0].trace) >= 2)


def _serve_spans(collector: Collector, trace: str) -> int:
    return sum("ray.serve" in span.scope for span in collector.trace(trace))
