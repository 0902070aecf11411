"""The `./recado` script with pretended Pythons: what it refuses, and when it installs."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from serve_app.settings import PROJECT_ROOT

# Stands for a Python: records its calls, makes a "venv" by copying itself, and can be made to fail.
_FAKE = r"""#!/bin/sh
echo "$*" >>"@calls@"
case "$1" in
--version) echo "Python @version@"; exit 0 ;;
-c)
    case "$2" in
    *version_info*) exit @out_of_range@ ;;
    *ensurepip*) exit @no_venv@ ;;
    esac ;;
-m)
    case "$2" in
    venv) mkdir -p "$3/bin" && cp "$0" "$3/bin/python"; exit 0 ;;
    pip) [ "$3" = --version ] && exit 0; exit $(cat "@pip_status@") ;;
    serve_app.cli) shift 2; echo "handed over: $*"; exit 7 ;;
    esac ;;
esac
exit 0
"""


_TOOLS = (
    *("sh", "cat", "cksum", "cp", "dirname", "basename", "head"),
    *("kill", "ln", "mkdir", "mv", "readlink", "rm", "sleep"),
)


class Installation:
    """A copy of the script beside its lock files, with nothing but the fakes on PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "a clone"
        self.bin = folder / "bin"
        self.calls = folder / "calls"
        self.pip_status = folder / "pip-status"
        self.folder.mkdir()
        self.bin.mkdir()
        self.calls.write_text("")
        self.pip_status.write_text("0")
        for name in ("recado", "requirements.lock", "requirements-test.lock"):
            shutil.copy(PROJECT_ROOT / name, self.folder / name)
        for tool in _TOOLS:
            real = shutil.which(tool)
            assert real is not None
            (self.bin / tool).symlink_to(real)

    def python(
        self, name: str, version: str, *, in_range: bool = True, has_venv: bool = True
    ) -> None:
        script = _FAKE.replace("@version@", version).replace("@calls@", str(self.calls))
        script = script.replace("@pip_status@", str(self.pip_status))
        script = script.replace("@out_of_range@", "0" if in_range else "1")
        path = self.bin / name
        path.write_text(script.replace("@no_venv@", "0" if has_venv else "1"))
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def run(self, *args: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.folder / "recado"), *args],
            env={"PATH": str(self.bin), **environment},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    def installs(self) -> int:
        return sum("pip install" in line and " -r " in line for line in self._lines())

    def _lines(self) -> list[str]:
        return self.calls.read_text().splitlines()


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    return Installation(tmp_path)


def _assert_refused(done: subprocess.CompletedProcess[str], *parts: str) -> None:
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    for part in parts:
        assert part in line


def test_too_old_a_python_is_one_line(installation: Installation) -> None:
    installation.python("python3", "3.9.2", in_range=False)
    _assert_refused(installation.run("up"), "Python 3.9.2", "3.11 to 3.13", "RECADO_PYTHON")


def test_no_python_is_one_line(installation: Installation) -> None:
    _assert_refused(installation.run("up"), "no Python found", "3.11 to 3.13")


def test_a_missing_venv_module_is_one_line(installation: Installation) -> None:
    installation.python("python3", "3.12.1", has_venv=False)
    _assert_refused(installation.run("up"), "lacks the venv module", "python3-venv")


def test_one_that_has_the_venv_module_is_taken_before_a_newer_one(
    installation: Installation,
) -> None:
    installation.python("python3.13", "3.13.1", has_venv=False)
    installation.python("python3.12", "3.12.1")
    done = installation.run("status")
    assert done.returncode == 7
    assert "making .venv with Python 3.12.1" in done.stderr


def test_a_named_python_must_be_one(installation: Installation) -> None:
    installation.python("python3", "3.12.1")
    installation.python("old", "3.8.0", in_range=False)
    _assert_refused(installation.run("up", RECADO_PYTHON="old"), "RECADO_PYTHON is Python 3.8.0")
    _assert_refused(installation.run("up", RECADO_PYTHON="gone"), "gone", "can't be run")


def test_it_installs_once_and_hands_over_arguments_and_status(installation: Installation) -> None:
    installation.python("python3", "3.9.2", in_range=False)
    installation.python("python3.12", "3.12.1")
    done = installation.run("say", "two words", "*")
    assert done.returncode == 7
    assert done.stdout.splitlines()[-1] == "handed over: say two words *"
    assert installation.installs() == 1
    assert installation.run("status").returncode == 7
    assert installation.installs() == 1


def test_a_changed_lock_installs_again(installation: Installation) -> None:
    installation.python("python3", "3.12.1")
    installation.run("status")
    with (installation.folder / "requirements.lock").open("a") as lock:
        lock.write("something==1.0\n")
    installation.run("status")
    assert installation.installs() == 2


def test_an_installation_that_failed_is_not_taken_for_complete(installation: Installation) -> None:
    installation.python("python3", "3.12.1")
    installation.pip_status.write_text("1")
    done = installation.run("status")
    assert done.returncode == 1
    assert "pip can't install requirements.lock" in done.stderr
    installation.pip_status.write_text("0")
    assert installation.run("status").returncode == 7
    assert installation.installs() == 2


def test_only_test_installs_what_the_tests_need(installation: Installation) -> None:
    installation.python("python3", "3.12.1")
    installation.run("status")
    assert "requirements-test.lock" not in installation.calls.read_text()
    installation.run("test", "-k", "x")
    assert "requirements-test.lock" in installation.calls.read_text()
    before = installation.installs()
    installation.run("test")
    assert installation.installs() == before


def test_what_the_tests_need_is_all_that_anything_needs(installation: Installation) -> None:
    installation.python("python3", "3.12.1")
    installation.run("test")
    assert installation.installs() == 1
    installation.run("status")
    assert installation.installs() == 1
    assert _pins("requirements.lock") <= _pins("requirements-test.lock")


def test_several_at_once_install_once(installation: Installation) -> None:
    installation.python("python3", "3.12.1")
    command = [str(installation.folder / "recado"), "status"]
    started = [
        subprocess.Popen(
            command,
            env={"PATH": str(installation.bin)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(4)
    ]
    assert [process.wait(timeout=30) for process in started] == [7, 7, 7, 7]
    assert installation.installs() == 1


def test_the_lock_of_a_dead_installer_is_taken_over(installation: Installation) -> None:
    installation.python("python3", "3.12.1")
    gone = subprocess.Popen([sys.executable, "-c", "pass"])
    gone.wait()
    (installation.folder / ".venv.lock").symlink_to(str(gone.pid))
    assert installation.run("status").returncode == 7
    assert not os.path.lexists(installation.folder / ".venv.lock")


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-test.lock"])
def test_the_locks_name_no_host_and_no_local_build(name: str) -> None:
    pins = _pins(name)
    assert all("==" in pin and "://" not in pin and "+" not in pin for pin in pins)
    assert not any(pin.startswith(("--", "nvidia", "-")) for pin in pins)
    assert "torch==2.13.0" in pins


def _pins(name: str) -> set[str]:
    lines = (PROJECT_ROOT / name).read_text().splitlines()
    return {line for line in lines if line and not line.startswith("#")}
