"""Recordings made in memory, in the formats that phones send."""

import io

import av
import numpy as np


def tone(seconds: float, *, rate: int = 16_000, hertz: float = 440.0) -> np.ndarray:
    times = np.arange(int(seconds * rate)) / rate
    return (0.3 * np.sin(2 * np.pi * hertz * times)).astype(np.float32)


def encode(samples: np.ndarray, *, form: str, codec: str, rate: int = 16_000, layout: str = "mono"):
    """`samples` as a file of PyAV's container format `form`, in mono or with equal channels."""
    buffer = io.BytesIO()
    with av.open(buffer, mode="w", format=form) as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        channels = 2 if layout == "stereo" else 1
        packed = (samples * 32767).astype(np.int16).repeat(channels)[np.newaxis]
        frame = av.AudioFrame.from_ndarray(packed, format="s16", layout=layout)
        frame.sample_rate = rate
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return buffer.getvalue()
