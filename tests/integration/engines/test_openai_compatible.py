"""The OpenAI-compatible engine against a real HTTP server on loopback."""

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
import uvicorn
from fastapi import FastAPI, Request, Response
from pydantic import SecretStr

from models.errors import EngineUnavailableError, InferenceError
from models.inference import ChatMessage, ChatRequest, ToolCall, ToolSpec
from serve_app.engines.openai_compatible import retry_after
from serve_app.engines.registry import create_chat_engine
from serve_app.settings import ChatSettings

SPEC = ToolSpec(name="menu", description="Prices", parameters={"type": "object"})


@dataclass
class Server:
    """Answers with `status`, `headers` and `body`, after `delay_s`; keeps what it was asked."""

    url: str = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: object = None
    delay_s: float = 0.0
    failures: int = 0
    """Answers to give with `failure` before `status`."""
    failure: int = 503
    asked: list[dict] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    unsupported: tuple[str, ...] = ()
    """Parameters that are refused as OpenAI's reasoning models refuse them."""

    def says(self, content: str | None = None, *, calls: list | None = None, finish: str = "stop"):
        self.status = 200
        message = {"role": "assistant", "content": content, "tool_calls": calls}
        self.body = {
            "choices": [{"index": 0, "message": message, "finish_reason": finish}],
            "usage": {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17},
        }

    def app(self) -> FastAPI:
        app = FastAPI()

        @app.get("/v1/models")
        async def models(request: Request) -> Response:
            key = request.headers.get("authorization")
            return Response(status_code=401 if key == "Bearer wrong" else 200)

        @app.post("/v1/chat/completions")
        async def completions(request: Request) -> Response:
            self.asked.append(await request.json())
            self.keys.append(request.headers.get("authorization"))
            await asyncio.sleep(self.delay_s)
            if self.failures:
                self.failures -= 1
                return Response("{}", self.failure, self.headers)
            for name in self.unsupported:
                if name in self.asked[-1]:
                    told = {"message": "Unsupported", "param": name, "code": "unsupported_value"}
                    return Response(json.dumps({"error": told}), 400)
            body = self.body if isinstance(self.body, str) else json.dumps(self.body)
            return Response(body, self.status, self.headers, media_type="application/json")

        return app


@pytest.fixture
async def server():
    server = Server()
    config = uvicorn.Config(server.app(), host="127.0.0.1", port=0, log_level="error")
    running = uvicorn.Server(config)
    task = asyncio.create_task(running.serve())
    async with asyncio.timeout(10):
        while not running.started:  # noqa: ASYNC110 - uvicorn offers no event to wait for
            await asyncio.sleep(0.01)
    port = running.servers[0].sockets[0].getsockname()[1]
    server.url = f"http://127.0.0.1:{port}/v1"
    yield server
    running.should_exit = True
    await task


@asynccontextmanager
async def engine_of(url: str, *, key: str | None = "sk-test", **settings):
    engine = create_chat_engine(
        ChatSettings(engine="openai", model="served", base_url=url, **settings),
        device="cpu",
        api_key=SecretStr(key) if key else None,
    )
    await engine.start()
    try:
        yield engine
    finally:
        await engine.stop()


def ask(*messages: ChatMessage, **options) -> ChatRequest:
    return ChatRequest(
        request_id="t:0", messages=messages or (ChatMessage(role="user", content="hi"),), **options
    )


async def test_a_reply_in_words_with_its_usage(server):
    server.says("Hello there.")
    async with engine_of(server.url) as engine:
        reply = await engine.chat(ask(temperature=0.3, max_tokens=50))
        stats = engine.stats()
    assert (reply.content, reply.finish_reason) == ("Hello there.", "stop")
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (12, 5)
    assert (stats.requests, stats.work_done, stats.failures) == (1, 5, 0)
    [body] = server.asked
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("served", 0.3, 50)
    assert "tools" not in body
    assert server.keys == ["Bearer sk-test"]


async def test_tool_calls_both_ways(server):
    call = {"id": "x", "type": "function"}
    arguments = '{"item": "tea"}'
    server.says(None, calls=[{**call, "function": {"name": "menu", "arguments": arguments}}])
    said = ToolCall(id="call-0-0", name="menu", arguments={"item": "scone"})
    async with engine_of(server.url) as engine:
        reply = await engine.chat(
            ask(
                ChatMessage(role="user", content="scone?"),
                ChatMessage(role="assistant", tool_calls=(said,)),
                ChatMessage(role="tool", content="{}", tool_call_id=said.id, name="menu"),
                tools=(SPEC,),
            )
        )
    assert [(c.name, c.arguments) for c in reply.tool_calls] == [("menu", {"item": "tea"})]
    assert (reply.content, reply.finish_reason) == ("", "tool_calls")
    [body] = server.asked
    _, asked, answered = body["messages"]
    assert json.loads(asked["tool_calls"][0]["function"]["arguments"]) == {"item": "scone"}
    assert asked["tool_calls"][0]["id"] == answered["tool_call_id"]
    assert body["tools"][0]["function"]["name"] == "menu"


async def test_markup_of_a_server_without_a_tool_parser_is_read(server):
    server.says('One moment. <tool_call>{"name": "menu", "arguments": {}}</tool_call>')
    async with engine_of(server.url) as engine:
        reply = await engine.chat(ask(tools=(SPEC,)))
    assert reply.content == "One moment."
    assert reply.tool_calls[0].name == "menu"


async def test_a_reply_of_nothing_but_an_unreadable_call_is_an_error(server):
    server.says(None, calls=[{"id": "x", "function": {"name": "menu", "arguments": "tea!"}}])
    async with engine_of(server.url) as engine:
        with pytest.raises(InferenceError, match="can't be read"):
            await engine.chat(ask(tools=(SPEC,)))


@pytest.mark.parametrize("status", [408, 429, 500, 503])
async def test_what_may_pass_is_tried_later(server, status):
    server.status, server.headers, server.body = status, {"Retry-After": "7"}, {"error": "busy"}
    async with engine_of(server.url) as engine:
        with pytest.raises(EngineUnavailableError, match=str(status)) as error:
            await engine.chat(ask())
        assert error.value.retry_after == 7
        server.says("back")
        assert (await engine.chat(ask())).content == "back"
        assert engine.stats().failures == 1


@pytest.mark.parametrize(("failure", "wait"), [(503, None), (429, "0.3")])
async def test_a_short_trouble_is_waited_out_as_long_as_the_server_says(server, failure, wait):
    server.says("back")
    server.failures, server.failure = 2, failure
    server.headers = {"Retry-After": wait} if wait else {}
    loop = asyncio.get_running_loop()
    async with engine_of(server.url, retries=2, retry_base_s=0.01) as engine:
        began = loop.time()
        assert (await engine.chat(ask())).content == "back"
        assert loop.time() - began >= 2 * float(wait or 0)
        assert engine.stats().failures == 0
        assert len(server.asked) == 3
        server.failures = 3
        with pytest.raises(EngineUnavailableError, match=str(failure)):
            await engine.chat(ask())


async def test_what_a_request_wishes_is_passed_on(server):
    server.says("ok")
    async with engine_of(server.url) as engine:
        await engine.chat(ask(top_p=0.8, seed=3, stop=("\n\n",)))
        await engine.chat(ask())
    wished, plain = server.asked
    assert (wished["top_p"], wished["seed"], wished["stop"]) == (0.8, 3, ["\n\n"])
    assert not {"top_p", "seed", "stop"} & set(plain)


async def test_a_model_that_refuses_parameters_is_asked_without_them_from_then_on(server):
    server.says("Hello there.")
    server.unsupported = ("max_tokens", "temperature")
    async with engine_of(server.url) as engine:
        for _ in range(2):
            reply = await engine.chat(ask(temperature=0.2, max_tokens=50, top_p=0.9))
            assert reply.content == "Hello there."
        assert engine.stats().failures == 0
    accepted = server.asked[2:]
    assert len(accepted) == 2
    for body in accepted:
        assert not {"max_tokens", "temperature"} & set(body)
        assert (body["max_completion_tokens"], body["top_p"]) == (50, 0.9)


async def test_a_parameter_that_is_refused_under_both_names_is_an_error(server):
    server.says("never")
    server.unsupported = ("max_tokens", "max_completion_tokens")
    async with engine_of(server.url) as engine:
        with pytest.raises(InferenceError, match="refused with 400"):
            await engine.chat(ask())
    assert len(server.asked) == 2


@pytest.mark.parametrize("status", [400, 401, 404, 422])
async def test_what_is_refused_for_good_says_why(server, status):
    server.status, server.body = status, {"error": {"message": "no such model"}}
    async with engine_of(server.url) as engine:
        with pytest.raises(InferenceError, match=f"{status}.*no such model"):
            await engine.chat(ask())


@pytest.mark.parametrize("body", ["not json", {"choices": []}, {"choices": [{"message": 1}]}, []])
async def test_an_answer_that_is_no_completion_is_an_error(server, body):
    server.body = body
    async with engine_of(server.url) as engine:
        with pytest.raises(InferenceError, match="no chat completion"):
            await engine.chat(ask())


async def test_a_slow_server_is_unavailable(server):
    server.says("late")
    server.delay_s = 0.6
    async with engine_of(server.url, timeout_s=0.2) as engine:
        with pytest.raises(EngineUnavailableError):
            await engine.chat(ask())
    assert len(server.asked) == 1


async def test_an_absent_server_is_unavailable_and_does_not_hinder_the_start(unused_tcp_port):
    async with engine_of(f"http://127.0.0.1:{unused_tcp_port}/v1") as engine:
        with pytest.raises(EngineUnavailableError, match="can't be reached"):
            await engine.chat(ask())


async def test_a_refused_key_is_told_at_the_start(server):
    with pytest.raises(InferenceError, match="RECADO_OPENAI_API_KEY"):
        async with engine_of(server.url, key="wrong"):
            pass


async def test_the_oldest_messages_leave_a_prompt_over_its_budget(server):
    server.says("ok")
    history = [ChatMessage(role="user", content=f"message {n} " + "x" * 300) for n in range(20)]
    system = ChatMessage(role="system", content="be brief")
    async with engine_of(server.url) as engine:
        await engine.chat(ask(system, *history, max_prompt_tokens=600))
    sent = server.asked[0]["messages"]
    assert sent[0]["content"] == "be brief"
    assert sent[-1]["content"].startswith("message 19")
    assert 4 <= len(sent) <= 7


def test_retry_after_is_seconds_or_a_date():
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert retry_after("1.5") == 1.5
    assert retry_after(later) == pytest.approx(30, abs=2)
    assert retry_after("soon") is None
    assert retry_after(None) is None
    assert retry_after("-4") == 0
