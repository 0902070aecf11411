"""What lies between a mouth and a model: silence around, a microphone, a room, noise, Opus; and sounds that
aren't speech."""

from __future__ import annotations

import io
from random import Random
from typing import Literal

import numpy as np
import numpy.typing as npt

from demo.making.voices import SAMPLE_RATE

Sound = npt.NDArray[np.float32]
Colour = Literal["white", "pink", "brown"]
COLOURS: tuple[Colour, ...] = ("white", "pink", "brown")
_SLOPES = {"white": 0.0, "pink": 0.5, "brown": 1.0}


def noise(random: Random, samples: int, colour: Colour) -> Sound:
    """Of standard deviation 1."""
    white = np.random.default_rng(random.getrandbits(32)).standard_normal(samples)
    spectrum = np.fft.rfft(white)
    spectrum /= np.arange(1, len(spectrum) + 1) ** _SLOPES[colour]
    coloured = np.fft.irfft(spectrum, samples)
    return (coloured / coloured.std()).astype(np.float32)


def equalised(random: Random, sound: Sound, *, decibels: float = 8.0) -> Sound:
    """A microphone's curve: seven points, straight in between."""
    spectrum = np.fft.rfft(sound)
    points = [random.uniform(-decibels, decibels) for _ in range(7)]
    curve = np.interp(np.linspace(0, 1, len(spectrum)), np.linspace(0, 1, 7), points)
    return np.fft.irfft(spectrum * 10 ** (curve / 20), len(sound)).astype(np.float32)


def in_a_room(random: Random, sound: Sound) -> Sound:
    """Noise that dies away within 50 to 250 ms, as an echo."""
    length = int(SAMPLE_RATE * random.uniform(0.05, 0.25))
    echo = np.random.default_rng(random.getrandbits(32)).standard_normal(length)
    echo *= np.exp(-np.linspace(0, 6, length)) * random.uniform(0.02, 0.12)
    echo[0] = 1
    size = 1 << (len(sound) + length - 1).bit_length()
    mixed = np.fft.irfft(np.fft.rfft(sound, size) * np.fft.rfft(echo, size), size)
    return mixed[: len(sound)].astype(np.float32)


def with_noise(random: Random, sound: Sound, *, decibels: float, colour: Colour) -> Sound:
    """`decibels`: how far the speech is above the noise."""
    level = float(np.sqrt((sound**2).mean())) * 10 ** (-decibels / 20)
    return (sound + noise(random, len(sound), colour) * level).astype(np.float32)


def at_level(sound: Sound, decibels: float) -> Sound:
    """Its peak `decibels` (below 0) under full scale."""
    level = 10 ** (decibels / 20) / (float(np.abs(sound).max(initial=0)) + 1e-6)
    return (sound * level).astype(np.float32)


def through_opus(sound: Sound, *, bit_rate: int, sample_rate: int = SAMPLE_RATE) -> Sound:
    return from_opus(to_opus(sound, bit_rate=bit_rate, sample_rate=sample_rate))


def to_opus(sound: Sound, *, bit_rate: int, sample_rate: int = SAMPLE_RATE) -> bytes:
    """An Ogg file as messengers send it."""
    import av

    target = io.BytesIO()
    with av.open(target, "w", format="ogg") as container:
        stream = container.add_stream("libopus", rate=sample_rate)
        stream.layout = "mono"
        stream.bit_rate = bit_rate
        stream.options = {"application": "voip"}
        shorts = (np.clip(sound, -1, 1) * 32_767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(shorts[None], format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)
    return target.getvalue()


def from_opus(data: bytes) -> Sound:
    import av

    resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
    pieces: list[npt.NDArray[np.int16]] = []
    with av.open(io.BytesIO(data)) as container:
        for frame in container.decode(audio=0):
            pieces += [piece.to_ndarray()[0] for piece in resampler.resample(frame)]
        pieces += [piece.to_ndarray()[0] for piece in resampler.resample(None)]
    return (np.concatenate(pieces) / 32_768).astype(np.float32)


def disguised(random: Random, sound: Sound, *, opus: bool) -> tuple[Sound, float, float]:
    """As a phone may have recorded it, and where the speech begins and ends in seconds."""
    lead = int(SAMPLE_RATE * random.random() ** 2 * 1.2)
    trail = int(SAMPLE_RATE * random.random() ** 2 * 2.0)
    begins, ends = lead / SAMPLE_RATE, (lead + len(sound)) / SAMPLE_RATE
    sound = np.pad(sound, (lead, trail))
    if random.random() < 0.5:
        sound = equalised(random, sound)
    if random.random() < 0.3:
        sound = in_a_room(random, sound)
    sound = at_level(sound, random.uniform(-18, -0.5))
    if random.random() < 0.7:
        sound = with_noise(
            random, sound, decibels=random.uniform(8, 40), colour=random.choice(COLOURS)
        )
    if opus and random.random() < 0.4:
        sound = through_opus(
            sound,
            bit_rate=random.choice((8_000, 12_000, 16_000, 24_000)),
            sample_rate=random.choice((16_000, 48_000)),
        )
    return sound.astype(np.float32), begins, ends


def no_speech(random: Random, *, seconds: float) -> Sound:
    """Silence, noise, hum or something like music."""
    samples = int(SAMPLE_RATE * seconds)
    kind = random.random()
    if kind < 0.25:
        return np.zeros(samples, np.float32)
    if kind < 0.6:
        return noise(random, samples, random.choice(COLOURS)) * 10 ** (
            random.uniform(-80, -15) / 20
        )
    time = np.arange(samples) / SAMPLE_RATE
    sound = np.zeros(samples)
    if kind < 0.75:
        hum = random.choice((50.0, 60.0, random.uniform(80, 400)))
        for harmonic in range(1, random.randint(2, 6)):
            sound += np.sin(2 * np.pi * hum * harmonic * time) / harmonic
    else:
        beat = random.uniform(0.15, 0.6)
        for start in np.arange(0, seconds, beat):
            pitch = 110 * 2 ** (random.randint(0, 36) / 12)
            fading = np.exp(-np.clip(time - start, 0, None) * random.uniform(2, 8)) * (
                time >= start
            )
            sound += np.sin(2 * np.pi * pitch * time) * fading
    return at_level(sound.astype(np.float32), random.uniform(-40, -6))
