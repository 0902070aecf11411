"""The row in which a node of a Ray cluster dies: raylets on this machine, joined to `recado up`. In full
every replica is on one of two nodes, in small one of two workers and what else comes there."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx2
import psutil
import yaml

from serve_app.cli.serve_api import authorization, parse_deployments
from tests.e2e.product import Product, free_port_block, write_config
from tests.faults.campaign import Context, Outcome, Row
from tests.faults.rows.rays import MUST, dashboard_port, deploy, under_load

SPARE = "spare"
"""A resource that only the joined nodes have; what asks for it can't run on the head."""
MOVED = {"Worker", "Sender", "Transcriber", "ChatModel", "Ingress"}
REPLICA = re.compile(r"ServeReplica:recado:(\w+)")


class Node:
    """One more raylet, as `ray.cluster_utils.Cluster.add_node` starts one, killed with all it runs."""

    def __init__(self, product: Product, *, number: int, folder: Path) -> None:
        # What the node starts is known by this variable: a worker is no child of ours.
        self._mark = f"{folder.name}-{number}"
        command = [
            str(Path(sys.executable).parent / "ray"),
            *("start", "--address", gcs_address(product), "--node-ip-address", "127.0.0.1"),
            *("--num-cpus", "4", "--resources", json.dumps({SPARE: 10})),
            *("--object-store-memory", str(100 * 1024**2), "--disable-usage-stats"),
        ]
        environment = {
            **_environment_of(product),
            "RECADO_TEST_NODE": self._mark,
            "COLUMNS": "200",
        }
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=90, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def processes(self) -> list[psutil.Process]:
        found: list[psutil.Process] = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("RECADO_TEST_NODE") == self._mark:
                    found.append(process)
        return found

    def replicas(self) -> list[str]:
        return replicas_among(self.processes())

    def kill(self) -> int:
        """As if somebody pulled its plug. The raylet first, so that it replaces nothing."""
        found = self.processes()
        found.sort(key=lambda process: "raylet" not in process.name())
        for process in found:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(found, timeout=20)
        return len(found)


def _environment_of(product: Product) -> dict[str, str]:
    """What the head's raylet has: addresses, secrets and limits, less what Ray gives each process."""
    raylet = _raylet(product)
    keep = ("RECADO_", "RAY_SERVE_", "RAY_AUTH_", "RAY_USAGE_", "RAY_worker_", "HF_", "TOKENIZERS_")
    ours = {name: value for name, value in raylet.environ().items() if name.startswith(keep)}
    return {**os.environ, **ours}


def _raylet(product: Product) -> psutil.Process:
    return next(p for p in product.processes() if p.name() == "raylet")


def gcs_address(product: Product) -> str:
    options = _raylet(product).cmdline()
    return next(o.partition("=")[2] for o in options if o.startswith("--gcs-address="))


class Cluster:
    """`recado up` as the head, and two nodes to which every replica is moved."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port_block()
        self._config = write_config(
            folder / "config.yaml",
            port=self._port,
            args={"queue": {"lease_s": 3.0, "max_attempts": 10, "backoff_base_s": 0.4}},
        )
        self.product = Product(folder=folder, port=self._port, config=self._config)
        self.nodes: list[Node] = []

    def start(self) -> None:
        started = self.product.up()
        assert started.returncode == 0, started.stdout + started.stderr
        for number in range(2):
            self.nodes.append(Node(self.product, number=number, folder=self._folder))
        deploy(self.product, self._moved())
        self._await_moved(seconds=150)

    def stop(self) -> None:
        # In this order: without its replicas the product would wait for what they had in flight.
        self.product.down()
        for node in self.nodes:
            node.kill()

    def _moved(self) -> Path:
        document = yaml.safe_load(self._config.read_text())
        for deployment in document["applications"][0]["deployments"]:
            options = deployment.setdefault("ray_actor_options", {"num_cpus": 0.2})
            options["resources"] = {SPARE: 0.1}
            if deployment["name"] == "Worker":
                del deployment["autoscaling_config"]
                deployment["num_replicas"] = 4
        path = self._folder / "moved.yaml"
        path.write_text(yaml.safe_dump(document))
        return path

    def _await_moved(self, *, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            there = [name for node in self.nodes for name in node.replicas()]
            everywhere = replicas_among(self.product.processes())
            if set(there) >= MOVED and len(everywhere) == len(there):
                self.product.await_ready()
                return
            time.sleep(0.5)
        raise AssertionError(f"not all moved: {sorted(everywhere)}, of them {sorted(there)}")


def replicas_among(processes: list[psutil.Process]) -> list[str]:
    """The names of the deployments whose replicas are among them."""
    names: list[str] = []
    for process in processes:
        with contextlib.suppress(psutil.Error):
            found = REPLICA.search(" ".join(process.cmdline()))
            if found:
                names.append(found.group(1))
    return names


async def node_killed(context: Context) -> Outcome:
    return await (_one_worker if context.scale == "small" else _most_replicas)(context)


async def _most_replicas(context: Context) -> Outcome:
    """The node that holds the most, on a cluster of its own."""
    with tempfile.TemporaryDirectory(prefix="recado-nodes-") as name:
        cluster = Cluster(Path(name))

        async def strike(_: Product) -> str:
            victim = max(cluster.nodes, key=lambda node: len(node.replicas()))
            return await asyncio.to_thread(_kill, victim)

        try:
            await asyncio.to_thread(cluster.start)
            return await under_load(
                context, strike, contacts=100, over_s=60.0, product=cluster.product
            )
        finally:
            await asyncio.to_thread(cluster.stop)


async def _one_worker(context: Context) -> Outcome:
    """One that joins the product of other rows. `serve deploy` replaces what `recado up` deployed, so that
    other replicas come to it too."""
    product = context.product()
    node = await asyncio.to_thread(Node, product, number=0, folder=context.folder)

    def spread() -> None:
        document = yaml.safe_load(product.config.read_text())
        for deployment in document["applications"][0]["deployments"]:
            if deployment["name"] == "Worker":
                del deployment["autoscaling_config"]
                deployment |= {"num_replicas": 2, "max_replicas_per_node": 1}
        path = context.folder / "spread.yaml"
        path.write_text(yaml.safe_dump(document))
        deploy(product, path)
        deadline = time.monotonic() + 120
        while "Worker" not in (there := node.replicas()) or not _is_deployed(product):
            assert time.monotonic() < deadline, f"on the node: {there}"
            time.sleep(0.5)
        product.await_ready()

    async def strike(_: Product) -> str:
        return await asyncio.to_thread(_kill, node)

    try:
        await asyncio.to_thread(spread)
        return await under_load(context, strike, contacts=20, over_s=6.0)
    finally:
        await asyncio.to_thread(node.kill)
        await asyncio.to_thread(deploy, product, product.config)


def _is_deployed(product: Product) -> bool:
    url = f"http://127.0.0.1:{dashboard_port(product)}/api/serve/applications/"
    answer = httpx2.get(url, headers=authorization(), timeout=10, trust_env=False)
    return all(each.status == "HEALTHY" for each in parse_deployments(answer.json()))


def _kill(node: Node) -> str:
    lost = sorted(set(node.replicas()))
    node.kill()
    return f"a node killed with its replicas of {', '.join(lost)}"


ROWS = (
    Row(
        "ray-node",
        "a node of the cluster killed",
        MUST,
        node_killed,
        ray=True,
    ),
)
