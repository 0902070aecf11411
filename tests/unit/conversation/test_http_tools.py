"""Tools that owners declare: what is sent, what is refused, what the model is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence

import httpx2
import pytest
from pydantic import SecretStr

from models.accounts import HttpTool
from models.errors import ToolError
from models.inference import ToolCall
from serve_app.conversation.http_tools import DeclaredTool
from serve_app.network import GuardedHttp, host_is_allowed
from serve_app.testing.store import MemoryStore
from tests.unit.conversation import stage
from tests.unit.conversation.toolbox import context

SCHEMA: dict[str, object] = {
    "type": "object",
    "properties": {"id": {"type": "string", "maxLength": 40}, "full": {"type": "boolean"}},
    "required": ["id"],
    "additionalProperties": False,
}
ORDER = HttpTool(
    name="order",
    description="Where an order is.",
    url="https://shop.example/orders/{id}",
    arguments=SCHEMA,
    headers={"Authorization": "Bearer {secret:shop}"},
)


class Service:
    """What was asked, and what is answered."""

    def __init__(self, answer: Callable[[httpx2.Request], httpx2.Response] | None = None) -> None:
        self.asked: list[httpx2.Request] = []
        self._answer = answer or (lambda request: httpx2.Response(200, json={"state": "sent"}))

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(request)
        return self._answer(request)


async def tool(
    service: Service,
    declared: HttpTool = ORDER,
    *,
    addresses: Sequence[str] = ("93.184.216.34",),
    hosts: Sequence[str] = ("shop.example",),
    local: Sequence[str] = (),
) -> DeclaredTool:
    async def resolver(host: str, port: int) -> Sequence[str]:
        return addresses

    secrets = MemoryStore().secrets
    await secrets.save("owner-1", "shop", SecretStr("s3cret"))
    client = httpx2.AsyncClient(transport=httpx2.MockTransport(service))
    http = GuardedHttp(client=client, hosts=hosts, local_origins=local, resolver=resolver)
    return DeclaredTool(declared, http=http, secrets=secrets)


async def test_arguments_go_into_address_query_and_headers() -> None:
    service = Service()
    found = await (await tool(service)).call(context(), {"id": "A/1 ?#", "full": True})
    assert found == {"state": "sent"}
    (request,) = service.asked
    assert request.method == "GET"
    assert request.url.host == "93.184.216.34", "the address that was checked"
    assert request.url.raw_path == b"/orders/A%2F1%20%3F%23?full=true"
    assert request.headers["host"] == "shop.example"
    assert request.headers["authorization"] == "Bearer s3cret"
    assert request.headers["idempotency-key"] == "turn-1:call-0-0"
    assert request.extensions["sni_hostname"] == "shop.example"


async def test_a_body_where_the_method_has_one() -> None:
    service = Service()
    declared = ORDER.model_copy(update={"method": "POST"})
    await (await tool(service, declared)).call(context(), {"id": "1", "full": False})
    (request,) = service.asked
    assert json.loads(request.content) == {"full": False}
    assert request.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "arguments", [{}, {"id": 7}, {"id": "x" * 41}, {"id": "1", "other": 1}, {"id": ".."}]
)
async def test_arguments_that_do_not_fit_are_explained(arguments: dict[str, object]) -> None:
    service = Service()
    with pytest.raises(ToolError):
        await (await tool(service)).call(context(), arguments)
    assert service.asked == []


async def test_a_schema_that_leads_elsewhere_is_explained_and_not_followed() -> None:
    service = Service()
    leading: dict[str, object] = {"type": "object", "properties": {"id": {"$ref": "http://a/b"}}}
    declared = ORDER.model_copy(update={"arguments": leading})
    with pytest.raises(ToolError, match="can't be checked"):
        await (await tool(service, declared)).call(context(), {"id": "1"})
    assert service.asked == []


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.0.0.7", "169.254.169.254", "::1", "fd00::1", "::ffff:10.0.0.1", "0.0.0.0"],
)
async def test_private_addresses_are_refused(address: str) -> None:
    service = Service()
    with pytest.raises(ToolError, match="may not be asked"):
        await (await tool(service, addresses=("93.184.216.34", address))).call(
            context(), {"id": "1"}
        )
    assert service.asked == []


@pytest.mark.parametrize(
    "url",
    [
        "http://shop.example/{id}",
        "https://other.example/{id}",
        "https://shop.example:8443/{id}",
        "https://user:word@shop.example/{id}",
        "https://127.0.0.1/{id}",
    ],
)
async def test_only_allowed_hosts_over_https(url: str) -> None:
    service = Service()
    declared = ORDER.model_copy(update={"url": url})
    with pytest.raises(ToolError, match="may not be asked"):
        await (await tool(service, declared)).call(context(), {"id": "1"})
    assert service.asked == []


def test_allowed_hosts() -> None:
    allowed = ["shop.example", "*.api.example"]
    assert host_is_allowed("SHOP.example.", allowed)
    assert host_is_allowed("v1.api.example", allowed)
    assert not host_is_allowed("api.example", allowed)
    assert not host_is_allowed("evil-shop.example", allowed)
    assert not host_is_allowed("shop.example.evil.test", allowed)


@pytest.mark.parametrize(
    ("response", "told"),
    [
        (httpx2.Response(302, headers={"location": "http://10.0.0.1/"}), "refused with 302"),
        (httpx2.Response(404), "knows nothing"),
        (httpx2.Response(500, text="secret stack trace"), "refused with 500"),
        (httpx2.Response(200, content=b"x" * 70_000), "too long"),
        (
            httpx2.Response(200, content=b"{", headers={"content-type": "application/json"}),
            "can't be read",
        ),
    ],
)
async def test_failures_are_told_without_details(response: httpx2.Response, told: str) -> None:
    with pytest.raises(ToolError, match=told) as error:
        await (await tool(Service(lambda _: response))).call(context(), {"id": "1"})
    assert "stack trace" not in str(error.value)


async def test_a_service_that_is_away_or_hangs() -> None:
    def away(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("no")

    with pytest.raises(ToolError, match="at the moment"):
        await (await tool(Service(away))).call(context(), {"id": "1"})

    class Hanging(httpx2.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            await asyncio.sleep(60)
            raise AssertionError

    http = GuardedHttp(
        client=httpx2.AsyncClient(transport=Hanging()),
        hosts=[],
        local_origins=["http://127.0.0.1:9"],
    )
    declared = HttpTool(name="slow", description="Slow.", url="http://127.0.0.1:9/", timeout_s=0.05)
    hanging = DeclaredTool(declared, http=http, secrets=MemoryStore().secrets)
    with pytest.raises(ToolError, match="at the moment"):
        await hanging.call(context(), {})


async def test_a_missing_secret() -> None:
    declared = ORDER.model_copy(update={"headers": {"X-Key": "{secret:gone}"}})
    with pytest.raises(ToolError, match="secret is missing"):
        await (await tool(Service(), declared)).call(context(), {"id": "1"})


async def test_long_answers_are_cut_for_the_model() -> None:
    service = Service(lambda _: httpx2.Response(200, text="y" * 5_000))
    found = await (await tool(service)).call(context(), {"id": "1"})
    assert found == {"text": "y" * 4_000, "cut_off": True}


async def test_the_agent_calls_an_owners_tool_and_hears_its_failure() -> None:
    service = Service()
    call = ToolCall(id="x", name="order", arguments={"id": "17"})
    of = stage.owner(http_tools=[ORDER.model_dump()])
    on = await stage.build_stage([call, "It is on its way."], of=of, services=service)
    await on.turn(stage.message(1, "Where is order 17?"))
    assert on.said == ["It is on its way."]
    asked, told = on.chat.requests
    assert [spec.name for spec in asked.tools][-1] == "order"
    assert "a secret is missing" in told.messages[-1].content
    await on.store.secrets.save("owner-1", "shop", SecretStr("s"))
    on = await stage.build_stage([call, "It is on its way."], of=of, services=service)
    await on.store.secrets.save("owner-1", "shop", SecretStr("s"))
    await on.turn(stage.message(1, "Where is order 17?"))
    assert json.loads(on.chat.requests[1].messages[-1].content) == {"state": "sent"}
    assert len(service.asked) == 1


async def test_documents_are_offered_with_their_source() -> None:
    from models.accounts import Document

    on = await stage.build_stage(["Behind the house (handbook)."])
    await on.store.documents.save(
        "owner-1", Document(title="Parking", text="Behind the house.", source="handbook")
    )
    await on.turn(stage.message(1, "Where is parking?"))
    (request,) = on.chat.requests
    assert request.messages[0].role == "system"
    assert "[1] Parking (source: handbook)\nBehind the house." in request.messages[0].content
