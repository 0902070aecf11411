"""Stores of a benchmark's own: what the environment names may be somebody's, and isn't touched."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager

from serve_app.settings import EnvironmentSettings

PREFIX = "RECADO_"


@contextmanager
def own_environment(variables: Mapping[str, str] | None = None) -> Generator[EnvironmentSettings]:
    """A data directory that goes afterwards, and `RECADO_*` variables that name it and nothing else but
    `variables`: a Redis or Postgres of the environment would be emptied or filled by what follows."""
    before = {name: value for name, value in os.environ.items() if name.startswith(PREFIX)}
    with tempfile.TemporaryDirectory(prefix="recado-bench-", ignore_cleanup_errors=True) as folder:
        for name in before:
            del os.environ[name]
        os.environ |= {"RECADO_DATA_DIR": folder, **(variables or {})}
        try:
            yield EnvironmentSettings()
        finally:
            for name in [name for name in os.environ if name.startswith(PREFIX)]:
                del os.environ[name]
            os.environ |= before
