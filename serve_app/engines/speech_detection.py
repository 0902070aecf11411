"""Where somebody speaks: Silero's voice detection, whose network hears a recording once.

What it thinks of every 32 ms becomes passages by the rules of `faster_whisper.vad.get_speech_timestamps`
1.2.1, which runs the network anew for each set of limits.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from serve_app.engines.audio import SAMPLE_RATE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

STEP = 512
"""Samples that the network judges at once."""
SPEECH, SILENCE = 0.5, 0.35
"""Chances from which speech begins and below which it ends; between them it goes on as it was."""
MIN_SILENCE = 2 * SAMPLE_RATE
MARGIN = SAMPLE_RATE * 400 // 1000
"""Samples that a passage gets before and behind, so that no consonant is lost."""
BREATH = SAMPLE_RATE * 98 // 1000
"""Samples of silence at which a passage that grows too long may be cut."""


def speech_chances(audio: NDArray[np.float32]) -> list[float]:
    """The chance of speech in each `STEP` samples. Blocking; needs faster-whisper."""
    import numpy as np
    from faster_whisper.vad import get_vad_model

    network = get_vad_model()
    return network(np.pad(audio, (0, STEP - audio.shape[0] % STEP))).ravel().tolist()


def find_speech(
    chances: Sequence[float],
    *,
    samples: int,
    min_silence: int = MIN_SILENCE,
    max_speech: int = sys.maxsize,
) -> list[tuple[int, int]]:
    """First and last sample of each passage of a recording of that many `samples`.

    A passage ends where nobody speaks for `min_silence` samples, or before it has `max_speech`: at the
    latest breath if there was one.
    """
    passages = _passages(
        chances, samples, min_silence=min_silence, max_speech=max_speech - STEP - 2 * MARGIN
    )
    return _with_margins(passages, samples)


def _passages(
    chances: Sequence[float], samples: int, *, min_silence: int, max_speech: int
) -> list[tuple[int, int]]:
    passages: list[tuple[int, int]] = []
    start: int | None = None
    silence = 0
    """Where the silence began that may end the passage."""
    breath = resumed = 0
    """The latest place to cut, and where speech went on behind it."""
    for index, chance in enumerate(chances):
        at = index * STEP
        if chance >= SPEECH:
            if silence:
                silence = 0
                if resumed < breath:
                    resumed = at
            if start is None:
                start = at
                continue
        if start is None:
            continue
        if at - start > max_speech:
            passages.append((start, breath or at))
            start = resumed if 0 < breath <= resumed else None
            silence = breath = resumed = 0
            if start is None:
                continue
        if chance < SILENCE:
            silence = silence or at
            if at - silence > BREATH:
                breath = silence
            if at - silence >= min_silence:
                passages.append((start, silence))
                start, silence, breath, resumed = None, 0, 0, 0
    if start is not None and samples > start:
        passages.append((start, samples))
    return passages


def _with_margins(passages: Sequence[tuple[int, int]], samples: int) -> list[tuple[int, int]]:
    """Neighbours share the silence between them where it is too short for both margins."""
    starts = [start for start, _ in passages]
    ends = [end for _, end in passages]
    if passages:
        starts[0] = max(0, starts[0] - MARGIN)
        ends[-1] = min(samples, ends[-1] + MARGIN)
    for before in range(len(passages) - 1):
        silence = starts[before + 1] - ends[before]
        margin = silence // 2 if silence < 2 * MARGIN else MARGIN
        ends[before] = min(samples, ends[before] + margin)
        starts[before + 1] = max(0, starts[before + 1] - margin)
    return list(zip(starts, ends, strict=True))
