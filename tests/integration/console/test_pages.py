"""The console over a real Postgres: who may come in, who may do what, and what is told."""

from __future__ import annotations

import asyncio
import re

import pytest
from pydantic import SecretStr

from models.console import DeploymentState, Role, WebhookCounts
from models.jobs import Backlog, DeadReason, NewJob
from models.messages import MediaFile
from serve_app.settings import StoreSettings
from serve_app.store.cipher import TokenCipher
from serve_app.store.console import PostgresConsoleViews
from serve_app.store.pool import open_pool
from serve_app.store.samples import PostgresFigureSamples
from tests.integration.console.benchmark import PAGES
from tests.integration.console.filling import fill
from tests.integration.console.rig import (
    KEY,
    OURS,
    PASSWORD,
    Cluster,
    Rig,
    add_operators,
    open_rig,
)

pytestmark = pytest.mark.integration

MESSAGES = 200


async def filled(rig: Rig) -> None:
    token = TokenCipher(KEY).encrypt(SecretStr("token"))
    await fill(rig.pool, messages=MESSAGES, token=token)


def text_of(page: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", page).split()).replace(" ;", ";")


async def bury(rig: Rig, number: int, text: str = "payload") -> str:
    job = NewJob(id=f"job-{number}", conversation="c", payload=text)
    letter = await rig.inbound.bury(job, DeadReason.PERMANENT, ValueError(text))
    assert letter is not None
    return f"inbound/{letter.id}"


async def test_every_page_comes_up_empty_and_full(database_url: str) -> None:
    async with open_rig(database_url) as rig:
        await rig.sign_in()
        for page in ("now", "conversations", "dead", "replies", "owners", "activity"):
            assert (await rig.http.get(f"/console/{page}")).status_code == 200, page
        await filled(rig)
        for page in PAGES:
            assert (await rig.http.get(f"/console/{page}")).status_code == 200, page
        for page in (
            "conversations/none",
            "dead/inbound/1-1",
            "dead/else/1-1",
            "replies/x",
            "owners/x",
        ):
            assert (await rig.http.get(f"/console/{page}")).status_code == 404, page


async def test_nobody_comes_in_unsigned(database_url: str) -> None:
    async with open_rig(database_url) as rig:
        for page in ("now", "conversations/v1", "media/m/0", "dead", "owners/o1"):
            answer = await rig.http.get(f"/console/{page}")
            assert answer.headers["location"].startswith("/console/sign-in?next=")
        posted = await rig.http.post("/console/dead/replay", data={"all": "1"}, headers=OURS)
        assert posted.status_code == 303
        part = await rig.http.get("/console/now/figures", headers={"HX-Request": "true"})
        assert (part.status_code, part.headers["hx-refresh"]) == (401, "true")


async def test_wrong_secrets_are_refused_and_then_wait(database_url: str) -> None:
    async with open_rig(database_url, max_sign_in_failures=3) as rig:
        await add_operators(rig, Role.VIEW)
        for name in ("", "view", "nobody"):
            statuses = [(await rig.sign_in("wrong", name=name)).status_code for _ in range(4)]
            assert statuses == [403, 403, 403, 429]
        # The right one has to wait as well: guessing on is worth nothing.
        assert (await rig.sign_in()).status_code == 429
        assert (await rig.sign_in(PASSWORD, name="view")).status_code == 429


async def test_each_role_does_what_it_may_and_no_more(database_url: str) -> None:
    forms = {
        Role.OPERATE: ("dead/replay", "dead/discard", "replies/drop", "conversations/v1/take-over"),
        Role.ADMINISTER: ("owners/o1/assistant", "owners/o1/preview", "owners/o1/try"),
    }
    async with open_rig(database_url) as rig:
        await filled(rig)
        await add_operators(rig, *Role)
        for role in Role:
            assert (await rig.sign_in(PASSWORD, name=role.value)).status_code == 303
            page = (await rig.http.get("/console/conversations/v2")).text
            assert ("Take over" in page) == role.allows(Role.OPERATE)
            assert ("<textarea" in (await rig.http.get("/console/owners/o1")).text) == (
                role is Role.ADMINISTER
            )
            for needed, paths in forms.items():
                for path in paths:
                    refused = (await rig.submit(path)).status_code == 403
                    assert refused == (not role.allows(needed)), (role, path)


async def test_an_operator_who_is_changed_or_removed_is_out(database_url: str) -> None:
    async with open_rig(database_url) as rig:
        await add_operators(rig, Role.OPERATE)
        await rig.sign_in(PASSWORD, name="operate")
        assert (await rig.http.get("/console/now")).status_code == 200
        await rig.operators.delete_operator("operate")
        assert (await rig.http.get("/console/now")).status_code == 303


async def test_sessions_end_when_they_are_not_used(database_url: str) -> None:
    async with open_rig(database_url, idle_minutes=5) as rig:
        await rig.sign_in()
        assert (await rig.http.get("/console/activity")).status_code == 200
        async with rig.pool.connection() as connection:
            await connection.execute(
                "UPDATE operator_sessions SET seen_at = now() - interval '6 minutes'"
            )
        assert (await rig.http.get("/console/activity")).status_code == 303


async def test_a_person_answers_once_however_often_the_form_comes(database_url: str) -> None:
    async with open_rig(database_url) as rig:
        await filled(rig)
        await rig.sign_in()
        early = await rig.submit("conversations/v1/answer", text="hello", key="k")
        assert early.status_code == 422
        await rig.submit("conversations/v1/take-over")
        long = "We have a table for you on Friday, shall we hold it?"
        for _ in range(2):
            assert (
                await rig.submit("conversations/v1/answer", text=long, key="k")
            ).status_code == 303
        # In two parts, as the channel takes 40 characters.
        assert len(rig.published) == 4
        assert len(set(rig.published)) == 2
        async with rig.pool.connection() as connection:
            bodies = await connection.fetch(
                "SELECT body FROM replies WHERE purpose = 'person' ORDER BY position"
            )
        assert " ".join(row["body"] for row in bodies) == long
        page = (await rig.http.get("/console/activity")).text
        assert page.count(">answer<") == 2
        assert page.count(">sent already<") == 1
        other = await rig.submit("conversations/v1/answer", text="something else", key="k")
        assert "#sent" not in other.headers["location"]
        page = (await rig.http.get("/console/conversations/v1")).text
        assert "This form was sent already" in page
        assert "something else" not in page


async def test_dead_letters_are_found_replayed_and_discarded(database_url: str) -> None:
    async with open_rig(database_url) as rig:
        await rig.sign_in()
        first, second, third = [await bury(rig, number, f"text {number}") for number in range(3)]
        page = (await rig.http.get("/console/dead?q=text+1")).text
        assert second in page
        assert first not in page
        await rig.submit("dead/replay", letter=first)
        await rig.submit("dead/discard", all="1", q="text 1")
        left = [f"inbound/{letter.id}" for letter in await rig.inbound.dead()]
        assert left == [third]
        page = (await rig.http.get("/console/activity")).text
        assert f"dead letter {first}" in page
        assert f"dead letter {second}" in page


async def test_what_people_write_is_only_ever_text(database_url: str) -> None:
    attack = "<script>alert(1)</script><img src=x onerror=alert(1)>"
    async with open_rig(database_url) as rig:
        await filled(rig)
        async with rig.pool.connection() as connection:
            await connection.execute("UPDATE contacts SET profile_name = $1", attack)
            await connection.execute("UPDATE owners SET name = $1", attack)
            await connection.execute(
                "UPDATE replies SET body = $1, buttons = ARRAY[$1, 'Yes'], error_message = $1",
                attack,
            )
            await connection.execute(
                "UPDATE messages SET transcript = $1,"
                " payload = payload || jsonb_build_object('body', $1::text)",
                attack,
            )
        name = await bury(rig, 1, attack)
        await rig.sign_in()
        pages = (*PAGES, f"dead/{name}", f"conversations?q={attack}", f"now?notice={attack}")
        for page in pages:
            answer = await rig.http.get(f"/console/{page}")
            assert attack not in answer.text, page
            assert "<script>" not in answer.text, page


async def test_webhooks_are_counted_across_replicas(database_url: str) -> None:
    async with open_rig(database_url) as rig:
        views = PostgresConsoleViews(pool=rig.pool)
        counts = [0] * 14
        counts[1], counts[6] = 90, 10
        for replica in ("one", "two"):
            await views.add_webhooks(replica, WebhookCounts(refused=1, counts=tuple(counts)))
        found = await views.webhooks(seconds=60)
        assert (found.total, found.refused) == (200, 2)
        assert (found.quantile(0.5), found.quantile(0.95)) == (0.0025, 0.1)


async def test_figures_are_those_of_the_turns(database_url: str) -> None:
    async with open_rig(database_url) as rig:
        await filled(rig)
        traffic = await PostgresConsoleViews(pool=rig.pool).traffic(seconds=86_400, points=24)
        # Two days of messages, of which half lie in the last one.
        assert traffic.turns == pytest.approx(MESSAGES / 2, abs=2)
        assert traffic.messages == sum(point.messages for point in traffic.points)
        assert [name for name, _ in traffic.stages][:2] == ["queued", "record"]
        assert 0 < (traffic.queued.p50 or 0) < (traffic.queued.p99 or 0) < 1
        assert sum(owner.messages for owner in traffic.owners) == traffic.messages
        assert sum(owner.turns for owner in traffic.owners) == traffic.turns
        assert all(0 < (owner.queued_p95 or 0) < 1 for owner in traffic.owners)
        assert all(0 < (owner.processing_p95 or 0) < 3 for owner in traffic.owners)
        assert traffic.last_sent_at is not None
        # Of a quiet stretch, too.
        quiet = await PostgresConsoleViews(pool=rig.pool).traffic(seconds=1, points=4)
        assert quiet.messages == 0
        assert quiet.last_sent_at == traffic.last_sent_at
        assert sum(count for _, count in traffic.replies) == pytest.approx(MESSAGES / 2, abs=2)


async def test_hour_and_day_tell_of_their_stretch_and_live_of_now(database_url: str) -> None:
    async with open_pool(database_url, StoreSettings()) as pool:
        samples = PostgresFigureSamples(pool=pool)
        for figures in (
            {"waiting": 30, "oldest_waiting_s": 45.0, "in_flight": 7, "dead": 0},
            {"waiting": 10, "oldest_waiting_s": 5.0, "in_flight": 2, "dead": 3},
        ):
            seen = Backlog.model_validate({"queue": "inbound", "delayed": 1, **figures})
            await samples.add_backlogs([seen], apart_s=0)
        for running in (1, 4):
            ran = DeploymentState(name="Ingress", status="HEALTHY", running=running, target=4)
            await samples.add_replicas([ran], apart_s=0)
        did = {"batches": 4, "rows": 9, "requests": 9, "busy_seconds": 2.0, "work_done": 100.0}
        (chat,) = [each for each in await Cluster().engines() if each.replica == "c"]
        await samples.add_engines([chat.model_copy(update=did)], apart_s=0)
    async with open_rig(database_url) as rig:
        await rig.sign_in()
        for window, words in (("hour", "the last hour"), ("day", "the last day")):
            page = (await rig.http.get(f"/console/now?window={window}")).text
            text = text_of(page)
            for told in (
                "Waiting, at most 30 20 on average, 0 now",
                "Oldest waiting, at most 45.0 s 25.0 s on average, 0 ms now",
                "In flight, at most 7 0 now; at most 1 put off",
                f"Dead letters 0 now; 3 added in {words}",
                "inbound 30 20 45.0 s 25.0 s 7 1 0 3",
                "transformers demo 9 56 % 50.0 tokens/s 2.0 s",
                f"Ingress 1 of 1 replica; in {words} 1 to 4 ran",
            ):
                assert told in text, (told, text)
            assert re.search(r'id="chart-backlog" data-series="\[\[\d[^"]*, 30\]\]"', page)
        live = text_of((await rig.http.get("/console/now?window=live")).text)
        assert "at most" not in live
        # Three rows in two batches of four.
        assert "transformers demo cpu 0 + 0 38 % 60.0 tokens/s" in live


async def test_without_samples_hour_and_day_say_so(database_url: str) -> None:
    async with open_rig(database_url) as rig:
        await rig.sign_in()
        for window, words in (("hour", "the last hour"), ("day", "the last day")):
            text = text_of((await rig.http.get(f"/console/now?window={window}")).text)
            assert f"Nothing was written down in {words}." in text
            assert "Waiting, at most - - on average, 0 now" in text


async def test_the_console_writes_down_what_the_cluster_does(database_url: str) -> None:
    async with open_rig(database_url) as rig:
        samples = PostgresFigureSamples(pool=rig.pool)
        async with asyncio.timeout(10):
            while not (await samples.figures(seconds=60, points=1)).engines:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        found = await samples.figures(seconds=60, points=1)
        assert [(each.deployment, each.most) for each in found.replicas] == [("Ingress", 1)]
        assert [(each.engine, each.rows, each.room) for each in found.engines] == [
            ("faster_whisper", 0, 0),
            ("transformers", 3, 8),
        ]


async def test_a_search_by_each_way_tells_what_was_found(database_url: str) -> None:
    async with open_rig(database_url) as rig:
        await filled(rig)
        async with rig.pool.connection() as connection:
            await connection.execute(
                "UPDATE messages SET transcript = 'is the terrace heated in winter' WHERE turn_id = 't100'"
            )
            await connection.execute(
                "UPDATE replies SET body = 'The gnocchi are vegan' WHERE id = 'r95'"
            )
        await rig.sign_in()
        # Conversations have one message in ten: t100 is in v1, t95 in v6; neither is the latest.
        for search, name, told in (
            ("heated terrace", "Person 1", "is the terrace heated in winter"),
            ("gnocchi", "Person 6", "The gnocchi are vegan"),
            ("number 57", "Person 8", "number 57"),
            ("+15553", "Person 3", ""),
            ("Person 9", "Person 9", ""),
            ("SM123", "Person 4", ""),
            ("SR123", "Person 4", ""),
            ("correlation-123", "Person 4", ""),
        ):
            page = (await rig.http.get("/console/conversations", params={"q": search})).text
            assert page.count("<li>") == 1, search
            assert f"<strong>{name}</strong>" in page, search
            assert told in page, search


async def test_a_conversation_tells_how_each_reply_was_made(database_url: str) -> None:
    async with open_rig(database_url) as rig:
        await filled(rig)
        async with rig.pool.connection() as connection:
            await connection.execute(
                "INSERT INTO entries (conversation_id, turn_id, role, content, tool_calls, tool_call_id,"
                " name) VALUES ('v1', 't100', 'assistant', '', $1, NULL, NULL),"
                " ('v1', 't100', 'tool', '{\"price\": 3.8}', '[]', 'c1', 'price_of')",
                [{"id": "c1", "name": "price_of", "arguments": {"item": "flat white"}}],
            )
        await rig.sign_in()
        page = (await rig.http.get("/console/conversations/v1")).text
        way = page.split('id="reply-r100"')[1].split("</article>")[0]
        for told in (
            "price_of",
            "flat white",
            "3.8",
            "<dt>queued</dt>",
            "<dt>answer</dt>",
            "100 tokens read, 20 written",
            "correlation-100",
        ):
            assert told in way, told


async def test_files_of_messages_are_played_shown_or_downloaded(database_url: str) -> None:
    """What a stranger sent is never a page of ours."""
    kinds = {
        "audio/ogg; codecs=opus": ("audio/ogg", "inline"),
        "image/png": ("image/png", "inline"),
        "image/svg+xml": ("application/octet-stream", "attachment"),
        "text/html": ("application/octet-stream", "attachment"),
    }
    async with open_rig(database_url) as rig:
        await filled(rig)
        media = [{"url": f"https://x/{n}", "content_type": kind} for n, kind in enumerate(kinds)]
        async with rig.pool.connection() as connection:
            message = await connection.fetchval(
                "UPDATE messages SET payload = payload || jsonb_build_object('media', $1::jsonb,"
                " 'account_id', 'AC1', 'recipient', 'whatsapp:+1'), transcript = 'hello there'"
                " WHERE turn_id = 't100' RETURNING id",
                media,
            )
            await connection.execute(
                """UPDATE twilio_accounts SET phone_numbers = '[{"address": "whatsapp:+1"}]'"""
            )
        for number, kind in enumerate(kinds):
            rig.channel.files[f"https://x/{number}"] = MediaFile(content=b"it", content_type=kind)
        await rig.sign_in()
        page = (await rig.http.get("/console/conversations/v1")).text
        assert f'<audio controls preload="none" src="/console/media/{message}/0"' in page
        assert "“hello there”" in page
        for number, (kind, how) in enumerate(kinds.values()):
            answer = await rig.http.get(f"/console/media/{message}/{number}")
            assert (answer.status_code, answer.content) == (200, b"it")
            assert answer.headers["content-type"].split(";")[0] == kind
            assert answer.headers["content-disposition"] == how
            assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"
            assert answer.headers["x-content-type-options"] == "nosniff"
        rig.channel.files.clear()
        gone = await rig.http.get(f"/console/media/{message}/0")
        assert gone.status_code == 404
        assert "isn&#39;t there any more" in gone.text
        assert (await rig.http.get(f"/console/media/{message}/9")).status_code == 404


async def test_the_list_is_paged_without_gaps(database_url: str) -> None:
    async with open_rig(database_url) as rig:
        token = TokenCipher(KEY).encrypt(SecretStr("token"))
        await fill(rig.pool, messages=230, per_conversation=2, token=token)
        views = PostgresConsoleViews(pool=rig.pool)
        seen: list[str] = []
        after: str | None = None
        while True:
            page = await views.conversations(search="", only_people=False, after=after, limit=40)
            seen += [line.id for line in page.lines]
            after = page.after
            if after is None:
                break
        assert seen == [f"v{number}" for number in range(1, 116)]
