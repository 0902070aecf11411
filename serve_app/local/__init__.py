"""What a single machine runs beside Ray: embedded Valkey and Postgres, and the simulator."""

from serve_app.local.environment import effective_environment
from serve_app.local.layout import DataDir, LocalError
from serve_app.local.secrets import LocalSecrets, ensure_secrets, read_secrets
from serve_app.local.services import LocalServices, ensure_services, release_services

__all__ = [
    "DataDir",
    "LocalError",
    "LocalSecrets",
    "LocalServices",
    "effective_environment",
    "ensure_secrets",
    "ensure_services",
    "read_secrets",
    "release_services",
]
