"""What a batch asks of CTranslate2, with a stand-in for a multilingual model.

The demo model knows English only; its real results are tested against faster-whisper's own in
tests/integration/engines.
"""

from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit

from serve_app.engines.whisper_ctranslate2 import CTranslate2Decoder
from serve_app.engines.whisper_rows import RETRY_TEMPERATURES, SpeechRow

VOCABULARY = [
    "[unk]",
    "hello",
    "hola",
    "<|endoftext|>",
    "<|startoftranscript|>",
    "<|en|>",
    "<|es|>",
    "<|transcribe|>",
    "<|translate|>",
    "<|startoflm|>",
    "<|startofprev|>",
    "<|nospeech|>",
    "<|notimestamps|>",
    "<|0.00|>",
]
ID = {token: index for index, token in enumerate(VOCABULARY)}


@dataclass
class Result:
    word: str
    score: float = -0.1
    no_speech_prob: float = 0.0

    @property
    def sequences_ids(self):
        return [[ID[self.word]]]

    @property
    def scores(self):
        return [self.score]


@dataclass
class Whisper:
    """Answers each `generate` with the next of `script`."""

    script: list[list[Result]]
    spoken: list[str] = field(default_factory=list)
    is_multilingual: bool = True
    encoded: int = 0
    detected: int = 0
    calls: list[tuple[list[list[int]], dict]] = field(default_factory=list)

    def detect_language(self, encoded):
        self.detected += 1
        return [[(f"<|{code}|>", 0.9), ("<|en|>", 0.1)] for code in self.spoken]

    def generate(self, encoded, prompts, **options):
        self.calls.append((prompts, options))
        return self.script.pop(0)


class Model:
    supported_languages: ClassVar = ["en", "es"]

    def __init__(self, whisper: Whisper) -> None:
        self.model = whisper
        self.hf_tokenizer = Tokenizer(WordLevel(ID, unk_token="[unk]"))
        self.hf_tokenizer.pre_tokenizer = WhitespaceSplit()

        self.aligned: list[tuple] = []

    def encode(self, features: np.ndarray) -> np.ndarray:
        self.model.encoded += 1
        return features

    def find_alignment(self, tokenizer, tokens, encoded, frames):
        self.aligned.append((tokenizer, tokens, frames))
        return [[{"word": " hola", "start": 0.1, "end": 0.4, "probability": np.float32(0.75)}]]


def row(language: str | None = None, *, frames: int = 10, **options) -> SpeechRow:
    features = np.zeros((80, 10), dtype=np.float32)
    return SpeechRow(features=features, frames=frames, language=language, **options)


def prompt(code: str, *, task: str = "transcribe") -> list[int]:
    return [ID["<|startoftranscript|>"], ID[f"<|{code}|>"], ID[f"<|{task}|>"]]


def test_rows_of_several_languages_share_one_encode_and_one_generate():
    whisper = Whisper([[Result("hello"), Result("hola"), Result("hola")]], ["en", "es", "en"])
    heard = CTranslate2Decoder(model=Model(whisper)).decode([row(), row(), row("es")])
    [(prompts, options)] = whisper.calls
    assert prompts == [prompt("en"), prompt("es"), prompt("es")]
    assert options["beam_size"] == 5
    assert (whisper.encoded, whisper.detected) == (1, 1)
    assert [h.language for h in heard] == ["en", "es", "es"]
    assert [h.language_probability for h in heard] == [0.9, 0.9, None]


def test_prompts_carry_context_task_and_language():
    whisper = Whisper([[Result("hello"), Result("hello")]])
    decoder = CTranslate2Decoder(model=Model(whisper))
    context = decoder.context("hola hello", ["hello"])
    # "Previous text": hot words first, then the prompt.
    assert context == (ID["<|startofprev|>"], ID["hello"], ID["hola"], ID["hello"])
    decoder.decode(
        [row("es", context=context, translate=True), row("en", context=context, translate=False)]
    )
    [(prompts, _)] = whisper.calls
    assert prompts == [[*context, *prompt("es", task="translate")], [*context, *prompt("en")]]


def test_a_retry_keeps_context_and_task():
    whisper = Whisper([[Result("hello", -4.0)], [Result("hello")]])
    decoder = CTranslate2Decoder(model=Model(whisper))
    asked = row("es", context=(ID["<|startofprev|>"], ID["hola"]), translate=True)
    [first] = decoder.decode([asked])
    decoder.retry(asked, first)
    (first_prompts, _), (again, _) = whisper.calls
    assert first_prompts == again == [[*asked.context, *prompt("es", task="translate")]]


def test_rows_of_other_windows_or_contexts_stay_apart():
    decoder = CTranslate2Decoder(model=Model(Whisper([])))
    key = decoder.batch_key
    assert key(row("en")) == key(row("es", translate=True))
    assert key(row("en")) != key(row("en", context=(1, 2)))
    assert key(row("en")) != key(row("en", frames=20))


def test_words_are_timed_on_the_kept_encoding_by_the_rows_own_task():
    whisper = Whisper([[Result("hola", -4.0)]])
    model = Model(whisper)
    decoder = CTranslate2Decoder(model=model)
    asked = row("es", translate=True)
    [heard] = decoder.decode([asked])
    heard = replace(heard, encoded=None)
    [word] = decoder.words(asked, heard, tokens=[ID["hola"], ID["<|0.00|>"]], content_frames=8)
    assert (word.text, word.start, word.end, word.probability) == (" hola", 0.1, 0.4, 0.75)
    [(tokenizer, spoken, frames)] = model.aligned
    assert (tokenizer.language_code, tokenizer.task) == ("es", ID["<|translate|>"])
    # Time stamps aren't spoken.
    assert (spoken, frames) == ([[ID["hola"]]], 8)


def test_nothing_is_detected_where_every_row_names_its_language():
    whisper = Whisper([[Result("hola")]])
    CTranslate2Decoder(model=Model(whisper)).decode([row("es")])
    assert whisper.detected == 0


@pytest.mark.parametrize(
    ("score", "no_speech", "suspect", "silent"),
    [
        (-0.2, 0.0, False, False),
        (-0.2, 0.9, False, False),
        (-4.0, 0.1, True, False),
        (-4.0, 0.9, False, True),
    ],
)
def test_what_looks_wrong_and_what_is_silence(score, no_speech, suspect, silent):
    whisper = Whisper([[Result("hello", score, no_speech)]])
    [heard] = CTranslate2Decoder(model=Model(whisper)).decode([row("en")])
    assert (heard.suspect, heard.silent) == (suspect, silent)


def test_a_retry_stops_at_the_first_convincing_try_without_encoding_again():
    whisper = Whisper([[Result("hello", -4.0)], [Result("hello", -3.0)], [Result("hola", -0.1)]])
    decoder = CTranslate2Decoder(model=Model(whisper))
    [first] = decoder.decode([row("es")])
    heard = decoder.retry(row("es"), first)
    assert heard.tokens == (ID["hola"],)
    assert whisper.encoded == 1
    assert [options.get("sampling_temperature") for _, options in whisper.calls] == [None, 0.2, 0.4]
    assert all(prompts == [prompt("es")] for prompts, _ in whisper.calls)


def test_if_no_try_convinces_the_likeliest_counts():
    tries = [[Result("hello", score)] for score in (-5.0, -4.0, -3.0, -4.5, -6.0)]
    whisper = Whisper([[Result("hola", -4.2)], *tries])
    decoder = CTranslate2Decoder(model=Model(whisper))
    [first] = decoder.decode([row("en")])
    heard = decoder.retry(row("en"), first)
    assert heard.average_logprob == pytest.approx(-1.5)
    assert len(whisper.calls) == 1 + len(RETRY_TEMPERATURES)


@pytest.mark.parametrize(
    ("wanted", "code"),
    [("es", "es"), ("es-MX", "es"), ("ES_mx", "es"), ("xx", None), (None, None)],
)
def test_languages_are_known_by_their_first_part(wanted, code):
    assert CTranslate2Decoder(model=Model(Whisper([]))).language(wanted) == code
