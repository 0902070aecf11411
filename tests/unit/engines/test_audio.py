"""Decoding: formats, limits, damage."""

import numpy as np
import pytest

from models.errors import MediaRejectedError
from serve_app.engines.audio import SAMPLE_RATE, decode_audio
from tests.unit.engines.recordings import encode, tone


@pytest.mark.parametrize(
    ("form", "codec", "rate", "layout"),
    [
        ("wav", "pcm_s16le", 16_000, "mono"),
        ("wav", "pcm_s16le", 44_100, "stereo"),
        ("ogg", "libopus", 48_000, "mono"),
        ("mp3", "libmp3lame", 44_100, "stereo"),
        ("ipod", "aac", 44_100, "mono"),
        ("amr", "libopencore_amrnb", 8_000, "mono"),
    ],
)
def test_every_format_comes_out_as_the_same_tone(form, codec, rate, layout):
    data = encode(tone(1.0, rate=rate), form=form, codec=codec, rate=rate, layout=layout)
    audio = decode_audio(data, max_seconds=5)
    assert audio.dtype == np.float32
    assert audio.ndim == 1
    assert audio.shape[0] / SAMPLE_RATE == pytest.approx(1.0, abs=0.1)
    spectrum = np.abs(np.fft.rfft(audio[2000:14000]))
    assert spectrum.argmax() * SAMPLE_RATE / 12_000 == pytest.approx(440, abs=3)
    assert 0.2 < np.abs(audio[2000:14000]).max() < 0.45


def test_the_limit_is_counted_in_decoded_seconds():
    data = encode(tone(2.0), form="wav", codec="pcm_s16le")
    assert decode_audio(data, max_seconds=2.0).shape[0] == 2 * SAMPLE_RATE
    with pytest.raises(MediaRejectedError, match=r"longer than 1\.9 seconds"):
        decode_audio(data, max_seconds=1.9)


def test_a_header_that_lies_about_the_length_helps_nobody():
    data = bytearray(encode(tone(2.0), form="wav", codec="pcm_s16le"))
    at = data.index(b"data") + 4
    data[at : at + 4] = (3200).to_bytes(4, "little")
    data[4:8] = (3236).to_bytes(4, "little")
    assert decode_audio(bytes(data), max_seconds=1.0).shape[0] <= SAMPLE_RATE


@pytest.mark.parametrize(
    "data", [b"", b"\x00" * 500, b"%PDF-1.7 not a sound", b"OggS" + b"\x01" * 80]
)
def test_what_is_no_recording_is_rejected(data):
    with pytest.raises(MediaRejectedError, match="can't be decoded"):
        decode_audio(data, max_seconds=5)


def test_a_recording_without_samples_is_rejected():
    data = encode(tone(1.0), form="wav", codec="pcm_s16le")
    with pytest.raises(MediaRejectedError, match="no sound"):
        decode_audio(data[: data.index(b"data") + 8], max_seconds=5)


def test_a_cut_off_recording_gives_what_is_there():
    data = encode(tone(3.0), form="ogg", codec="libopus")
    audio = decode_audio(data[: len(data) // 2], max_seconds=5)
    assert 0 < audio.shape[0] < 3 * SAMPLE_RATE


def test_damage_in_the_middle_costs_only_its_packets():
    data = bytearray(encode(tone(4.0), form="mp3", codec="libmp3lame"))
    middle = len(data) // 2
    data[middle : middle + 60] = b"\x00" * 60
    assert decode_audio(bytes(data), max_seconds=5).shape[0] > 3 * SAMPLE_RATE
