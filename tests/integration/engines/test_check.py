"""The engine check on a bare machine: torch and transformers, and none of what the service needs besides."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from serve_app.engines.audio import decode_audio
from serve_app.settings import PROJECT_ROOT
from tests.unit.engines.recordings import encode

# It runs beside others and lets them go first.
pytestmark = pytest.mark.timeout(600)

NOTES = PROJECT_ROOT / "demo" / "voice-notes"
ABSENT = ("ray", "ctranslate2", "faster_whisper", "av", "redis", "asyncpg", "twilio", "fastapi")


def check(*arguments: str, absent: tuple[str, ...] = ABSENT) -> subprocess.CompletedProcess[str]:
    code = (
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({absent!r}))\n"
        "from serve_app.engines.check.__main__ import main\n"
        f"sys.argv = ['check', *{arguments!r}]\n"
        "sys.exit(main())\n"
    )
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )


@pytest.fixture
def notes(tmp_path) -> Path:
    """Two of the demo's notes as WAV: without PyAV nothing else can be read."""
    listed = json.loads((NOTES / "voice-notes.json").read_text())[:2]
    (tmp_path / "voice-notes.json").write_text(json.dumps(listed))
    for each in listed:
        samples = decode_audio((NOTES / each["file"]).read_bytes(), max_seconds=30)
        wave = encode(samples, form="wav", codec="pcm_s16le")
        (tmp_path / each["file"]).with_suffix(".wav").write_bytes(wave)
    return tmp_path


def test_engines_are_right_and_measured_without_the_rest_of_the_service(notes, tmp_path):
    ran = check(
        *("--quick", "--device", "cpu", "--notes", str(notes), "--json", str(tmp_path / "out.json"))
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["ok"] is True
    results = {(each["part"], each["what"]): each for each in found["findings"]}
    assert results["speech transformers", "batched as alone"]["value"] == "2 of 2"
    assert results["speech transformers", "texts as expected"]["value"] == "2 of 2"
    assert results["speech", "faster-whisper"]["value"] == "not installed"
    assert results["chat dynamic float32", "batched as alone"]["value"] == "8 of 8"
    speed = [each["figures"] for each in found["findings"] if "times_floor" in each["figures"]]
    assert len(speed) == 4
    assert all(figures["times_floor"] > 0 for figures in speed)
    assert results["chat tiny chat model", "dynamic, 32 tokens after 32 that were read before"][
        "ok"
    ]
    assert json.loads(ran.stdout.splitlines()[-1]) == found


def test_what_is_missing_is_named():
    ran = check("--quick", absent=("structlog", "pydantic_settings"))
    assert ran.returncode == 2
    assert "pip install pydantic-settings structlog" in ran.stderr
