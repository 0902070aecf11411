"""Ray Serve as its dashboard's REST API tells of it, for commands outside of the cluster."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import httpx2
from pydantic import BaseModel

_TOKEN_FILE = Path("~/.ray/auth_token")
_TIMEOUT_S = 5.0


class DeploymentState(BaseModel):
    """`replicas` by state (`RUNNING`, `STARTING`, …)."""

    name: str
    status: str
    message: str = ""
    target: int
    replicas: dict[str, int]

    @property
    def running(self) -> int:
        return self.replicas.get("RUNNING", 0)


def authorization() -> dict[str, str]:
    """The header that Ray's token authentication asks for; none where there is no token."""
    token = os.environ.get("RAY_AUTH_TOKEN")
    if not token:
        path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or _TOKEN_FILE).expanduser()
        try:
            token = path.read_text("utf-8").strip()
        except OSError:
            return {}
    return {"Authorization": f"Bearer {token}"}


async def read_deployments(dashboard_url: str) -> list[DeploymentState]:
    """Raises httpx2' errors."""
    async with httpx2.AsyncClient(timeout=_TIMEOUT_S, trust_env=False) as http:
        answer = await http.get(f"{dashboard_url}/api/serve/applications/", headers=authorization())
        answer.raise_for_status()
    return parse_deployments(answer.json())


def parse_deployments(document: dict[str, Any]) -> list[DeploymentState]:
    found: list[DeploymentState] = []
    for application in document.get("applications", {}).values():
        for name, deployment in application.get("deployments", {}).items():
            replicas: dict[str, int] = {}
            for replica in deployment.get("replicas", ()):
                state = str(replica.get("state", "UNKNOWN"))
                replicas[state] = replicas.get(state, 0) + 1
            found.append(
                DeploymentState(
                    name=name,
                    status=str(deployment.get("status", "")),
                    message=str(deployment.get("message", "")),
                    target=int(deployment.get("target_num_replicas") or 0),
                    replicas=replicas,
                )
            )
    return found
