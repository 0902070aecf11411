"""The whole way from nothing to models that load and answer, in its small form."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from demo.making.chat_training import train_chat
from demo.making.sizes import SMALL
from models.inference import TranscriptionRequest
from serve_app.engines.registry import create_chat_engine, create_speech_engine
from serve_app.settings import PROJECT_ROOT, ChatSettings, SpeechSettings

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200)]


def make(step: str, work: Path) -> str:
    command = [sys.executable, "-m", "demo.making", step, "--small", "--minutes", "0.05"]
    done = subprocess.run(
        [*command, "--work", str(work), "--processes", "1", "--device", "cpu"],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


async def test_a_chat_model_is_made_and_goes_on_where_it_was_interrupted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make("chat", tmp_path)
    steps = json.loads((tmp_path / "chat" / "checkpoint" / "training.json").read_text())["steps"]
    assert steps > 0
    figures = json.loads((tmp_path / "chat-figures.json").read_text(encoding="utf-8"))
    assert {
        f"{language} {part} {kind}"
        for language in ("en", "pt")
        for part in ("trained", "unseen")
        for kind in ("decision", "copy")
    } <= set(figures)
    assert all(figures[name]["cases"] == 2 for name in figures if name != "ms per step")
    train_chat(
        SMALL.lasting(0.05).chat,
        tokenizer=tmp_path / "chat" / "tokenizer.json",
        checkpoint=tmp_path / "chat" / "checkpoint",
        device="cpu",
        seed=2026,
        processes=1,
    )
    assert "goes on after" in capsys.readouterr().out

    settings = ChatSettings(model=str(tmp_path / "chat" / "model"))
    engine = create_chat_engine(settings, device="cpu")
    await engine.start()
    try:
        # Starting it wrote a reply already; what so short a training writes isn't worth reading.
        assert engine.stats().model == settings.model
    finally:
        await engine.stop()


async def test_a_speech_model_is_made_and_hears_nothing_in_silence(tmp_path: Path) -> None:
    make("speech", tmp_path)
    figures = json.loads((tmp_path / "speech-figures.json").read_text(encoding="utf-8"))
    assert figures["pt, unseen sentences, unseen voices"]["cases"] == 2
    assert figures["invented"]["clips"] == 2

    settings = SpeechSettings(model=str(tmp_path / "speech" / "model"))
    engine = create_speech_engine(settings, device="cpu")
    await engine.start()
    try:
        silence = (PROJECT_ROOT / "demo" / "voice-notes" / "silence.ogg").read_bytes()
        heard = await engine.transcribe(TranscriptionRequest(request_id="1", audio=silence))
        assert heard.text == ""
    finally:
        await engine.stop()
