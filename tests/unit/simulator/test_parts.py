"""The simulator's pieces: signing, overrides, segments, faults, memory."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twilio.request_validator import RequestValidator

from serve_app.simulator.faults import FaultDie
from serve_app.simulator.resources import Page
from serve_app.simulator.segments import count_segments
from serve_app.simulator.settings import Faults, SimulatorSettings
from serve_app.simulator.signing import signature
from serve_app.simulator.state import SimFile, SimMessage, SimulatorState
from serve_app.simulator.validation import RestError, check_new_message
from serve_app.simulator.webhooks import Detour, Overrides

texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)


@given(st.dictionaries(texts, texts, max_size=8), texts)
def test_signs_as_the_sdk_validates(params, token):
    url = "https://bot.example.com/w?reply=1"
    assert RequestValidator(token).validate(url, params, signature(token, url, params))


@pytest.mark.parametrize(
    ("fragment", "expected"),
    [
        ("", Overrides()),
        ("rc=3&rp=ct,rt,5xx", Overrides(retries=3, retry_on=frozenset({"ct", "rt", "5xx"}))),
        ("rc=9&ct=1&rt=99999&tt=2000", Overrides(5, frozenset({"ct"}), 0.1, 15.0, 2.0)),
        ("rc=-1&rp=whatever", Overrides()),
        ("rc=0&rp=all", Overrides(0, frozenset({"all"}))),
    ],
)
def test_connection_overrides(fragment, expected):
    assert Overrides.of(fragment) == expected


def test_all_means_every_failure():
    everything = Overrides.of("rp=all")
    assert all(everything.retries_after(kind) for kind in ("ct", "rt", "4xx", "5xx"))
    assert not Overrides().retries_after("5xx")


def test_a_detour_maps_what_is_public_and_nothing_else():
    detour = Detour.between(
        "https://bot.example.com/prefix/webhooks/twilio",
        "http://127.0.0.1:8000/webhooks/twilio#rc=1",
    )
    assert detour == Detour("https://bot.example.com/prefix", "http://127.0.0.1:8000")
    status = detour.of("https://bot.example.com/prefix/webhooks/twilio/status?reply=1")
    assert status == "http://127.0.0.1:8000/webhooks/twilio/status?reply=1"
    for other in ("https://bot.example.com/prefixed", "https://else.example.com/x"):
        assert detour.of(other) == other
    same = Detour.between("http://127.0.0.1:1/w", "http://127.0.0.1:1/w")
    assert same.of("http://127.0.0.1:1/w/x") == "http://127.0.0.1:1/w/x"


@pytest.mark.parametrize(
    ("body", "segments"),
    [
        ("", 1),
        ("a" * 160, 1),
        ("a" * 161, 2),
        ("a" * 306, 2),
        ("€" * 80, 1),
        ("€" * 81, 2),
        ("я" * 70, 1),
        ("я" * 71, 2),
        ("👋" * 35, 1),
        ("👋" * 36, 2),
    ],
)
def test_segments(body, segments):
    assert count_segments(body) == segments


def test_faults_strike_in_their_shares_and_repeat_with_their_seed():
    die = FaultDie()

    def strikes(seed):
        die.set(Faults(seed=seed, rate_429=0.3, error_before=0.2, error_after=0.05, reject=0.1))
        return [die.for_send() for _ in range(10_000)]

    first = strikes(1)
    assert first == strikes(1)
    assert first != strikes(2)
    for name, share in [
        ("rate_429", 0.3),
        ("error_before", 0.2),
        ("error_after", 0.05),
        (None, 0.35),
    ]:
        assert abs(first.count(name) / 10_000 - share) < 0.02


def test_without_faults_nothing_happens():
    die = FaultDie()
    assert die.for_send() is None
    assert not die.loses_callback()
    assert not die.repeats_callback()
    assert not die.breaks_media()
    assert die.shuffled(["a", "b", "c"]) == ["a", "b", "c"]


def message(sid, *, direction="outbound-api", contact="whatsapp:+15550000001"):
    ours = "whatsapp:+15559999999"
    sender, recipient = (contact, ours) if direction == "inbound" else (ours, contact)
    return SimMessage(sid, direction, sender, recipient, "x", "queued")


def state(**bounds):
    return SimulatorState(**{"max_messages": 3, "max_media_bytes": 10, **bounds})


def test_memory_is_bounded():
    memory = state()
    for number in range(10):
        memory.add(message(f"SM{number}", contact=f"c{number % 4}", direction="inbound"))
    assert [m.sid for m in memory.newest_first()] == ["SM9", "SM8", "SM7"]
    assert memory.get("SM6") is None
    assert [m.sid for m in memory.after(0, contact="c3")] == ["SM7"]
    assert memory.after(0, contact="c2") == []
    assert len(memory.last_inbound) == 3
    for number in range(5):
        memory.add_file(SimFile(f"ME{number}", b"12345", "audio/ogg", 0))
    assert [memory.file(f"ME{number}") is not None for number in range(5)] == [False] * 3 + [
        True
    ] * 2


def test_the_same_sid_again_replaces_the_message():
    memory = state()
    for _ in range(5):
        memory.add(message("SM1"))
    assert [m.cursor for m in memory.after(0, contact=message("x").contact)] == [5]
    memory.add(message("SM2", contact="c2"))
    assert [m.sid for m in memory.newest_first()] == ["SM2", "SM1"]


async def test_waiting_ends_with_an_outbound_message_to_that_contact():
    memory = state(max_messages=100)
    waiting = asyncio.create_task(memory.wait_for_outbound(0, contact="c1", seconds=30))
    anybody = asyncio.create_task(memory.wait_for_outbound(0, contact=None, seconds=30))
    await asyncio.sleep(0)
    memory.add(message("SM1", contact="c1", direction="inbound"))
    memory.add(message("SM2", contact="c2"))
    await asyncio.wait_for(anybody, 1)
    assert not waiting.done()
    memory.add(message("SM3", contact="c1"))
    await asyncio.wait_for(waiting, 1)
    await asyncio.wait_for(memory.wait_for_outbound(2, contact="c1", seconds=30), 1)
    await memory.wait_for_outbound(3, contact="c1", seconds=0.01)


def test_a_reset_forgets_but_cursors_go_on():
    memory = state()
    memory.add(message("SM1"))
    memory.clear()
    memory.add(message("SM2"))
    assert [m.cursor for m in memory.after(1, contact=None)] == [2]


FORM = {"To": "whatsapp:+15552223333", "From": "whatsapp:+15550001111", "Body": "hi"}


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"To": ""}, 21604),
        ({"From": ""}, 21603),
        ({"To": "+1555abc"}, 21211),
        ({"To": "whatsapp:+0"}, 21211),
        ({"Body": ""}, 21602),
        ({"Body": "x" * 1601}, 21617),
        ({"From": FORM["To"]}, 21266),
        ({"From": "whatsapp:+15558888888"}, 63007),
        ({"From": "+15550001112", "To": "+15552223333"}, 21606),
        ({"To": "+15552223333"}, 21910),
        ({"To": "+15554445555", "From": "+15550001111"}, 21610),
        ({"StatusCallback": "bot.example.com/x"}, 21609),
    ],
)
def test_what_is_refused(changes, code):
    settings = SimulatorSettings(
        auth_token="t",  # type: ignore[arg-type]
        numbers=("whatsapp:+15550001111", "+15550001111"),
    )
    memory = state()
    memory.opt_out("+15554445555")
    check_new_message(FORM, settings=settings, state=memory)
    check_new_message({**FORM, "To": "whatsapp:US.12ab"}, settings=settings, state=memory)
    with pytest.raises(RestError) as caught:
        check_new_message({**FORM, **changes}, settings=settings, state=memory)
    assert caught.value.code == code


@pytest.mark.parametrize("query", ["PageSize=x", "PageToken=PAx", "DateSent%3E=yesterday"])
def test_unreadable_list_parameters(query):
    sent = message("SM1")
    sent.sent = sent.created
    with pytest.raises(RestError):
        Page.of("/x", query).document([sent], lambda m: m.sid)
