"""Whisper on torch: equal to transformers' own forward pass, rows of one batch independent of each other."""

import numpy as np
import pytest
import torch

from serve_app.engines import whisper_sampling
from serve_app.engines.whisper_network import Memory, WhisperNetwork
from serve_app.engines.whisper_rows import SpeechRow
from serve_app.engines.whisper_torch import TorchDecoder
from tests.unit.engines.multilingual_whisper import ID, WordTokenizer, build

FRAMES = 3000


def sound(seed: int, frames: int = FRAMES) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, (80, frames)).astype(np.float32)


def row(seed: int, language: str | None = None, **options) -> SpeechRow:
    return SpeechRow(features=sound(seed), frames=FRAMES, language=language, **options)


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """Random weights find no end: their transcripts are cut off early. Steps this small suffer from a
    second thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setattr(whisper_sampling, "MAX_TOKENS", 40)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def model():
    return build()


@pytest.fixture
def decoder(model) -> TorchDecoder:
    return TorchDecoder(model=model, tokenizer=WordTokenizer())


@torch.inference_mode()
def test_the_network_computes_what_transformers_computes(model):
    network = WhisperNetwork(model)
    features = torch.from_numpy(np.stack([sound(1), sound(2)]))
    tokens = torch.tensor([[11, 12, 16, 40, 3, 5], [11, 13, 15, 99, 1, 2]])
    expected = model(input_features=features, decoder_input_ids=tokens).logits
    encoded = network.encode(features)
    torch.testing.assert_close(encoded, model.model.encoder(features).last_hidden_state)
    memory = Memory(network, rows=2, positions=encoded.shape[1])
    network.listen(encoded, memory)
    positions = torch.arange(6).expand(2, -1)
    # In two goes, as a prompt and its continuation.
    hidden = [network.advance(tokens[:, :4], positions[:, :4], memory)]
    hidden += [
        network.advance(tokens[:, i : i + 1], positions[:, i : i + 1], memory) for i in (4, 5)
    ]
    torch.testing.assert_close(network.logits(torch.cat(hidden, dim=1)), expected)


def test_rows_get_in_a_batch_what_they_get_alone(decoder):
    rows = [
        row(1, "en"),
        row(2, "es", context=decoder.context("a table for two", ())),
        row(3),
        row(4, "pt", translate=True, context=decoder.context(None, ("thanks", "please"))),
        row(5),
    ]
    together = decoder.decode(rows)
    for alone, heard in zip([decoder.decode([each])[0] for each in rows], together, strict=True):
        assert heard.tokens == alone.tokens
        assert heard.language == alone.language
        assert heard.average_logprob == pytest.approx(alone.average_logprob, abs=1e-4)
        assert heard.no_speech_probability == pytest.approx(alone.no_speech_probability, abs=1e-5)
    assert len({heard.tokens for heard in together}) > 1


def test_a_batch_that_is_filled_up_for_a_graph_gives_the_same(model, decoder):
    padded = TorchDecoder(model=model, tokenizer=WordTokenizer(), graph_sizes=[1, 4])
    rows = [row(1, "en"), row(2), row(3, "es", context=decoder.context("hello", ()))]
    for _ in range(2):
        for asked in (rows, rows[:1], rows[1:]):
            expected = [heard.tokens for heard in decoder.decode(asked)]
            assert [heard.tokens for heard in padded.decode(asked)] == expected
    beyond = [row(n, "en") for n in range(6)]
    assert len(padded.decode(beyond)) == 6


@torch.inference_mode()
def test_languages_are_detected_on_the_one_encoding(model, decoder, monkeypatch):
    encodings = []
    encode = WhisperNetwork.encode

    def counted(self, features):
        encodings.append(len(features))
        return encode(self, features)

    monkeypatch.setattr(WhisperNetwork, "encode", counted)
    rows = [row(n) for n in range(8)] + [row(9, "es")]
    heard = decoder.decode(rows)
    assert encodings == [9]
    features = torch.from_numpy(np.stack([each.features for each in rows[:8]]))
    start = torch.full((8, 1), ID["<|startoftranscript|>"])
    logits = model(input_features=features, decoder_input_ids=start).logits[:, -1]
    chances = logits[:, [ID["<|en|>"], ID["<|es|>"], ID["<|pt|>"]]].softmax(dim=-1)
    assert [each.language for each in heard[:8]] == [
        ["en", "es", "pt"][index] for index in chances.argmax(dim=-1)
    ]
    for each, chance in zip(heard, chances.amax(dim=-1).tolist(), strict=False):
        assert each.language_probability == pytest.approx(chance, abs=1e-5)
    assert (heard[8].language, heard[8].language_probability) == ("es", None)


def test_prompts_carry_language_task_and_context(decoder):
    asked = []
    write = decoder.writer.write

    def noted(encoded, prompts, **options):
        asked.extend(prompts)
        return write(encoded, prompts, **options)

    decoder.writer.write = noted
    decoder.decode(
        [
            row(1, "en"),
            row(2, "es", translate=True),
            row(3, "pt", context=decoder.context("a table", ("please",))),
        ]
    )
    start = ID["<|startoftranscript|>"]
    assert asked == [
        [start, ID["<|en|>"], ID["<|transcribe|>"]],
        [start, ID["<|es|>"], ID["<|translate|>"]],
        [
            *(ID["<|startofprev|>"], ID["please"], ID["a"], ID["table"]),
            *(start, ID["<|pt|>"], ID["<|transcribe|>"]),
        ],
    ]


def test_a_retry_is_the_same_each_time(decoder):
    [first] = decoder.decode([row(1, "en")])
    tries = [decoder.retry(row(1, "en"), first) for _ in range(2)]
    assert tries[0].tokens == tries[1].tokens
    assert tries[0].average_logprob >= first.average_logprob or not tries[0].repetitive
    assert tries[0].language == "en"


def test_a_context_is_at_most_half_of_the_models_positions(decoder, monkeypatch):
    long = decoder.context("hello " * 1000, ("table",) * 50)
    assert len(long) == 223
    assert long[0] == ID["<|startofprev|>"]
    assert long[-1] == ID["hello"]
    assert decoder.context(None, ()) == decoder.context("  ", ()) == ()
    monkeypatch.setattr(whisper_sampling, "MAX_TOKENS", 448)
    [heard] = decoder.decode([row(1, "en", context=long)])
    assert 0 < len(heard.tokens) <= 448 - 223 - 3


@pytest.mark.parametrize(
    ("wanted", "code"), [("es-MX", "es"), ("PT_br", "pt"), ("xx", None), (None, None)]
)
def test_languages_are_known_by_their_first_part(decoder, wanted, code):
    assert decoder.language(wanted) == code


def test_half_precision_stays_near_and_whole(model):
    half = TorchDecoder(model=build().bfloat16(), tokenizer=WordTokenizer())
    [heard] = half.decode([row(1, "en")])
    assert np.isfinite(heard.average_logprob)
