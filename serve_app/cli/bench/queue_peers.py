"""The queue benchmark's peers, each in an environment of its own, made on demand."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from models.errors import RecadoError
from serve_app.settings import EnvironmentSettings

SCRIPTS = Path(__file__).parent / "peers"
INSTALL_LIMIT_S = 300


@dataclass(frozen=True, slots=True)
class Peer:
    """`script` is called `publish|work URL COUNT CONCURRENCY`; it finds Ray in our environment, where it
    says that it needs it."""

    script: str
    packages: tuple[str, ...]
    with_ours: bool = False


PEERS = {
    "taskiq-redis": Peer("taskiq_side.py", ("taskiq-redis==1.2.4", "taskiq==0.13.0", "uvloop")),
    "arq": Peer("arq_side.py", ("arq==0.28.0", "uvloop")),
    "streaq": Peer("streaq_side.py", ("streaq==7.2.0", "uvloop")),
    "celery": Peer("celery_side.py", ("celery[redis]==5.7.0",), with_ours=True),
}


def is_installed(name: str) -> bool:
    done = _folder(name) / "installed"
    return done.exists() and done.read_text() == _wanted(PEERS[name])


def prepare(name: str) -> list[str]:
    """The command that runs the peer. Raises `RecadoError` if it can't be installed."""
    peer = PEERS[name]
    folder = _folder(name)
    python = folder / "bin" / "python"
    if not is_installed(name):
        folder.parent.mkdir(parents=True, exist_ok=True)
        for command in (
            [sys.executable, "-m", "venv", "--clear", str(folder)],
            [str(python), "-m", "pip", "install", "--quiet", *peer.packages],
        ):
            _install(command, name)
        if peer.with_ours:
            # Behind its own packages, so that its versions win.
            ours = sysconfig.get_path("purelib")
            site = subprocess.run(  # noqa: S603 -- the interpreter made above
                [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
                check=True,
                capture_output=True,
                text=True,
                timeout=60,
            ).stdout.strip()
            (Path(site) / "recado.pth").write_text(ours + "\n")
        (folder / "installed").write_text(_wanted(peer))
    return [str(python), str(SCRIPTS / peer.script)]


def _folder(name: str) -> Path:
    return EnvironmentSettings().data_dir.resolve() / "bench-peers" / name


def _wanted(peer: Peer) -> str:
    return "\n".join(peer.packages)


def _install(command: list[str], name: str) -> None:
    try:
        done = subprocess.run(  # noqa: S603 -- venv and pip of our own interpreter
            command, check=False, capture_output=True, text=True, timeout=INSTALL_LIMIT_S
        )
    except subprocess.TimeoutExpired as error:
        raise RecadoError(
            f"installing {name} took longer than {INSTALL_LIMIT_S} s; leave it out with --against"
        ) from error
    if done.returncode != 0:
        raise RecadoError(
            f"{name} can't be installed; leave it out with --against: {done.stderr[-400:].strip()}"
        )
