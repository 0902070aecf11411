"""`speech.engine: auto`: what it takes, and the reason that it gives."""

import pytest

from models.errors import InferenceError
from serve_app.engines.registry import create_speech_engine, resolve_model
from serve_app.engines.speech_probe import CUBLAS, choose_speech_engine
from serve_app.settings import SpeechSettings

CTRANSLATE2 = resolve_model("demo", kind="speech")
TRANSFORMERS = resolve_model("demo", kind="speech-transformers")


def found(name: str) -> object:
    return name


def missing(name: str) -> object:
    raise OSError(f"{name}: cannot open shared object file")


def broken(name: str) -> object:
    raise ImportError(f"{name} is broken")


def choose(model, *, device="cpu", load_library=found, import_module=found, torch_model=None):
    choice = choose_speech_engine(
        model,
        device=device,
        torch_model=torch_model,
        load_library=load_library,
        import_module=import_module,
    )
    return choice.engine, choice.reason


@pytest.mark.parametrize("model", [CTRANSLATE2, "small", "Systran/faster-whisper-small"])
def test_faster_whisper_where_it_runs(model):
    assert choose(model)[0] == "faster-whisper"
    assert choose(model, device="cuda")[0] == "faster-whisper"


def test_torch_on_a_gpu_without_cublas_12():
    asked = []

    def load(name: str) -> object:
        asked.append(name)
        return missing(name)

    engine, reason = choose("small", device="cuda", load_library=load)
    assert (engine, asked) == ("transformers", [CUBLAS])
    assert CUBLAS in reason
    assert choose("small", load_library=missing)[0] == "faster-whisper", "a CPU needs no cuBLAS"


@pytest.mark.parametrize("model", [TRANSFORMERS, "openai/whisper-large-v3-turbo"])
def test_torch_for_a_model_in_transformers_form(model):
    engine, reason = choose(model)
    assert engine == "transformers"
    assert "form" in reason


def test_torch_where_ctranslate2_is_broken():
    engine, reason = choose("small", import_module=broken)
    assert engine == "transformers"
    assert "ctranslate2 is broken" in reason


def test_a_model_that_neither_can_run_says_what_to_set():
    with pytest.raises(InferenceError, match=r"cublas.*speech\.model"):
        choose(CTRANSLATE2, device="cuda", load_library=missing)


def test_the_demo_model_has_both_forms():
    engine, _ = choose(CTRANSLATE2, device="cuda", load_library=missing, torch_model=TRANSFORMERS)
    assert engine == "transformers"
    assert create_speech_engine(SpeechSettings(), device="cpu").stats().engine == "faster-whisper"
