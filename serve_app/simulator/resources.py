"""The JSON shapes of Twilio's Message and Media resources and of its pages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from urllib.parse import parse_qsl, urlencode

from serve_app.simulator.segments import count_segments
from serve_app.simulator.state import SimFile, SimMessage
from serve_app.simulator.validation import RestError

_MAX_PAGE = 1000


def message_resource(message: SimMessage, *, api: str, created: bool = False) -> dict[str, object]:
    """In the answer to a creation (`created`) a messaging service hasn't picked the sender yet."""
    uri = f"/{api}/Accounts/{message.account_sid}/Messages/{message.sid}"
    unassigned = created and message.messaging_service_sid is not None
    return {
        "account_sid": message.account_sid,
        "api_version": api,
        "body": message.body,
        "date_created": format_datetime(message.created),
        "date_sent": format_datetime(message.sent) if message.sent else None,
        "date_updated": format_datetime(message.updated),
        "direction": message.direction,
        "error_code": message.error_code,
        "error_message": None,
        "from": None if unassigned else message.sender,
        "messaging_service_sid": message.messaging_service_sid,
        "num_media": str(len(message.media)),
        "num_segments": "0" if unassigned else str(count_segments(message.body)),
        "price": None,
        "price_unit": "USD",
        "sid": message.sid,
        "status": message.status,
        "subresource_uris": {"media": f"{uri}/Media.json"},
        "to": message.recipient,
        "uri": f"{uri}.json",
    }


@dataclass(frozen=True)
class Page:
    """One page of the message list: what was asked for, and the position it starts at."""

    path: str
    query: Mapping[str, str]
    size: int
    number: int
    before: int | None

    @classmethod
    def of(cls, path: str, query_string: str) -> Page:
        """Raises `RestError` for values that can't be read."""
        query = dict(parse_qsl(query_string, keep_blank_values=True))
        try:
            return cls(
                path=path,
                query={name: text for name, text in query.items() if not name.startswith("Page")},
                size=max(1, min(_MAX_PAGE, int(query.get("PageSize", "50")))),
                number=int(query.get("Page", "0")),
                before=int(query["PageToken"].removeprefix("PA")) if "PageToken" in query else None,
            )
        except ValueError as error:
            raise RestError(400, 20001, "Invalid paging parameter") from error

    def document(
        self, newest_first: Iterable[SimMessage], resource: Callable[[SimMessage], object]
    ) -> dict[str, object]:
        found: list[SimMessage] = []
        following: str | None = None
        for message in newest_first:
            if self.before is not None and message.cursor >= self.before:
                continue
            if not self._matches(message):
                continue
            if len(found) == self.size:
                following = self._uri(self.number + 1, found[-1].cursor)
                break
            found.append(message)
        start = self.number * self.size
        return {
            "messages": [resource(message) for message in found],
            "first_page_uri": self._uri(0, None),
            "next_page_uri": following,
            "previous_page_uri": None,
            "page": self.number,
            "page_size": self.size,
            "start": start,
            "end": start + max(0, len(found) - 1),
            "uri": self._uri(self.number, self.before),
        }

    def _uri(self, number: int, before: int | None) -> str:
        token = {} if before is None else {"PageToken": f"PA{before}"}
        query = {**self.query, "PageSize": str(self.size), "Page": str(number), **token}
        return f"{self.path}?{urlencode(query)}"

    def _matches(self, message: SimMessage) -> bool:
        wanted = self.query
        if message.recipient != wanted.get("To", message.recipient):
            return False
        if message.sender != wanted.get("From", message.sender):
            return False
        # As on the wire: `DateSent>=2026-01-31` is the parameter `DateSent>` with that date.
        day, latest, earliest = (wanted.get(f"DateSent{sign}") for sign in ("", "<", ">"))
        if day is None and latest is None and earliest is None:
            return True
        at = message.sent
        return (
            at is not None
            and (day is None or at.date() == _time(day).date())
            and (latest is None or at <= _time(latest))
            and (earliest is None or at >= _time(earliest))
        )


def media_page(
    path: str, message_sid: str, account_sid: str, files: Sequence[SimFile]
) -> dict[str, object]:
    return {
        "media_list": [
            {
                "account_sid": account_sid,
                "content_type": file.content_type,
                "date_created": format_datetime(file.created),
                "date_updated": format_datetime(file.created),
                "parent_sid": message_sid,
                "sid": file.sid,
                "uri": f"{path.removesuffix('.json')}/{file.sid}.json",
            }
            for file in files
        ],
        "first_page_uri": path,
        "next_page_uri": None,
        "previous_page_uri": None,
        "page": 0,
        "page_size": 50,
        "start": 0,
        "end": max(0, len(files) - 1),
        "uri": path,
    }


def _time(text: str) -> datetime:
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError as error:
        raise RestError(400, 20001, f"Invalid date {text[:40]!r}") from error
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
