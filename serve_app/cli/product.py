"""`python -m serve_app.cli.product`: the process that is the running product. Started by `recado up`.

It leads a session of its own, so that a Ctrl-C in the terminal reaches it alone, through `recado up`, and
everything that it starts can be found by the session.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import structlog

from models.errors import RecadoError
from serve_app.cli.configuration import Configuration, read_configuration
from serve_app.cli.preflight import end_leftovers
from serve_app.cli.ray_environment import log_file, ray_environment
from serve_app.cli.run_state import RunState, forget_run, write_run
from serve_app.cli.terminal import PipedSteps
from serve_app.local.layout import DataDir
from serve_app.local.services import LocalServices, ensure_services, release_services
from serve_app.ops.logging import configure_logging
from serve_app.settings import EnvironmentSettings

_READY_LIMIT_S = 180.0
_HUB_LIMIT_S = 3600.0
"""A model of many gigabytes may have to be fetched first."""
_SERVE_STOP_LIMIT_S = 60.0

_log = structlog.get_logger(__name__)


class Product:
    """One run from start to end."""

    def __init__(
        self,
        *,
        data_dir: DataDir,
        configuration: Configuration,
        run: RunState,
        steps: PipedSteps,
        parent: int | None,
    ) -> None:
        """`parent`: stop when that process is not our parent any more."""
        self._data_dir = data_dir
        self._configuration = configuration
        self._run_state = run
        self._steps = steps
        self._parent = parent
        self._stop_asked = False
        self._ray_started = False

    def run(self) -> int:
        self._install_signals()
        status = 0
        try:
            self._start()
            if not self._stopping():
                self._set("ready")
                self._steps.send({"ready": self._run_state.model_dump(mode="json")})
                _log.info("ready", url=self._run_state.url)
                while not self._stopping():
                    time.sleep(0.2)
        except RecadoError as error:
            _log.error("did not start", error=str(error))
            self._steps.send({"error": str(error)})
            status = 1
        except Exception as error:
            _log.exception("did not start")
            self._steps.send({"error": f"{type(error).__name__}: {error}"})
            status = 1
        try:
            self._end()
        except RecadoError as error:
            _log.error("did not stop cleanly", error=str(error))
            self._steps.send({"error": str(error)})
            status = 1
        self._steps.send({"stopped": True})
        return status

    def _start(self) -> None:
        write_run(self._data_dir, self._run_state)
        hub = self._configuration.needs_model_hub()
        deadline = time.monotonic() + (_HUB_LIMIT_S if hub else _READY_LIMIT_S)
        os.environ.update(ray_environment(self._data_dir, self._run_state.ports, offline=not hub))
        os.environ["RECADO_LISTEN_HOST"] = self._run_state.host
        with ThreadPoolExecutor(1, thread_name_prefix="stores") as beside:
            # The stores come up while Ray does: both mostly wait.
            stores = beside.submit(self._start_stores)
            self._start_ray()
            with self._steps.step("waiting for the stores"):
                services = _result(stores)
        self._run_state = self._run_state.model_copy(
            update={"simulator_url": services.simulator_url}
        )
        write_run(self._data_dir, self._run_state)
        if self._stopping():
            return
        from serve_app.cli import cluster

        with self._steps.step(f"deploying {self._configuration.path.name}"):
            cluster.deploy(self._configuration.serve, self._run_state)
            cluster.wait_until_running(deadline=deadline, stopped=self._stopping)
        with self._steps.step("waiting until the service is ready"):
            cluster.wait_until_ready(self._run_state, deadline=deadline, stopped=self._stopping)

    def _start_stores(self) -> LocalServices:
        env = EnvironmentSettings()
        with self._steps.step("local stores" + (" and the simulator" if env.simulator else "")):
            services = ensure_services(
                env,
                while_pid=os.getpid(),
                simulator=True,
                simulator_port=self._run_state.ports.simulator,
                service_url=self._run_state.url,
                public_url=self._run_state.public_url,
            )
        demo = " and the demo owner" if services.simulator_url else ""
        with self._steps.step("database schema" + demo):
            from serve_app.bootstrap import prepare

            asyncio.run(prepare(self._configuration.settings))
        return services

    def _start_ray(self) -> None:
        with self._steps.step("Ray"):
            from serve_app.cli import cluster

            self._ray_started = True
            session = cluster.start_ray(self._run_state)
            # Ray installs its own.
            self._install_signals()
        self._run_state = self._run_state.model_copy(
            update={
                "ray_session": session,
                "dashboard_url": f"http://127.0.0.1:{self._run_state.ports.dashboard}",
            }
        )
        write_run(self._data_dir, self._run_state)

    def _end(self) -> None:
        """Serve first, because HAProxy would outlive Ray; the stores last, because replicas use them."""
        # A disk that takes no more keeps nobody from stopping.
        _log_errors(lambda: self._set("stopping"))
        if self._ray_started:
            from serve_app.cli import cluster

            with self._steps.step("draining the service"):
                _log_errors(lambda: cluster.stop_serve(timeout_s=_SERVE_STOP_LIMIT_S))
            with self._steps.step("stopping Ray"):
                _log_errors(cluster.stop_ray)
        left = end_leftovers(self._data_dir, self._run_state)
        if left:
            _log.info("ended what did not end by itself", processes=left)
        with self._steps.step("stopping the local stores"):
            release_services(EnvironmentSettings(), while_pid=os.getpid())
        forget_run(self._data_dir)

    def _set(self, state: str) -> None:
        self._run_state = self._run_state.model_copy(update={"state": state})
        write_run(self._data_dir, self._run_state)

    def _stopping(self) -> bool:
        return self._stop_asked or (self._parent is not None and os.getppid() != self._parent)

    def _install_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)

    def _on_signal(self, _number: int, _frame: object) -> None:
        self._stop_asked = True


def _result(future: Future[LocalServices]) -> LocalServices:
    return future.result()


def _log_errors(stop: Callable[[], None]) -> None:
    """The end goes on: what one part leaves behind is found afterwards."""
    try:
        stop()
    except Exception:
        _log.exception("a part did not stop cleanly")


def main() -> int:
    parser = argparse.ArgumentParser(prog="serve_app.cli.product")
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--run", required=True, help="what to run, a RunState as JSON")
    parser.add_argument("--notify-fd", type=int, required=True)
    parser.add_argument("--lock-fd", type=int, required=True)
    parser.add_argument("--parent", type=int)
    args = parser.parse_args()
    for descriptor in (args.notify_fd, args.lock_fd):
        os.set_inheritable(descriptor, False)
    data_dir = DataDir.at(args.data_dir)
    os.environ["RECADO_DATA_DIR"] = str(data_dir.root)
    os.environ["RECADO_LOG_FILE"] = str(log_file(data_dir))
    configuration = read_configuration(args.config)
    configure_logging(configuration.settings.log, service="up")
    plan = RunState.model_validate_json(args.run)
    product = Product(
        data_dir=data_dir,
        configuration=configuration,
        run=plan.of_this_process(),
        steps=PipedSteps(args.notify_fd),
        parent=args.parent,
    )
    return product.run()


if __name__ == "__main__":
    sys.exit(main())
