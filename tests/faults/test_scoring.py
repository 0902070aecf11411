"""The campaign can fail: histories in which something went wrong are found out."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest

from models.errors import StaleClaimError
from models.jobs import Claim
from tests.faults.scoring import Answer, Posted, Score, percentile, score
from tests.faults.watch import Journal, Orders, Watched, read_journals


def posted(*tokens: str, contact: str = "a", accepted_at: float | None = 10.0) -> list[Posted]:
    return [Posted(token, contact, [200], [0.01], accepted_at) for token in tokens]


def answers(*bodies: str, contact: str = "a") -> list[Answer]:
    return [Answer(n, contact, body, 11.0 + n) for n, body in enumerate(bodies)]


def test_all_is_well() -> None:
    result = score(posted("c1-0", "c1-1", "c1-2"), answers("c1-0 / c1-1", "c1-2"))
    assert result.failures() == []
    assert (result.accepted, result.answered, result.refused) == (3, 3, 0)
    assert result.recovery_p99_s == 2.0
    assert result.answer_p99_ms == 10.0


def test_what_was_accepted_and_not_answered_is_lost() -> None:
    assert score(posted("c1-0", "c1-1"), answers("c1-0")).lost == ["c1-1"]


def test_what_was_never_accepted_is_not_lost_and_may_be_answered() -> None:
    unsure = posted("c1-0", "c1-1", accepted_at=None)
    result = score(unsure, answers("c1-0"))
    assert result.failures() == []
    assert (result.accepted, result.refused, result.answered) == (0, 2, 1)


def test_what_is_answered_twice_is_found_within_one_reply_and_across() -> None:
    assert score(posted("c1-0"), answers("c1-0", "c1-0")).duplicates == ["c1-0"]
    assert score(posted("c1-0"), answers("c1-0 / c1-0")).duplicates == ["c1-0"]


def test_what_nobody_asked_is_unexpected() -> None:
    assert score(posted("c1-0"), answers("c1-0", "c9-9")).unexpected == ["c9-9"]
    assert score(posted("c1-0"), answers("c1-0", contact="b")).unexpected == ["c1-0"]


def test_what_is_parked_is_neither_lost_nor_to_be_answered() -> None:
    assert score(posted("c1-0"), answers(), parked={"c1-0"}).failures() == []
    assert score(posted("c1-0"), answers("c1-0"), parked={"c1-0"}).unexpected == ["c1-0"]


def test_order_counts_within_and_across_replies() -> None:
    three = posted("c1-0", "c1-1", "c1-2")
    assert score(three, answers("c1-1 / c1-0", "c1-2")).disorder == ["c1-0"]
    assert score(three, answers("c1-0", "c1-2", "c1-1")).disorder == ["c1-1"]


def test_failures_name_the_tokens() -> None:
    assert Score(lost=["c1-0"], disorder=["c2-1"]).failures() == [
        "1 lost: c1-0",
        "1 out of order: c2-1",
    ]


def test_percentile_is_the_nearest_rank() -> None:
    assert percentile([], 0.5) == 0.0
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile(range(100), 0.99) == 99


CLAIM = Claim(
    shard=0,
    conversation="c",
    entry_id="1-0",
    consumer="x",
    deliveries=1,
    jobs=(),
    taken_at=0,
    waiting_since=0,
)


class Part:
    name = "part"

    async def take(self) -> list[Claim]:
        return []

    async def complete(self, claim: Claim) -> None:
        raise StaleClaimError("no")


async def test_a_watched_part_is_noted_and_dies_only_when_something_happened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed: list[int] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: killed.append(number))
    orders = Orders(tmp_path / "orders")
    journal = Journal(tmp_path / "journals" / "one.jsonl")
    watched = Watched(
        Part(), orders=orders, journal=journal, points={"take": "here"}, noted=("complete",)
    )
    orders.give("here")
    assert watched.name == "part"
    assert await watched.take() == []
    assert not killed, "nothing was taken"
    with pytest.raises(StaleClaimError):
        await watched.complete(CLAIM)
    (line,) = read_journals(tmp_path / "journals")
    assert (line["event"], line["outcome"], line["entry"]) == ("complete", "stale", "1-0")
    orders.obey("here")
    orders.obey("here")
    assert killed == [signal.SIGKILL], "an order is obeyed once"
    assert orders.obeyed("here")
    journal.close()


async def test_a_journal_outlives_its_process(tmp_path: Path) -> None:
    code = (
        "import os, signal; from pathlib import Path; from tests.faults.watch import Journal;"
        f"j = Journal(Path({str(tmp_path / 'j.jsonl')!r})); j.write('here', n=1);"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code)
    assert await process.wait() == -signal.SIGKILL
    assert json.loads((tmp_path / "j.jsonl").read_text())["n"] == 1
