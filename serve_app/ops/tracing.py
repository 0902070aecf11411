"""OpenTelemetry spans from the webhook to the delivery report, across processes.

`RECADO_OTLP_ENDPOINT` switches them on; without it nothing is made. A job's `trace` carries W3C's
`traceparent`, so that whoever takes it goes on where its publisher was. The provider is this object's
own: Ray Serve sets the process' global one for its own spans, which join through the current context.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio
from opentelemetry.trace import Link, SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from serve_app.settings import EnvironmentSettings

EXPORT_EVERY_MS = 1_000
EXPORT_TIMEOUT_S = 5.0
TRACEPARENT = "traceparent"

_propagator = TraceContextTextMapPropagator()

Attribute = str | int | float | bool


class Tracing:
    """Makes spans, or does nothing if it has no tracer."""

    def __init__(self, tracer: trace.Tracer | None = None) -> None:
        self._tracer = tracer

    @property
    def on(self) -> bool:
        return self._tracer is not None

    @contextmanager
    def span(
        self,
        name: str,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        parent: Mapping[str, str] | None = None,
        links: Sequence[Mapping[str, str]] = (),
        **attributes: Attribute,
    ) -> Generator[trace.Span]:
        """The current span for the block. Its parent is that of `parent`'s `traceparent`, else the current
        one; an error that leaves the block is recorded."""
        if self._tracer is None:
            yield trace.INVALID_SPAN
            return
        with self._tracer.start_as_current_span(
            name,
            context=_context(parent),
            kind=kind,
            links=[link for carrier in links if (link := _link(carrier)) is not None],
            attributes=attributes,
        ) as span:
            yield span

    def past(
        self, name: str, *, began: float, ended: float, parent: Mapping[str, str] | None = None
    ) -> None:
        """A span of what is over; times are seconds since the epoch."""
        if self._tracer is None:
            return
        began = min(began, ended)
        span = self._tracer.start_span(
            name, context=_context(parent), start_time=int(began * 1_000_000_000)
        )
        span.end(end_time=int(ended * 1_000_000_000))


def trace_headers() -> dict[str, str]:
    """The current span for a job's `trace`; empty where there is none."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return carrier


@asynccontextmanager
async def open_tracing(env: EnvironmentSettings, *, service: str) -> AsyncGenerator[Tracing]:
    """Spans that weren't exported yet leave at the end, within the exporter's time limit."""
    if env.otlp_endpoint is None:
        yield Tracing()
        return
    provider = TracerProvider(
        resource=Resource.create(
            {"service.name": f"recado-{service}", "service.namespace": "recado"}
        ),
        sampler=ParentBasedTraceIdRatio(env.trace_sample),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(_processor(env.otlp_endpoint))
    try:
        yield Tracing(provider.get_tracer("recado"))
    finally:
        await asyncio.to_thread(provider.shutdown)


def serve_span_processors() -> list[SpanProcessor]:
    """For `RAY_SERVE_TRACING_EXPORTER_IMPORT_PATH`: Ray Serve's own spans to the same place."""
    endpoint = EnvironmentSettings().otlp_endpoint
    return [] if endpoint is None else [_processor(endpoint)]


def serve_tracing_environment(env: EnvironmentSettings) -> dict[str, str]:
    """What makes Ray Serve trace; empty where tracing is off. Serve reads it when it starts."""
    if env.otlp_endpoint is None:
        return {}
    return {
        "RAY_SERVE_TRACING_EXPORTER_IMPORT_PATH": "serve_app.ops.tracing:serve_span_processors",
        "RAY_SERVE_TRACING_SAMPLING_RATIO": str(env.trace_sample),
        "OTEL_SERVICE_NAME": "recado-serve",
    }


def _processor(endpoint: str) -> BatchSpanProcessor:
    # Who doesn't trace doesn't load it.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    exporter = OTLPSpanExporter(
        endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_TIMEOUT_S
    )
    return BatchSpanProcessor(exporter, schedule_delay_millis=EXPORT_EVERY_MS)


def _context(carrier: Mapping[str, str] | None) -> Context | None:
    """None is the current context."""
    if not carrier or TRACEPARENT not in carrier:
        return None
    return _propagator.extract(carrier)


def _link(carrier: Mapping[str, str]) -> Link | None:
    context = _context(carrier)
    if context is None:
        return None
    return Link(trace.get_current_span(context).get_span_context())
