"""What every `ports.Channel` promises: run against Twilio's and the Cloud API's (over the simulator) and the
in-memory one."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

import pytest
from pydantic import SecretStr

from models.accounts import SendingRules, TwilioAccount
from models.errors import (
    ListUnavailableError,
    MediaNotReadyError,
    MediaRejectedError,
    RetryableError,
    SendDeferredError,
    SendRejectedError,
    SendUnknownError,
    SignatureError,
    UnprocessableError,
)
from models.messages import (
    Choice,
    DeliveryStatus,
    InboundMessage,
    MediaFile,
    MediaRef,
    MessageKind,
    OutboundMessage,
    StatusUpdate,
    TemplateContent,
)
from serve_app.ports import Channel, WebhookRequest
from serve_app.testing.channels import MemoryChannel
from tests.integration.channels.serving import (
    ACCOUNT_SID,
    BUSINESS,
    CLOUD_ACCOUNT,
    CLOUD_BUSINESS,
    CLOUD_CONTACT,
    CONTACT,
    Stage,
    account,
    cloud_account,
    reply,
    stage,
)

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
VOICE = b"OggS" * 50


class Provider(Protocol):
    """What a suite needs to make happen at a channel's provider."""

    channel: Channel
    business: str
    contact: str

    def account(self, **changes: object) -> TwilioAccount: ...

    def reply(self, body: str = "Hello", **changes: object) -> OutboundMessage: ...

    async def write(self, body: str, *, voice: bytes | None = None) -> WebhookRequest:
        """A contact writes; returns the webhook."""
        ...

    async def lose(self, *texts: str, voice: bytes | None = None) -> None:
        """A contact writes, and no webhook arrives."""
        ...

    async def report(self) -> WebhookRequest:
        """Something is sent and delivered; returns a delivery report."""
        ...

    async def refuse_next(self, kind: str) -> None:
        """`busy`, `final`, `lost` (accepted without an answer) or `failed` (answered 5xx)."""
        ...

    def template(self) -> TemplateContent:
        """Of the provider's kind, with two variables."""
        ...

    async def taken(self) -> list[str]:
        """The texts that the provider took."""
        ...

    async def offered(self) -> list[tuple[str, ...]]:
        """The buttons under what the provider took."""
        ...

    async def press(self, message_id: str, title: str) -> InboundMessage:
        """A contact taps a button of that message."""
        ...

    async def break_list(self) -> None: ...

    async def break_media(self) -> None: ...


@dataclass
class OverSimulator:
    on: Stage
    business: str = BUSINESS
    contact: str = CONTACT
    path: str = "/status"
    """Of its delivery reports."""
    opted_out: int = 21610

    @property
    def channel(self) -> Channel:
        return self.on.channel

    def account(self, **changes: object) -> TwilioAccount:
        return account(**changes)

    def reply(self, body: str = "Hello", **changes: object) -> OutboundMessage:
        return reply(body, **changes)

    async def write(self, body: str, *, voice: bytes | None = None) -> WebhookRequest:
        media = []
        if voice is not None:
            content = base64.b64encode(voice).decode()
            media.append({"content_base64": content, "content_type": "audio/ogg"})
        await self.on.write(
            body=body, media=media, channel=self.channel.name, **{"from": self.contact}
        )
        return self.on.receiver.requests[-1]

    async def lose(self, *texts: str, voice: bytes | None = None) -> None:
        for text in texts:
            await self.write(text, voice=voice)

    async def report(self) -> WebhookRequest:
        await self.channel.send(self.reply(), self.account())
        return (await self.on.receiver.wait_for(2, path=self.path))[1]

    async def refuse_next(self, kind: str) -> None:
        await self.on.faults(
            **{
                "busy": {"rate_429": 1, "retry_after_s": 3},
                "final": {"reject": 1, "reject_code": self.opted_out},
                "lost": {"timeout_after": 1, "hold_s": 2},
                "failed": {"error_after": 1},
            }[kind]
        )

    def template(self) -> TemplateContent:
        return TemplateContent(content_sid="HX" + "1" * 32, variables={"1": "Ana", "2": "Café"})

    async def taken(self) -> list[str]:
        messages = await self.on.messages(contact=self.contact)
        return [m["body"] for m in messages if m["direction"] == "outbound"]

    async def offered(self) -> list[tuple[str, ...]]:
        messages = await self.on.messages(contact=self.contact)
        return [
            tuple(button["text"] for button in m["buttons"])
            for m in messages
            if m["direction"] == "outbound"
        ]

    async def press(self, message_id: str, title: str) -> InboundMessage:
        tap = {"button": {"title": title, "id": title}, "reply_to": message_id}
        await self.on.write(channel=self.channel.name, **{"from": self.contact}, **tap)
        # Delivery reports may come after it.
        request = next(
            request
            for request in reversed(self.on.receiver.requests)
            if self.channel.read(request, received_at=NOW).messages
        )
        self.channel.verify(request, self.account())
        (message,) = self.channel.read(request, received_at=NOW).messages
        return message

    async def break_list(self) -> None:
        await self.on.faults(list_unavailable=True)

    async def break_media(self) -> None:
        await self.on.faults(media_500=1)


class OverCloudSimulator(OverSimulator):
    @property
    def channel(self) -> Channel:
        return self.on.cloud

    def account(self, **changes: object) -> TwilioAccount:
        return cloud_account(**changes)

    def reply(self, body: str = "Hello", **changes: object) -> OutboundMessage:
        ends = {"account_id": CLOUD_ACCOUNT, "sender": self.business, "recipient": self.contact}
        return reply(body, **{**ends, **changes})

    def template(self) -> TemplateContent:
        variables = {"2": "Café", "1": "Ana"}
        return TemplateContent(name="follow_up", language="pt_BR", variables=variables)


class InMemory:
    business = BUSINESS
    contact = CONTACT

    def __init__(self) -> None:
        self.channel = MemoryChannel()

    def account(self, **changes: object) -> TwilioAccount:
        return account(**changes)

    def reply(self, body: str = "Hello", **changes: object) -> OutboundMessage:
        return reply(body, **changes)

    async def write(self, body: str, *, voice: bytes | None = None) -> WebhookRequest:
        media: tuple[MediaRef, ...] = ()
        if voice is not None:
            media = (MediaRef(url="memory:1", content_type="audio/ogg"),)
            self.channel.media["memory:1"] = MediaFile(content=voice, content_type="audio/ogg")
        message = InboundMessage(
            channel=self.channel.name,
            account_id=ACCOUNT_SID,
            message_id="SM1",
            sender=CONTACT,
            recipient=BUSINESS,
            contact_key=CONTACT,
            body=body,
            media=media,
            received_at=NOW,
        )
        return self.channel.webhook(message, account())

    async def lose(self, *texts: str, voice: bytes | None = None) -> None:
        for text in texts:
            request = await self.write(text, voice=voice)
            (message,) = self.channel.read(request, received_at=datetime.now(UTC)).messages
            number = len(self.channel.received) + 1
            lost = message.model_copy(update={"message_id": f"SM{number}"})
            kind = "audio" if voice else "text"
            self.channel.received.append(lost.model_copy(update={"kind": kind}))

    async def report(self) -> WebhookRequest:
        sent = await self.channel.send(reply(), account())
        update = StatusUpdate(
            channel=self.channel.name,
            account_id=ACCOUNT_SID,
            message_id=sent.message_id,
            status=DeliveryStatus.DELIVERED,
            reply_id=reply().reply_id,
            received_at=NOW,
        )
        return self.channel.status_webhook(update, account())

    async def refuse_next(self, kind: str) -> None:
        self.channel.fail_next(
            {
                "busy": SendDeferredError("busy", retry_after=3.0, code=20429),
                "final": SendRejectedError("opted out", code=21610),
                "lost": SendUnknownError("no answer"),
                "failed": SendUnknownError("500"),
            }[kind]
        )

    def template(self) -> TemplateContent:
        return TemplateContent(content_sid="any", variables={"1": "Ana", "2": "Café"})

    async def taken(self) -> list[str]:
        return [entry.sent.body for entry in self.channel.accepted]

    async def offered(self) -> list[tuple[str, ...]]:
        return [entry.message.buttons for entry in self.channel.accepted]

    async def press(self, message_id: str, title: str) -> InboundMessage:
        request = await self.write(title)
        (message,) = self.channel.read(request, received_at=NOW).messages
        tap = {
            "kind": MessageKind.BUTTON,
            "choice": Choice(id=title, title=title),
            "in_reply_to": message_id,
        }
        tapped = self.channel.webhook(message.model_copy(update=tap), account())
        return self.channel.read(tapped, received_at=NOW).messages[0]

    async def break_list(self) -> None:
        self.channel.list_error = ListUnavailableError("down")

    async def break_media(self) -> None:
        self.channel.media["memory:1"] = MediaNotReadyError("500")


@asynccontextmanager
async def provider_named(name: str) -> AsyncIterator[Provider]:
    if name == "memory":
        yield InMemory()
        return
    async with stage(request_timeout_s=2.0) as on:
        if name == "whatsapp_cloud":
            yield OverCloudSimulator(
                on, CLOUD_BUSINESS, CLOUD_CONTACT, path="/whatsapp_cloud", opted_out=131050
            )
            return
        yield OverSimulator(on)


PROVIDERS = [
    "memory",
    pytest.param("twilio", marks=pytest.mark.integration),
    pytest.param("whatsapp_cloud", marks=pytest.mark.integration),
]


@pytest.fixture(params=PROVIDERS[:2])
async def listing(request: pytest.FixtureRequest) -> AsyncIterator[Provider]:
    """Those that tell afterwards what was sent and received."""
    async with provider_named(request.param) as opened:
        assert opened.channel.lists_messages
        yield opened


@pytest.fixture(params=PROVIDERS)
async def provider(request: pytest.FixtureRequest) -> AsyncIterator[Provider]:
    async with provider_named(request.param) as opened:
        yield opened


async def test_a_webhook_is_verified_and_understood(provider: Provider) -> None:
    channel = provider.channel
    request = await provider.write("Olá 👋\n ")
    assert channel.account_ids(request) == (provider.account().account_sid,)
    channel.verify(request, provider.account())
    channel.verify(
        request,
        provider.account(
            auth_token=SecretStr("newer"), secondary_token=provider.account().auth_token
        ),
    )
    (message,) = channel.read(request, received_at=NOW).messages
    assert message.channel == channel.name
    assert (message.account_id, message.body) == (provider.account().account_sid, "Olá 👋\n ")
    assert (message.sender, message.recipient) == (provider.contact, provider.business)
    assert message.contact_key == provider.contact
    assert message.received_at == NOW
    assert channel.read(request, received_at=NOW).messages[0].job_id == message.job_id


async def test_whatever_was_changed_is_noticed(provider: Provider) -> None:
    channel = provider.channel
    request = await provider.write("pay 10")
    forgeries = [
        replace(request, body=request.body.replace(b"10", b"99")),
        replace(request, headers={}),
    ]
    if channel.name != "whatsapp_cloud":
        # Meta signs the body alone.
        forgeries.append(replace(request, url=request.url + "?x=1"))
    for forged in forgeries:
        with pytest.raises(SignatureError):
            channel.verify(forged, provider.account())
    with pytest.raises(SignatureError):
        channel.verify(request, provider.account(auth_token=SecretStr("another")))


async def test_a_webhook_that_names_no_account(provider: Provider) -> None:
    with pytest.raises(SignatureError):
        provider.channel.account_ids(WebhookRequest(url="https://x.test", headers={}, body=b"a=1"))


async def test_a_webhook_that_makes_no_sense(provider: Provider) -> None:
    request = WebhookRequest(url="https://x.test", headers={}, body=b"AccountSid=AC1")
    with pytest.raises(UnprocessableError):
        provider.channel.read(request, received_at=NOW)
    with pytest.raises(UnprocessableError):
        provider.channel.read(
            replace(request, url="https://x.test/webhooks/twilio/status"), received_at=NOW
        )


async def test_a_delivery_report(provider: Provider) -> None:
    request = await provider.report()
    provider.channel.verify(request, provider.account())
    (update,) = provider.channel.read(request, received_at=NOW).reports
    assert update.status is DeliveryStatus.DELIVERED
    assert update.reply_id == provider.reply().reply_id
    assert update.account_id == provider.account().account_sid
    assert update.error_code is None
    assert update.received_at == NOW


async def test_a_voice_note_is_fetched(provider: Provider) -> None:
    request = await provider.write("", voice=VOICE)
    (message,) = provider.channel.read(request, received_at=NOW).messages
    (ref,) = message.media
    assert ref.is_audio
    file = await provider.channel.fetch_media(ref, provider.account())
    assert (file.content, file.content_type) == (VOICE, "audio/ogg")
    await provider.break_media()
    with pytest.raises(MediaNotReadyError):
        await provider.channel.fetch_media(ref, provider.account())


async def test_a_file_from_nowhere_is_refused(provider: Provider) -> None:
    ref = MediaRef(url="https://elsewhere.example/x", content_type="audio/ogg")
    with pytest.raises(MediaRejectedError):
        await provider.channel.fetch_media(ref, provider.account())


async def found(provider: Provider, **times: float) -> list[str]:
    since = datetime.now(UTC) - timedelta(**times)
    listed = await provider.channel.find_sent(provider.reply(), provider.account(), since=since)
    return [sent.body for sent in listed]


async def test_what_is_sent_is_listed_in_order(listing: Provider) -> None:
    first = await listing.channel.send(listing.reply("one"), listing.account())
    second = await listing.channel.send(listing.reply("two"), listing.account())
    assert first.message_id != second.message_id
    assert (first.body, first.recipient) == ("one", listing.contact)
    await listing.channel.send(
        listing.reply("other", recipient="whatsapp:+15554444444"), listing.account()
    )
    assert await found(listing, seconds=5) == ["one", "two"]
    assert await found(listing, hours=-1) == []


@pytest.mark.parametrize(
    ("kind", "error", "accepted"),
    [
        ("busy", SendDeferredError, False),
        ("final", SendRejectedError, False),
        ("lost", SendUnknownError, True),
        ("failed", SendUnknownError, True),
    ],
)
async def test_each_way_of_failing(
    provider: Provider, kind: str, error: type[Exception], accepted: bool
) -> None:
    await provider.refuse_next(kind)
    with pytest.raises(error) as caught:
        await provider.channel.send(provider.reply("x"), provider.account())
    if isinstance(caught.value, SendDeferredError):
        assert caught.value.retry_after == 3.0
    if isinstance(caught.value, SendRejectedError):
        assert caught.value.code == getattr(provider, "opted_out", 21610)
    assert await provider.taken() == (["x"] if accepted else [])


async def test_a_template_goes_out_in_place_of_the_text(provider: Provider) -> None:
    late = provider.reply("unsaid", template=provider.template())
    sent = await provider.channel.send(late, provider.account())
    assert sent.message_id
    (said,) = await provider.taken()
    assert "unsaid" not in said
    assert said.endswith("Ana Café"), "the variables in their order"


async def test_a_template_of_another_provider_is_refused(provider: Provider) -> None:
    foreign = TemplateContent(variables={"1": "Ana"})
    with pytest.raises(SendRejectedError, match="another provider"):
        await provider.channel.send(provider.reply(template=foreign), provider.account())
    assert await provider.taken() == []


async def test_the_longest_body(provider: Provider) -> None:
    limit = provider.channel.max_body_chars
    await provider.channel.send(provider.reply("x" * limit), provider.account())
    with pytest.raises(SendRejectedError):
        await provider.channel.send(provider.reply("x" * (limit + 1)), provider.account())


CONTENTS = {str(count): f"HX{count:032x}" for count in (1, 2, 3)}


async def test_buttons_arrive_and_a_tap_comes_back(provider: Provider) -> None:
    account = provider.account(sending=SendingRules(buttons=CONTENTS))
    titles = ("Opening hours", "Where are you?", "Zoë 👋")
    assert provider.channel.carries_buttons(
        3, body="How can I help?", recipient=provider.contact, account=account
    )
    sent = await provider.channel.send(provider.reply("How can I help?", buttons=titles), account)
    assert sent.body == "How can I help?"
    assert await provider.offered() == [titles]
    message = await provider.press(sent.message_id, titles[2])
    assert (message.kind, message.body, message.in_reply_to) == (
        "button",
        titles[2],
        sent.message_id,
    )
    assert message.choice == Choice(id=titles[2], title=titles[2])


@pytest.mark.parametrize(("count", "body"), [(0, "x"), (4, "x"), (1, ""), (1, "x" * 1025)])
async def test_buttons_that_no_message_carries(provider: Provider, count: int, body: str) -> None:
    account = provider.account(sending=SendingRules(buttons=CONTENTS))
    assert not provider.channel.carries_buttons(
        count, body=body, recipient=provider.contact, account=account
    )


@pytest.mark.integration
async def test_twilios_templates_for_buttons() -> None:
    async with stage() as on:
        two = account(sending=SendingRules(buttons={"2": CONTENTS["2"]}))

        def carries(count: int, body: str = "x", recipient: str = CONTACT) -> bool:
            return on.channel.carries_buttons(count, body=body, recipient=recipient, account=two)

        assert carries(2)
        assert not carries(3)
        assert not carries(2, "two\nlines")
        assert not carries(2, recipient="+15551234567")
        # A template that was taken away meanwhile: the text goes out alone.
        await on.channel.send(reply("Yes or no?", buttons=("Yes", "No")), account())
        with pytest.raises(SendRejectedError, match="ContentVariables"):
            await on.channel.send(reply("a\nb", buttons=("Yes", "No")), two)
        messages = await on.messages(contact=CONTACT)
        assert [(m["body"], m["buttons"]) for m in messages] == [("Yes or no?", [])]


async def test_a_list_that_cannot_be_read(listing: Provider) -> None:
    await listing.break_list()
    with pytest.raises(RetryableError) as caught:
        await found(listing, seconds=5)
    assert not isinstance(caught.value, SendDeferredError)


async def listed(provider: Provider, **times: float) -> list[InboundMessage]:
    since = datetime.now(UTC) - timedelta(**times)
    received = await provider.channel.list_received(provider.account(), since=since)
    assert received.complete
    return [*received.messages]


async def test_what_contacts_wrote_is_listed_in_order(listing: Provider) -> None:
    await listing.lose("one", "two\n 👋")
    await listing.channel.send(listing.reply("not from a contact"), listing.account())
    first, second = await listed(listing, seconds=5)
    assert (first.body, second.body) == ("one", "two\n 👋")
    assert (first.sender, first.recipient, first.contact_key) == (
        listing.contact,
        listing.business,
        listing.contact,
    )
    assert first.account_id == listing.account().account_sid
    assert first.channel == listing.channel.name
    assert first.job_id != second.job_id
    assert abs((datetime.now(UTC) - first.received_at).total_seconds()) < 5
    assert await listed(listing, hours=-1) == []
    complete = await listing.channel.with_media(first, listing.account())
    assert (complete.kind, complete.media, complete.extra) == ("text", (), {})


async def test_a_listed_voice_note_is_fetched(listing: Provider) -> None:
    await listing.lose("", voice=VOICE)
    (message,) = await listed(listing, seconds=5)
    message = await listing.channel.with_media(message, listing.account())
    assert message.kind == "audio"
    (ref,) = message.media
    file = await listing.channel.fetch_media(ref, listing.account())
    assert (file.content, file.content_type) == (VOICE, "audio/ogg")


async def test_a_list_of_received_messages_that_cannot_be_read(listing: Provider) -> None:
    await listing.lose("one")
    await listing.break_list()
    with pytest.raises(ListUnavailableError):
        await listed(listing, seconds=5)


@pytest.mark.integration
async def test_what_cannot_be_listed_says_so() -> None:
    async with stage() as on:
        for asked in (
            on.cloud.find_sent(reply(), cloud_account(), since=NOW),
            on.cloud.list_received(cloud_account(), since=NOW),
        ):
            with pytest.raises(ListUnavailableError, match="doesn't tell"):
                await asked
        assert not on.cloud.lists_messages


@pytest.mark.integration
async def test_a_listed_message_is_the_one_its_webhook_brings() -> None:
    async with stage() as on:
        for content in ([], [{"content_base64": "T2dn", "content_type": "audio/ogg"}]):
            await on.write(body="" if content else "Hi", media=content)
            brought = on.channel.parse(on.receiver.requests[-1], received_at=NOW)
            since = datetime.now(UTC) - timedelta(seconds=5)
            found = await on.channel.list_received(account(), since=since)
            message = await on.channel.with_media(found.messages[-1], account())
            same = {"received_at", "profile_name", "extra"}
            assert message.model_dump(exclude=same) == brought.model_dump(exclude=same)
            assert message.job_id == brought.job_id
            assert message.conversation_key == brought.conversation_key


@pytest.mark.integration
async def test_a_list_that_is_longer_than_what_is_read_of_it() -> None:
    async with stage(twilio_max_listed=3) as on:
        for number in range(4):
            await on.write(body=f"{number}")
        since = datetime.now(UTC) - timedelta(seconds=5)
        received = await on.channel.list_received(account(), since=since)
        assert not received.complete
        assert [message.body for message in received.messages] == ["1", "2", "3"]


async def test_typing_never_fails_a_turn(provider: Provider) -> None:
    request = await provider.write("hi")
    (message,) = provider.channel.read(request, received_at=NOW).messages
    await provider.channel.show_typing(message, provider.account())
    await provider.channel.show_typing(message, provider.account(auth_token=SecretStr("wrong")))
