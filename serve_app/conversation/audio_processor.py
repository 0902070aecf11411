"""Turns voice notes into text, once."""

from __future__ import annotations

import asyncio

import structlog

from models.accounts import SpeechHints, TwilioAccount
from models.conversations import StoredMessage
from models.errors import MediaRejectedError, RecordingTooLongError
from models.inference import Transcript, TranscriptionRequest
from models.messages import MediaRef
from serve_app.conversation.reading import HeardMessage, wordless_problem
from serve_app.ports import Channel, ConversationRepository, Transcriber

log = structlog.get_logger(__name__)

NO_HINTS = SpeechHints()


class AudioProcessor:
    """Fetches and transcribes voice notes; a transcript on record isn't made again."""

    def __init__(
        self,
        *,
        conversations: ConversationRepository,
        transcriber: Transcriber,
        ask_about_structured: bool = False,
    ) -> None:
        """`ask_about_structured` is `wordless_problem`'s."""
        self._conversations = conversations
        self._transcriber = transcriber
        self._ask_about_structured = ask_about_structured

    async def transcribe(
        self,
        messages: tuple[StoredMessage, ...],
        *,
        account: TwilioAccount,
        channel: Channel,
        voice_allowed: bool,
        hints: SpeechHints = NO_HINTS,
    ) -> list[HeardMessage]:
        """All messages, in order; those without audio pass through."""
        return list(
            await asyncio.gather(
                *(
                    self._hear(m, account, channel, voice_allowed=voice_allowed, hints=hints)
                    for m in messages
                )
            )
        )

    async def _hear(
        self,
        stored: StoredMessage,
        account: TwilioAccount,
        channel: Channel,
        *,
        voice_allowed: bool,
        hints: SpeechHints,
    ) -> HeardMessage:
        body = stored.message.body.strip()
        recording = next((ref for ref in stored.message.media if ref.is_audio), None)
        if recording is None:
            return HeardMessage(stored, body, problem=self._without_words(stored, body))
        if not voice_allowed:
            return HeardMessage(stored, body, problem="voice_not_supported")
        if stored.transcript is None:
            try:
                transcript = await self._make_transcript(stored, recording, account, channel, hints)
            except MediaRejectedError as error:
                log.warning("voice_note_rejected", message_id=stored.id, error=str(error))
                problem = "voice_unreadable"
                if isinstance(error, RecordingTooLongError):
                    problem = "voice_too_long"
                return HeardMessage(stored, body, problem=None if body else problem)
            text, language = transcript.text, transcript.language
            seconds = transcript.audio_seconds
        else:
            text, language = stored.transcript, stored.transcript_language
            seconds = stored.audio_seconds
        spoken = text.strip()
        return HeardMessage(
            stored,
            "\n".join(part for part in (body, spoken) if part),
            spoken=bool(spoken),
            language=language if spoken else None,
            audio_seconds=seconds,
            problem=None if body or spoken else "voice_not_heard",
        )

    def _without_words(self, stored: StoredMessage, body: str) -> str | None:
        if body:
            return None
        return wordless_problem(stored.message, ask_about_structured=self._ask_about_structured)

    async def _make_transcript(
        self,
        stored: StoredMessage,
        ref: MediaRef,
        account: TwilioAccount,
        channel: Channel,
        hints: SpeechHints,
    ) -> Transcript:
        file = await channel.fetch_media(ref, account)
        transcript = await self._transcriber.transcribe(
            TranscriptionRequest(
                request_id=stored.id,
                audio=file.content,
                content_type=file.content_type,
                language=hints.language,
                prompt=hints.prompt or None,
                hot_words=hints.hot_words,
            )
        )
        await self._conversations.save_transcript(
            stored.id,
            text=transcript.text,
            language=transcript.language,
            audio_seconds=transcript.audio_seconds,
        )
        log.info(
            "voice_note_transcribed",
            message_id=stored.id,
            audio_seconds=round(transcript.audio_seconds, 2),
            seconds=round(transcript.processing_seconds, 3),
            batch_size=transcript.batch_size,
        )
        return transcript
