"""Webhooks that bring several messages at once, for several accounts."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx2
import pytest
from pydantic import SecretStr

from models.messages import StatusUpdate
from serve_app.channels.whatsapp_cloud.channel import WhatsAppCloudChannel
from serve_app.channels.whatsapp_cloud.client import WhatsAppCloudClient
from serve_app.channels.whatsapp_cloud.signature import sign
from serve_app.settings import WhatsAppCloudSettings
from tests.integration.channels.serving import cloud_account
from tests.unit.api.door import Door, open_door

PATH = "/webhooks/whatsapp_cloud"


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    """With the Cloud API's webhooks in the place of Twilio's."""
    async with open_door() as opened:
        parts = opened.app.state.parts
        unconnected: Any = None
        client = WhatsAppCloudClient(
            settings=WhatsAppCloudSettings(), http=unconnected, media=unconnected
        )
        channel = WhatsAppCloudChannel(client=client, verify_token=SecretStr("our-word"))
        service = parts.webhooks["twilio"]
        service._channel = channel
        opened.app.state.parts = replace(parts, webhooks={channel.name: service})
        await opened.store.accounts.save(cloud_account(id="c1", account_sid="1", auth_token="one"))
        await opened.store.accounts.save(cloud_account(id="c2", account_sid="2", auth_token="two"))
        yield opened


def entry(account: str, *messages: object, statuses: tuple[object, ...] = ()) -> dict[str, Any]:
    value = {"metadata": {"phone_number_id": f"9{account}"}, "messages": messages}
    return {
        "id": account,
        "changes": [{"field": "messages", "value": {**value, "statuses": statuses}}],
    }


def text(number: int) -> dict[str, Any]:
    return {"from": "1555", "id": f"wamid.{number}", "type": "text", "text": {"body": f"{number}"}}


async def post(door: Door, *entries: object, secret: str = "one") -> httpx2.Response:
    body = json.dumps({"object": "whatsapp_business_account", "entry": entries}).encode()
    headers = {"Content-Type": "application/json", "X-Hub-Signature-256": sign(secret, body)}
    return await door.http.post(PATH, content=body, headers=headers)


async def test_all_that_a_webhook_gathers_is_kept(door: Door) -> None:
    sent = {"id": "wamid.9", "status": "delivered", "biz_opaque_callback_data": "r-1"}
    answer = await post(door, entry("1", text(1), {"id": "wamid.bad"}, text(2), statuses=(sent,)))
    assert (answer.status_code, answer.content) == (200, b"")
    assert [message.body for message in await door.messages()] == ["1", "2"]
    (job,) = await door.jobs(door.status)
    assert StatusUpdate.model_validate_json(job.payload).reply_id == "r-1"
    (dead,) = await door.inbound.dead()
    assert "wamid.bad" in dead.job.payload


async def test_news_about_nothing_is_taken_and_keeps_nothing(door: Door) -> None:
    """What `recado doctor` posts."""
    assert (await post(door, {"id": "1", "changes": []})).status_code == 200
    assert (await post(door, {"id": "1", "changes": []}, secret="forged")).status_code == 403
    assert await door.messages() == []


async def test_the_same_again_changes_nothing(door: Door) -> None:
    for _ in range(3):
        assert (await post(door, entry("1", text(1), text(2)))).status_code == 200
    assert len(await door.messages()) == 2


async def test_who_signs_for_one_account_speaks_for_no_other(door: Door) -> None:
    assert (await post(door, entry("1", text(1)), entry("2", text(2)))).status_code == 403
    assert (await post(door, entry("1", text(1)), entry("3", text(2)))).status_code == 403
    assert (await post(door, entry("1", text(1)), {"changes": []})).status_code == 403
    assert (await post(door, secret="one")).status_code == 403
    assert (await post(door, entry("1", text(1)), secret="two")).status_code == 403
    assert await door.is_empty()
    assert (await post(door, entry("2", text(2)), secret="two")).status_code == 200


async def test_what_is_not_about_messages_is_answered_and_ignored(door: Door) -> None:
    update = {"id": "1", "changes": [{"field": "account_update", "value": {}}]}
    assert (await post(door, update)).status_code == 200
    assert await door.is_empty()


async def test_the_handshake(door: Door) -> None:
    asked = {"hub.mode": "subscribe", "hub.verify_token": "our-word", "hub.challenge": "1158201444"}
    answer = await door.http.get(PATH, params=asked)
    assert (answer.status_code, answer.text) == (200, "1158201444")
    assert answer.headers["content-type"].startswith("text/plain")
    wrong = await door.http.get(PATH, params={**asked, "hub.verify_token": "theirs"})
    assert wrong.status_code == 403
    assert "1158201444" not in wrong.text


async def test_a_form_is_not_what_it_sends(door: Door) -> None:
    assert (await door.http.post(PATH, data={"a": "1"})).status_code == 415
