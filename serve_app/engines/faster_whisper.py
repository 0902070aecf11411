"""Speech on faster-whisper's models, which CTranslate2 computes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.errors import InferenceError
from serve_app.engines.pools import usable_cores
from serve_app.engines.whisper_ctranslate2 import CTranslate2Decoder
from serve_app.engines.whisper_engine import BatchedWhisper, LoadedWhisper
from serve_app.settings import SpeechSettings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SMALL_MODEL_BYTES = 16 * 1024 * 1024
"""Below it each batch in flight gets a core of its own instead of all batches sharing all cores."""


class FasterWhisperEngine(BatchedWhisper):
    """`model` is a folder in CTranslate2's form, or a size or name that faster-whisper may look up."""

    def __init__(self, *, settings: SpeechSettings, device: str, model: Path | str) -> None:
        def load() -> LoadedWhisper:
            whisper = load_whisper(
                model,
                device=device,
                compute_type=settings.compute_type,
                cpu_threads=settings.cpu_threads,
                batches_in_flight=settings.batches_in_flight,
            )
            return LoadedWhisper(
                decoder=CTranslate2Decoder(model=whisper),
                features=_Features(whisper.feature_extractor),
                mel_bands=int(whisper.model.n_mels),
                compute_type=whisper.model.compute_type,
            )

        super().__init__(name="faster-whisper", settings=settings, device=device, load=load)


class _Features:
    """faster-whisper's own extractor, which pads windows with zeros."""

    def __init__(self, extractor: Any) -> None:
        self._extractor = extractor

    @property
    def window_samples(self) -> int:
        return self._extractor.n_samples

    def __call__(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        return self._extractor(samples)

    def padding(self, features: NDArray[np.float32]) -> float:
        return 0.0


def load_whisper(
    source: Path | str,
    *,
    device: str,
    compute_type: str = "auto",
    cpu_threads: int = 0,
    batches_in_flight: int = 1,
) -> Any:
    """A `faster_whisper.WhisperModel`. Blocking; asks the hub only for a name that isn't cached.

    Raises `InferenceError` with what to do.
    """
    from faster_whisper import WhisperModel
    from faster_whisper.utils import download_model

    if isinstance(source, Path):
        folder = source
    else:
        try:
            folder = Path(_cached_or_downloaded(download_model, source))
        except (OSError, ValueError, RuntimeError) as error:
            raise InferenceError(
                f"the speech model {source!r} can't be had ({_first_line(error)}): check the name, "
                "or download it and set `speech.model` to its folder"
            ) from error
    # Without its own tokenizer faster-whisper would ask the hub for another model's.
    missing = [name for name in ("model.bin", "tokenizer.json") if not (folder / name).is_file()]
    if missing:
        raise InferenceError(
            f"{folder} holds no {' and no '.join(missing)}: `speech.model` wants a Whisper model "
            "converted with ct2-transformers-converter --copy_files tokenizer.json "
            "preprocessor_config.json"
        )
    if compute_type == "auto":
        compute_type = "float16" if device == "cuda" else "int8"
    threads, workers = cpu_threads or usable_cores(), 1
    size = (folder / "model.bin").stat().st_size
    if device == "cpu" and not cpu_threads and size < SMALL_MODEL_BYTES:
        # Sharing a small model's steps among threads costs more than it gains on a busy machine.
        threads, workers = 1, min(batches_in_flight, usable_cores())
    try:
        return WhisperModel(
            str(folder),
            device=device,
            compute_type=compute_type,
            cpu_threads=threads,
            num_workers=workers,
            local_files_only=True,
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise InferenceError(
            f"the speech model at {folder} doesn't load on {device} as {compute_type}: "
            f"{_first_line(error)}"
        ) from error


def _cached_or_downloaded(download: Any, name: str) -> str:
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return download(name, local_files_only=True)
    except LocalEntryNotFoundError:
        return download(name)


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]
