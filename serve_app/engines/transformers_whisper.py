"""Speech on torch: models in transformers' form, for machines where CTranslate2 can't use the GPU."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from models.errors import InferenceError
from serve_app.engines.audio import SAMPLE_RATE
from serve_app.engines.pools import usable_cores
from serve_app.engines.whisper_engine import BatchedWhisper, LoadedWhisper
from serve_app.settings import SpeechSettings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

log = structlog.get_logger(__name__)

COMPUTE_TYPES = ("float32", "float16", "bfloat16")
SMALL_MODEL_PARAMETERS = 16_000_000
"""Below it a batch on the CPU gets one core: its steps are too short to share."""
MIN_SAMPLES = 400
"""The window of one Fourier transform."""
FLOOR = 2.0
"""Log-mel features reach down this far below their maximum."""


class TransformersWhisperEngine(BatchedWhisper):
    """`model` is a folder in transformers' form, a size, or a name on the model hub."""

    def __init__(self, *, settings: SpeechSettings, device: str, model: Path | str) -> None:
        sizes = graph_sizes(settings.max_batch_size) if device.startswith("cuda") else []

        def load() -> LoadedWhisper:
            return load_whisper(
                model,
                device=device,
                compute_type=settings.compute_type,
                cpu_threads=settings.cpu_threads,
                sizes=sizes,
            )

        super().__init__(
            name="transformers",
            settings=settings,
            device=device,
            load=load,
            warm_up_sizes=sizes or (1,),
        )


def graph_sizes(max_batch_size: int) -> list[int]:
    """Batch sizes whose step is captured: a batch is filled up to the next of them."""
    sizes = [1]
    while sizes[-1] < max_batch_size:
        sizes.append(min(sizes[-1] * 2, max_batch_size))
    return sizes


class _Features:
    """transformers' extractor. Frames behind the sound are silence, as in Whisper's training."""

    def __init__(self, extractor: Any) -> None:
        self._extractor = extractor

    @property
    def window_samples(self) -> int:
        return self._extractor.n_samples

    def __call__(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        import numpy as np

        if samples.shape[0] < MIN_SAMPLES:
            samples = np.pad(samples, (0, MIN_SAMPLES - samples.shape[0]))
        found = self._extractor(
            samples,
            sampling_rate=SAMPLE_RATE,
            padding="do_not_pad",
            truncation=False,
            return_tensors="np",
        )
        return found["input_features"][0]

    def padding(self, features: NDArray[np.float32]) -> float:
        return float(features.max()) - FLOOR


def load_whisper(
    source: Path | str,
    *,
    device: str,
    compute_type: str = "auto",
    cpu_threads: int = 0,
    sizes: list[int] | None = None,
) -> LoadedWhisper:
    """Blocking; asks the hub only for a name that isn't cached.

    Raises `InferenceError` with what to do.
    """
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()
    if compute_type == "auto":
        compute_type = "float16" if device.startswith("cuda") else "float32"
    if compute_type not in COMPUTE_TYPES:
        raise InferenceError(
            f"`speech.compute_type` {compute_type!r} is CTranslate2's: engine `transformers` knows "
            f"{', '.join(COMPUTE_TYPES)}"
        )
    if isinstance(source, Path) and not (source / "preprocessor_config.json").is_file():
        raise InferenceError(
            f"{source} holds no preprocessor_config.json: `speech.model` of engine `transformers` "
            "wants a Whisper model in transformers' form"
        )
    name = str(source) if isinstance(source, Path) else hub_name(source)
    only_local = (True,) if isinstance(source, Path) else (True, False)
    for local_files_only in only_local:
        try:
            model, tokenizer, extractor = _load(name, compute_type, local_files_only)
            break
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            if local_files_only is only_local[-1]:
                reason = str(error).strip().partition("\n")[0]
                raise InferenceError(
                    f"the speech model {name!r} doesn't load ({reason}): check `speech.model`, or "
                    "download it and set that to its folder"
                ) from error
    else:
        raise InferenceError(f"the speech model {name!r} doesn't load")
    if device == "cpu":
        small = model.num_parameters() < SMALL_MODEL_PARAMETERS
        torch.set_num_threads(cpu_threads or (1 if small else usable_cores()))
    return as_loaded(
        model.to(device).eval(), tokenizer, extractor, compute_type=compute_type, sizes=sizes or []
    )


def as_loaded(
    model: Any, tokenizer: Any, extractor: Any, *, compute_type: str, sizes: list[int]
) -> LoadedWhisper:
    from serve_app.engines.whisper_torch import TorchDecoder

    return LoadedWhisper(
        decoder=TorchDecoder(model=model, tokenizer=tokenizer, graph_sizes=sizes),
        features=_Features(extractor),
        mel_bands=int(model.config.num_mel_bins),
        compute_type=compute_type,
        vad=importlib.util.find_spec("faster_whisper") is not None,
    )


def hub_name(size: str) -> str:
    """OpenAI's repository of a size such as `small`; any other name as it is."""
    if "/" in size:
        return size
    return f"openai/whisper-{'large-v3-turbo' if size == 'turbo' else size}"


def _load(name: str, compute_type: str, local_files_only: bool) -> tuple[Any, Any, Any]:
    import torch
    from transformers import (
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
        WhisperTokenizer,
    )

    model: Any = WhisperForConditionalGeneration.from_pretrained(
        name, dtype=getattr(torch, compute_type), local_files_only=local_files_only
    )
    tokenizer = WhisperTokenizer.from_pretrained(name, local_files_only=local_files_only)
    extractor = WhisperFeatureExtractor.from_pretrained(name, local_files_only=local_files_only)
    return model, tokenizer, extractor
