"""Tools that an owner declares: each call is one HTTP request, within narrow limits."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import cast
from urllib.parse import quote, urlencode

from models.accounts import HttpTool, Owner
from models.errors import RetryableError, ToolError
from models.inference import ToolSpec
from serve_app.json_schema import UnusableSchemaError, problems_of
from serve_app.network import AddressRefusedError, Answer, AnswerTooLargeError, GuardedHttp
from serve_app.ports import OwnerSecretRepository, ToolContext

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_SECRET = re.compile(r"\{secret:([^{}]*)\}")
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
_MOST_CHARS = 4_000
"""Of an answer that the model is shown."""


class DeclaredTool:
    """One of an owner's HTTP tools. What goes wrong is told to the model, without addresses or secrets."""

    hands_over = False

    def __init__(
        self, declared: HttpTool, *, http: GuardedHttp, secrets: OwnerSecretRepository
    ) -> None:
        self.name: str = declared.name
        # Its own limit is kept by the request; this one only comes after it.
        self.timeout_s: float | None = declared.timeout_s + 1
        self.spec = ToolSpec(
            name=declared.name, description=declared.description, parameters=declared.arguments
        )
        self._declared = declared
        self._http = http
        self._secrets = secrets

    async def call(
        self, context: ToolContext, arguments: Mapping[str, object]
    ) -> Mapping[str, object]:
        _check(self._declared.arguments, arguments)
        url, content = _filled(self._declared, arguments)
        headers = await self._headers(context)
        if content is not None:
            headers.setdefault("Content-Type", "application/json")
        try:
            answer = await self._http.request(
                self._declared.method,
                url,
                headers=headers,
                content=content,
                timeout_s=self._declared.timeout_s,
                max_bytes=self._declared.max_response_bytes,
            )
        except AddressRefusedError as error:
            raise ToolError("this service may not be asked") from error
        except AnswerTooLargeError as error:
            raise ToolError("the service's answer was too long") from error
        except RetryableError as error:
            raise ToolError("the service doesn't answer at the moment") from error
        return _read(answer)

    async def _headers(self, context: ToolContext) -> dict[str, str]:
        """Raises `ToolError` if a secret is missing. `Idempotency-Key` repeats with the turn and call, so
        that a service can tell another try from another wish."""
        headers = {"Idempotency-Key": f"{context.turn_id}:{context.call_id}"}
        for name, value in self._declared.headers.items():
            filled = value
            for wanted in _SECRET.findall(value):
                secret = await self._secrets.get(context.owner.id, wanted)
                if secret is None:
                    raise ToolError("this service isn't set up: a secret is missing")
                filled = filled.replace(f"{{secret:{wanted}}}", secret.get_secret_value())
            headers[name] = filled
        return headers


class HttpTools:
    """Makes the tools of each owner."""

    def __init__(self, *, http: GuardedHttp, secrets: OwnerSecretRepository) -> None:
        self._http = http
        self._secrets = secrets

    def of(self, owner: Owner) -> Sequence[DeclaredTool]:
        return [
            DeclaredTool(tool, http=self._http, secrets=self._secrets)
            for tool in owner.assistant.http_tools
        ]


def _check(schema: Mapping[str, object], arguments: Mapping[str, object]) -> None:
    try:
        problems = problems_of(schema, dict(arguments))
    except UnusableSchemaError as error:
        raise ToolError("this service isn't set up: its arguments can't be checked") from error
    if problems:
        raise ToolError("; ".join(problems)[:500])


def _filled(declared: HttpTool, arguments: Mapping[str, object]) -> tuple[str, bytes | None]:
    """The address and the body. Arguments can't leave their place in the address."""
    in_url = set(_PLACEHOLDER.findall(declared.url))
    url = declared.url
    for name in in_url:
        value = _as_text(arguments.get(name))
        if value in ("", ".", ".."):
            raise ToolError(f"{name}: isn't usable")
        url = url.replace(f"{{{name}}}", quote(value, safe=""))
    rest = {name: value for name, value in arguments.items() if name not in in_url}
    if declared.method in _WITH_BODY:
        return url, json.dumps(rest, ensure_ascii=False).encode()
    if rest:
        query = urlencode([(name, _as_text(value)) for name, value in rest.items()])
        url += ("&" if "?" in url else "?") + query
    return url, None


def _as_text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float):
        return str(value)
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def _read(answer: Answer) -> Mapping[str, object]:
    """Raises `ToolError` unless the service answered with success."""
    text = answer.body.decode("utf-8", "replace")
    if answer.status == 404:
        raise ToolError("the service knows nothing of that (404)")
    if not 200 <= answer.status < 300:
        raise ToolError(f"the service refused with {answer.status}")
    if len(text) > _MOST_CHARS:
        return {"text": text[:_MOST_CHARS], "cut_off": True}
    if "json" in answer.content_type:
        try:
            document: object = json.loads(text)
        except ValueError as error:
            raise ToolError("the service's answer can't be read") from error
        if isinstance(document, dict):
            return cast(Mapping[str, object], document)
        return {"result": document}
    return {"text": text}
