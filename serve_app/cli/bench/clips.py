"""The speech benchmark's clips: the demo's voice notes strung together, with what they say."""

from __future__ import annotations

import io
import json
import re
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from random import Random

import numpy as np

from serve_app.engines.audio import SAMPLE_RATE, decode_audio
from serve_app.settings import PROJECT_ROOT

NOTES = PROJECT_ROOT / "demo" / "voice-notes"
SHORTEST_S, LONGEST_S, PAUSE_S = 2.0, 25.0, 0.3


@dataclass(frozen=True, slots=True)
class Clip:
    """`audio` is a file as it was recorded, or a WAV file."""

    audio: bytes
    says: str
    seconds: float


def recorded_notes(count: int) -> list[Clip]:
    """`count` of the demo's voice notes as they were recorded, one after the other and again, which is what
    its model was trained to hear. The one in which nobody speaks isn't among them."""
    clips: list[Clip] = []
    for note in json.loads((NOTES / "voice-notes.json").read_text()):
        if note["says"]:
            audio = (NOTES / note["file"]).read_bytes()
            clips.append(Clip(audio, str(note["says"]), float(note["seconds"])))
    return list(islice(cycle(clips), count))


def mixed_clips(count: int, *, seed: int = 7) -> list[Clip]:
    """`count` clips whose lengths are spread evenly from 2 to 25 seconds, in random order; the same for the
    same seed."""
    notes = [
        (decode_audio((NOTES / note["file"]).read_bytes(), max_seconds=60), str(note["says"]))
        for note in json.loads((NOTES / "voice-notes.json").read_text())
        if note["says"]
    ]
    random = Random(seed)  # noqa: S311 -- reproducible, not secret
    pause = np.zeros(int(PAUSE_S * SAMPLE_RATE), dtype=np.float32)
    clips: list[Clip] = []
    for index in range(count):
        wanted = SHORTEST_S + (LONGEST_S - SHORTEST_S) * index / max(1, count - 1)
        pieces: list[np.ndarray] = []
        said: list[str] = []
        length = 0
        while not pieces or length < wanted * SAMPLE_RATE:
            left_s = LONGEST_S - length / SAMPLE_RATE
            fitting = [note for note in notes if len(note[0]) / SAMPLE_RATE + PAUSE_S <= left_s]
            if not fitting:
                break
            samples, says = random.choice(fitting)
            pieces += [samples, pause]
            said.append(says)
            length += len(samples) + len(pause)
        clips.append(Clip(_wav(np.concatenate(pieces)), " ".join(said), length / SAMPLE_RATE))
    random.shuffle(clips)
    return clips


def word_error_rate(clips: Sequence[Clip], heard: Sequence[str]) -> float:
    """In percent, over all clips; case and punctuation don't count."""
    wrong = words = 0
    for clip, text in zip(clips, heard, strict=True):
        said = _words(clip.says)
        wrong += _distance(said, _words(text))
        words += len(said)
    return 100 * wrong / words


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9']+", text.lower())


def _distance(said: list[str], heard: list[str]) -> int:
    row = list(range(len(heard) + 1))
    for index, word in enumerate(said, 1):
        before, row[0] = row[0], index
        for place, other in enumerate(heard, 1):
            before, row[place] = (
                row[place],
                min(row[place] + 1, row[place - 1] + 1, before + (word != other)),
            )
    return row[-1]


def _wav(samples: np.ndarray) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype(np.int16).tobytes())
    return out.getvalue()
