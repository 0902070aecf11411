"""What a browser records becomes a voice note as WhatsApp delivers one: Ogg with Opus, mono, 48 kHz."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import av as untyped
from av.error import FFmpegError

av: Any = untyped  # its types are partial

VOICE_NOTE_TYPE = "audio/ogg"
_RATE = 48_000
_BIT_RATE = 24_000


class VoiceNotes:
    """Converts recordings in a thread of its own."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="voice-notes")

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def convert(self, recording: bytes) -> bytes:
        """Raises ValueError for what isn't a recording."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, _to_ogg_opus, recording)


def _to_ogg_opus(recording: bytes) -> bytes:
    target = io.BytesIO()
    try:
        with av.open(io.BytesIO(recording)) as source, av.open(target, "w", format="ogg") as note:
            if not source.streams.audio:
                raise ValueError("the recording has no sound")
            out = note.add_stream("libopus", rate=_RATE, layout="mono")
            out.bit_rate = _BIT_RATE
            for frame in _resampled(source):
                note.mux(out.encode(frame))
            note.mux(out.encode(None))
    except (FFmpegError, OSError) as error:
        raise ValueError("the recording can't be decoded") from error
    return target.getvalue()


def _resampled(source: Any) -> Iterator[Any]:
    resampler = av.AudioResampler(format="s16", layout="mono", rate=_RATE)
    for frame in source.decode(audio=0):
        # A recorder that was paused leaves gaps, which the encoder wouldn't bear.
        frame.pts = None
        yield from resampler.resample(frame)
    yield from resampler.resample(None)
