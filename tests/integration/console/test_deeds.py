"""What operators do: on record before it is done, and done to no more than what was meant."""

from __future__ import annotations

from itertools import pairwise

import pytest
from pydantic import SecretStr

from models.conversations import ReplyStatus
from models.jobs import DeadReason, NewJob
from serve_app.console import dead_letters
from serve_app.store.cipher import TokenCipher
from serve_app.store.replies import PostgresReplyRepository
from tests.integration.console.filling import fill
from tests.integration.console.rig import KEY, Rig, open_rig

pytestmark = pytest.mark.integration


async def filled(rig: Rig, messages: int = 200) -> None:
    token = TokenCipher(KEY).encrypt(SecretStr("token"))
    await fill(rig.pool, messages=messages, token=token)


async def run(rig: Rig, statement: str) -> None:
    async with rig.pool.connection() as connection:
        await connection.execute(statement)


async def bury(rig: Rig, job_id: str, *, outbound: bool = False, text: str = "payload") -> str:
    queue = rig.outbound if outbound else rig.inbound
    job = NewJob(id=job_id, conversation="c", payload=job_id if outbound else text)
    letter = await queue.bury(job, DeadReason.PERMANENT, ValueError(text))
    assert letter is not None
    return f"{queue.name}/{letter.id}"


async def test_a_discarded_outbound_letter_is_never_sent(database_url: str) -> None:
    async with open_rig(database_url) as rig:
        await filled(rig)
        await run(
            rig,
            "UPDATE replies SET status = 'pending', updated_at = now() - interval '1 day'"
            " WHERE id IN ('r1', 'r2')",
        )
        replies = PostgresReplyRepository(pool=rig.pool)
        unwanted, _ = [await bury(rig, name, outbound=True) for name in ("r1", "r2")]
        await rig.sign_in()
        await rig.submit("dead/discard", letter=unwanted)
        assert [letter.job.id for letter in await rig.outbound.dead()] == ["r2"]
        # What the sweeper finds unsent it publishes again.
        assert [reply.id for reply in await replies.unsent(older_than_s=0, limit=9)] == ["r2"]
        await rig.submit("dead/discard", all="1", queue="outbound")
        assert await replies.unsent(older_than_s=0, limit=9) == []
        reply = await replies.get("r1")
        assert reply is not None
        assert reply.status is ReplyStatus.CANCELED


async def test_a_deed_is_on_record_before_it_is_done(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_rig(database_url) as rig:
        await filled(rig)
        await run(rig, "UPDATE replies SET status = 'parked' WHERE id = 'r1'")
        await rig.sign_in()
        resend, seen = rig.attention.resend, list[str]()

        async def look(*args: object, **options: object) -> str:
            (latest, *_) = await rig.operators.actions(limit=1)
            seen.append(f"{latest.operator} {latest.action} {latest.subject} {latest.outcome}")
            return await resend(*args, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(rig.attention, "resend", look)
        await rig.submit("replies/resend", reply="r1")
        assert seen == ["token resend reply r1 begun"]
        (latest, *_) = await rig.operators.actions(limit=1)
        assert latest.outcome == "resent"
        rig.attention.list_away = True
        assert (await rig.submit("replies/resend", reply="r1")).status_code == 422
        (latest, *_) = await rig.operators.actions(limit=1)
        assert latest.outcome == "not done: Twilio doesn't answer"


async def test_what_a_form_did_is_told_once_and_by_nobody_else(database_url: str) -> None:
    async with open_rig(database_url) as rig:
        await rig.sign_in()
        await rig.submit("dead/discard", letter=await bury(rig, "one"))
        assert "Discarded 1." in (await rig.http.get("/console/dead")).text
        assert "Discarded 1." not in (await rig.http.get("/console/dead")).text
        assert "Pay here" not in (await rig.http.get("/console/dead?notice=Pay+here")).text


async def test_dead_letters_are_paged_newest_first_over_all_queues(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letters, "_PAGE", 3)
    async with open_rig(database_url) as rig:
        await rig.sign_in()
        names = [await bury(rig, f"j{n}", outbound=n % 3 == 0) for n in range(10)]
        pages, path = list[list[str]](), "/console/dead?q="
        while path:
            text = (await rig.http.get(path)).text
            pages.append([name for name in reversed(names) if f'value="{name}"' in text])
            assert "of 10" in text
            path = text.split('class="more"><a href="')[1].split('"')[0] if "Older" in text else ""
            path = path.replace("&amp;", "&")
        assert [len(page) for page in pages] == [3, 3, 3, 1]
        assert sorted(name for page in pages for name in page) == sorted(names)
        # Each page's are newer than the next one's.
        stamps = [[name.split("/")[1].split("-")[0] for name in page] for page in pages]
        assert all(min(new) >= max(old) for new, old in pairwise(stamps))


async def test_a_search_tells_how_far_it_looked(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_rig(database_url) as rig:
        await rig.sign_in()
        for number in range(150):
            await bury(rig, f"j{number}", text="wanted" if number == 0 else "other")
        page = (await rig.http.get("/console/dead?q=wanted")).text
        assert "1 like that among 150" in page
        assert "Replay all 1?" in page
        monkeypatch.setattr(dead_letters, "LOOK_S", -1.0)
        page = (await rig.http.get("/console/dead?q=wanted")).text
        assert "None like that among the 1 that were looked at, of 150" in page
        assert "Look further" in page


async def test_more_than_one_form_takes_is_told(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letters, "_AT_ONCE", 3)
    monkeypatch.setattr(dead_letters, "_ON_ONE_LINE", 2)
    async with open_rig(database_url) as rig:
        await rig.sign_in()
        names = [await bury(rig, f"j{number}") for number in range(4)]
        await rig.submit("dead/discard", all="1")
        assert "Discarded 3. There are more" in (await rig.http.get("/console/dead")).text
        assert [f"inbound/{letter.id}" for letter in await rig.inbound.dead()] == names[:1]
        # Each is named, a few on a line.
        page = (await rig.http.get("/console/activity")).text
        assert all(name in page for name in names[1:])
        assert "2 dead letters" in page
        assert "2 of 2" in page


async def test_parked_replies_come_first_and_all_are_reached(database_url: str) -> None:
    async with open_rig(database_url) as rig:
        await filled(rig, 400)
        await run(
            rig,
            "UPDATE replies SET status = 'failed', error_code = 63016, updated_at = now()"
            " + seq * interval '1 second' WHERE seq > 100",
        )
        await run(
            rig, "UPDATE replies SET status = 'parked', updated_at = '2020-01-01' WHERE id = 'r7'"
        )
        await rig.sign_in()
        seen, path = list[str](), "/console/replies"
        while path:
            text = (await rig.http.get(path)).text
            assert "of 301: parked ones first" in text
            seen += [part.split('"')[0] for part in text.split('name="reply" value="')[1:]]
            path = (
                text.split('class="more"><a href="')[1].split('"')[0] if "Further" in text else ""
            )
            path = path.replace("&amp;", "&")
        assert seen[0] == "r7"
        assert len(seen) == len(set(seen)) == 301
        one_state = (await rig.http.get("/console/replies?state=failed")).text
        assert "Send all 300 again" in one_state
        assert "Send all" not in (await rig.http.get("/console/replies")).text
        found = (await rig.http.get("/console/replies?q=number+123")).text
        assert "r123" in found
        assert 'value="r124"' not in found


async def test_replies_are_looked_at_sent_again_and_dropped(database_url: str) -> None:
    async with open_rig(database_url) as rig:
        await filled(rig)
        await run(
            rig,
            "UPDATE replies SET status = 'parked', sending_since = now(), updated_at = now()"
            " WHERE id IN ('r1', 'r2', 'r3', 'r4')",
        )
        await bury(rig, "r1", outbound=True, text="Twilio said no")
        await rig.sign_in()
        page = (await rig.http.get("/console/replies/r1")).text
        assert "Answer number 1" in page
        assert "Send without looking" in page
        assert "Twilio said no" in page, "what was tried"
        await rig.submit("replies/resend", reply="r1")
        await rig.submit("replies/resend", reply="r2", blindly="1")
        await rig.submit("replies/drop", reply="r3")
        assert rig.attention.asked == [
            ("resend", "r1"),
            ("blindly", "r2"),
            ("dropped by token", "r3"),
        ]
        assert "1 dropped." in (await rig.http.get("/console/replies")).text.lower()
        rig.attention.list_away = True
        answer = await rig.submit("replies/resend", reply="r4")
        assert answer.status_code == 422
        assert "can&#39;t be seen now" in answer.text
        rig.attention.list_away = False
        rig.attention.asked.clear()
        assert (await rig.submit("replies/resend", all="1")).status_code == 422
        assert rig.attention.asked == [], "of which state?"
        await rig.submit("replies/resend", all="1", state="parked")
        assert {reply for _, reply in rig.attention.asked} == {"r1", "r2", "r3", "r4"}
        assert (await rig.submit("replies/drop", reply="none")).status_code == 404
