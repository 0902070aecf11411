"""Every row, in the order in which they are told."""

from __future__ import annotations

from tests.faults.rows import nodes, provider, queues, rays, stores, workers

ROWS = (*workers.ROWS, *stores.ROWS, *provider.ROWS, *queues.ROWS, *rays.ROWS, *nodes.ROWS)
