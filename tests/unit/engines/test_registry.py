"""From settings to engines: models are found or their absence is explained, nothing heavy is imported."""

import subprocess
import sys
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from models.errors import InferenceError
from serve_app.engines.openai_compatible import OpenAICompatibleEngine
from serve_app.engines.registry import create_chat_engine, create_speech_engine, resolve_model
from serve_app.settings import PROJECT_ROOT, ChatSettings, SpeechSettings


@pytest.mark.parametrize("kind", ["speech", "chat"])
def test_demo_is_a_folder_of_the_project(kind):
    assert resolve_model("demo", kind=kind) == PROJECT_ROOT / "demo" / "models" / kind


def test_an_existing_folder_is_a_path(tmp_path):
    assert resolve_model(str(tmp_path), kind="chat") == tmp_path


@pytest.mark.parametrize("name", ["small", "large-v3-turbo", "Qwen/Qwen3-0.6B"])
def test_sizes_and_hub_names_pass_through(name):
    assert resolve_model(name, kind="speech") == name


@pytest.mark.parametrize("name", ["/nowhere/model", "./nowhere", "~/nowhere/else", "a/b/c"])
def test_a_folder_that_is_missing_is_named(name):
    with pytest.raises(InferenceError, match=f"{name}.*chat.model"):
        resolve_model(name, kind="chat")


async def test_a_folder_that_holds_no_model_says_what_it_lacks(tmp_path):
    for engine, lack in (
        ("faster-whisper", r"holds no model\.bin and no tokenizer\.json"),
        ("transformers", r"holds no preprocessor_config\.json"),
    ):
        settings = SpeechSettings(engine=engine, model=str(tmp_path))
        with pytest.raises(InferenceError, match=lack):
            await create_speech_engine(settings, device="cpu").start()
    with pytest.raises(
        InferenceError, match=r"isn't in CTranslate2's form.*isn't in transformers'"
    ):
        create_speech_engine(SpeechSettings(model=str(tmp_path)), device="cpu")
    chat = create_chat_engine(ChatSettings(model=str(tmp_path)), device="cpu")
    with pytest.raises(InferenceError, match=r"doesn't load.*chat\.model"):
        await chat.start()


async def test_an_unknown_dtype_is_named():
    engine = create_chat_engine(ChatSettings(dtype="float33"), device="cpu")
    with pytest.raises(InferenceError, match="float33"):
        await engine.start()


def test_the_openai_engine_needs_an_address():
    settings = ChatSettings(engine="openai", base_url="http://127.0.0.1:1/v1")
    assert isinstance(create_chat_engine(settings, device="cpu"), OpenAICompatibleEngine)
    with pytest.raises(InferenceError, match="base_url"):
        create_chat_engine(ChatSettings(engine="openai"), device="cpu")


def test_the_log_says_which_speech_engine_was_chosen_and_why():
    with capture_logs() as entries:
        create_speech_engine(SpeechSettings(engine="auto"), device="cpu")
        create_speech_engine(SpeechSettings(engine="transformers"), device="cpu")
    [chosen] = [entry for entry in entries if entry["event"] == "speech_engine_chosen"]
    assert (chosen["engine"], chosen["device"]) == ("faster-whisper", "cpu")
    assert "CTranslate2" in chosen["reason"]


def test_creating_engines_imports_no_inference_library():
    code = (
        "import sys\n"
        "from serve_app.engines.registry import create_chat_engine, create_speech_engine\n"
        "from serve_app.settings import ChatSettings, SpeechSettings\n"
        "import serve_app.testing.engines\n"
        "for engine in ('faster-whisper', 'transformers'):\n"
        "    create_speech_engine(SpeechSettings(engine=engine), device='cpu')\n"
        "create_chat_engine(ChatSettings(), device='cpu')\n"
        "heavy = {'torch', 'transformers', 'ctranslate2', 'faster_whisper', 'av', 'numpy'}\n"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)\n"
    )
    root = Path(__file__).parents[3]
    ran = subprocess.run(
        [sys.executable, "-c", code],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
