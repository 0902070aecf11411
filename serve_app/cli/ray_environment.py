"""Environment of Ray's processes. Ray and Serve read it when they start, and hand it to every replica."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from serve_app.cli.run_state import Ports
from serve_app.local.layout import DataDir, make_private
from serve_app.ops.logging import LOG_FILE_VARIABLE
from serve_app.ops.tracing import serve_tracing_environment
from serve_app.settings import EnvironmentSettings

HTTP_CALLBACK_VARIABLE = "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"
HTTP_CALLBACK = "serve_app.api.undisturbed:middlewares"


def has_haproxy() -> bool:
    """Ray ships HAProxy for Linux only."""
    return sys.platform == "linux"


def log_file(data_dir: DataDir) -> Path:
    """JSON lines of all processes."""
    return data_dir.logs / "recado.log"


def ray_environment(data_dir: DataDir, ports: Ports, *, offline: bool) -> dict[str, str]:
    """`offline` keeps the model hub's client from asking for anything."""
    variables = {
        "RAY_USAGE_STATS_ENABLED": "0",
        # Ray's default for a local cluster, chosen here so that it doesn't explain itself: whoever else
        # works on this machine can't run code in it.
        "RAY_AUTH_MODE": os.environ.get("RAY_AUTH_MODE", "token"),
        # Ray runs its workers at nice 15, behind everything else on the machine, HAProxy included: here
        # somebody waits for them.
        "RAY_worker_niceness": "0",
        # As many replicas as the service has start at once, not one a core: starting is mostly reading
        # modules, and the replica that loads longest should not wait its turn.
        "RAY_worker_maximum_startup_concurrency": "6",
        "RECADO_DATA_DIR": str(data_dir.root),
        LOG_FILE_VARIABLE: str(log_file(data_dir)),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    if offline:
        variables["HF_HUB_OFFLINE"] = "1"
    variables |= serve_tracing_environment(EnvironmentSettings())
    if has_haproxy():
        variables |= _haproxy(data_dir, ports)
    return variables


def _haproxy(data_dir: DataDir, ports: Ports) -> dict[str, str]:
    folder = data_dir.short
    make_private(folder)
    return {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "metrics.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(ports.haproxy_stats),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(ports.haproxy_metrics),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(ports.fallback),
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(ports.replicas),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(ports.replicas + 99),
        # Each of its threads has its own connections to the replicas; one carries more than two cores' worth
        # of replicas can answer.
        "RAY_SERVE_HAPROXY_NBTHREAD": "1" if (os.cpu_count() or 1) <= 2 else "2",
        # Serve's manager would read a line about each request from HAProxy, in Python, and count it: a tenth
        # of what a webhook costs. The replicas count the same figures on their own.
        "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
        # Nobody listens there; of a thousand requests one is still told, for whoever does.
        "RAY_SERVE_HAPROXY_LOG_TARGET": "127.0.0.1:514 sample 1:1000",
        HTTP_CALLBACK_VARIABLE: os.environ.get(HTTP_CALLBACK_VARIABLE, HTTP_CALLBACK),
        # Serve keeps a replica open for 30 s after it was told to stop, for load balancers elsewhere
        # to notice. Ours is on this machine, and takes one health check's interval.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1",
        "RAY_SERVE_PROXY_MIN_DRAINING_PERIOD_S": "1",
        "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": "30",
    }
