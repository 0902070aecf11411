"""Voice notes become text, once."""

from __future__ import annotations

import pytest

from models.accounts import SpeechHints
from models.conversations import StoredMessage
from models.errors import (
    EngineUnavailableError,
    MediaNotReadyError,
    MediaRejectedError,
    RecordingTooLongError,
)
from models.inference import DETECT_LANGUAGE
from models.messages import InboundMessage, MediaRef
from serve_app.conversation.audio_processor import NO_HINTS, AudioProcessor
from serve_app.conversation.reading import HeardMessage
from tests.unit.conversation import stage
from tests.unit.conversation.stage import Stage


async def hear(
    on: Stage,
    *messages: InboundMessage,
    voice_allowed: bool = True,
    hints: SpeechHints = NO_HINTS,
) -> list[HeardMessage]:
    _, stored = await on.store.conversations.record(
        messages, owner_id="owner-1", account=stage.account()
    )
    audio = AudioProcessor(conversations=on.store.conversations, transcriber=on.transcriber)
    return await audio.transcribe(
        tuple(stored),
        account=stage.account(),
        channel=on.channel,
        voice_allowed=voice_allowed,
        hints=hints,
    )


def on_record(on: Stage, of: InboundMessage) -> StoredMessage:
    return on.store.tables.messages[of.job_id]


async def test_text_passes_through() -> None:
    on = await stage.build_stage()
    (heard,) = await hear(on, stage.message(1, "  Hello  "))
    assert (heard.text, heard.spoken, heard.problem) == ("Hello", False, None)
    assert on.transcriber.requests == []


async def test_a_voice_note_is_heard_and_put_on_record() -> None:
    on = await stage.build_stage(heard=" A table for two ")
    note = stage.message(1, "", voice=on.record_voice(b"ogg"))
    (heard,) = await hear(on, note, hints=SpeechHints(language="pt"))
    assert (heard.text, heard.spoken, heard.problem) == ("A table for two", True, None)
    assert (heard.language, heard.audio_seconds) == ("pt", 2.0)
    (request,) = on.transcriber.requests
    assert (request.audio, request.content_type, request.language) == (b"ogg", "audio/ogg", "pt")
    stored = on_record(on, note)
    assert (stored.transcript or "").strip() == "A table for two"
    assert (stored.transcript_language, stored.audio_seconds) == ("pt", 2.0)


async def test_an_owners_hints_reach_the_engine() -> None:
    on = await stage.build_stage(heard="Two galões")
    note = stage.message(1, "", voice=on.record_voice(b"ogg"))
    hints = SpeechHints(language="auto", prompt="No Café Jardim:", hot_words=("galão", "bica"))
    (heard,) = await hear(on, note, hints=hints)
    assert heard.language == "en", "what was detected"
    (request,) = on.transcriber.requests
    assert (request.language, request.prompt) == (DETECT_LANGUAGE, "No Café Jardim:")
    assert request.hot_words == ("galão", "bica")


async def test_without_hints_the_installations_settings_decide() -> None:
    on = await stage.build_stage(heard="Two coffees")
    await hear(on, stage.message(1, "", voice=on.record_voice(b"ogg")))
    (request,) = on.transcriber.requests
    assert (request.language, request.prompt, request.hot_words) == (None, None, ())


async def test_a_transcript_on_record_is_not_made_again() -> None:
    on = await stage.build_stage(heard="Once")
    note = stage.message(1, "", voice=on.record_voice(b"ogg"))
    (first,) = await hear(on, note)
    on.channel.media.clear()
    (again,) = await hear(on, note)
    assert len(on.transcriber.requests) == 1
    assert (again.text, again.language, again.audio_seconds) == ("Once", first.language, 2.0)


async def test_silence_on_record_is_not_listened_to_again() -> None:
    on = await stage.build_stage(heard="")
    note = stage.message(1, "", voice=on.record_voice(b"ogg"))
    for _ in range(2):
        (heard,) = await hear(on, note)
        assert (heard.problem, heard.text, heard.spoken) == ("voice_not_heard", "", False)
        assert heard.language is None
        assert heard.audio_seconds == 2.0
    assert len(on.transcriber.requests) == 1


async def test_a_caption_with_silence_is_a_text() -> None:
    on = await stage.build_stage(heard="  ")
    (heard,) = await hear(on, stage.message(1, "Listen!", voice=on.record_voice(b"x")))
    assert (heard.text, heard.spoken, heard.problem) == ("Listen!", False, None)


async def test_a_caption_stands_in_front_of_what_was_said() -> None:
    on = await stage.build_stage(heard="for four people")
    (heard,) = await hear(on, stage.message(1, "A table", voice=on.record_voice(b"x")))
    assert (heard.text, heard.spoken) == ("A table\nfor four people", True)


@pytest.mark.parametrize(("caption", "problem"), [("", "voice_unreadable"), ("Hi", None)])
async def test_what_cannot_be_decoded(caption: str, problem: str | None) -> None:
    on = await stage.build_stage(heard=MediaRejectedError("no audio stream"))
    note = stage.message(1, caption, voice=on.record_voice(b"noise"))
    (heard,) = await hear(on, note)
    assert (heard.problem, heard.text, heard.spoken) == (problem, caption, False)
    assert on_record(on, note).transcript is None


@pytest.mark.parametrize(("caption", "problem"), [("", "voice_too_long"), ("Hi", None)])
async def test_what_is_too_long(caption: str, problem: str | None) -> None:
    on = await stage.build_stage(heard=RecordingTooLongError("an hour", max_seconds=600))
    (heard,) = await hear(on, stage.message(1, caption, voice=on.record_voice(b"long")))
    assert (heard.problem, heard.text) == (problem, caption)


async def test_a_file_that_the_channel_refuses() -> None:
    on = await stage.build_stage()
    on.channel.media["https://media.test/big"] = MediaRejectedError("17 MB")
    (heard,) = await hear(on, stage.message(1, "", voice="https://media.test/big"))
    assert heard.problem == "voice_unreadable"
    assert on.transcriber.requests == []


async def test_voice_is_not_in_the_plan() -> None:
    on = await stage.build_stage()
    (heard,) = await hear(
        on, stage.message(1, "", voice=on.record_voice(b"x")), voice_allowed=False
    )
    assert heard.problem == "voice_not_supported"
    assert on.transcriber.requests == []


@pytest.mark.parametrize("error", [EngineUnavailableError("full"), MediaNotReadyError("404")])
async def test_what_may_pass_is_tried_again(error: Exception) -> None:
    on = await stage.build_stage(heard=error)
    with pytest.raises(type(error)):
        await hear(on, stage.message(1, "", voice=on.record_voice(b"x")))


async def test_the_notes_that_were_heard_before_a_failure_are_not_heard_again() -> None:
    on = await stage.build_stage(heard={b"good": "Heard", b"bad": EngineUnavailableError("full")})
    notes = [
        stage.message(1, "", voice=on.record_voice(b"good")),
        stage.message(2, "", voice=on.record_voice(b"bad")),
    ]
    for _ in range(2):
        with pytest.raises(EngineUnavailableError):
            await hear(on, *notes)
    assert [r.audio for r in on.transcriber.requests] == [b"good", b"bad", b"bad"]


@pytest.mark.parametrize(
    ("body", "media", "problem"),
    [
        ("", (), "empty_message"),
        ("  ", (), "empty_message"),
        ("", (MediaRef(url="https://m/1", content_type="image/jpeg"),), "document_not_read"),
        ("Look!", (MediaRef(url="https://m/1", content_type="image/jpeg"),), None),
    ],
)
async def test_messages_without_words(
    body: str, media: tuple[MediaRef, ...], problem: str | None
) -> None:
    on = await stage.build_stage()
    (heard,) = await hear(on, stage.message(1, body, media=media))
    assert heard.problem == problem


async def test_order_is_kept_whatever_takes_longer() -> None:
    on = await stage.build_stage(heard="second")
    heard = await hear(
        on,
        stage.message(1, "first"),
        stage.message(2, "", voice=on.record_voice(b"x")),
        stage.message(3, "third"),
    )
    assert [h.text for h in heard] == ["first", "second", "third"]
