"""Who comes in, who waits, and whose session ends when."""

from __future__ import annotations

import asyncio
import re

import pytest

from models.console import Role
from serve_app.console.gate import COOKIE
from serve_app.settings import StoreSettings
from serve_app.store.migrate import migrate
from tests.fixtures.postgres import Postgres
from tests.integration.console.rig import OURS, PASSWORD, URL, Rig, add_operators, open_rig

pytestmark = pytest.mark.integration

LONG = "a-token-that-nobody-finds-by-trying"


async def run(rig: Rig, statement: str) -> None:
    async with rig.pool.connection() as connection:
        await connection.execute(statement)


async def test_guesses_at_the_same_time_are_all_counted(database_url: str) -> None:
    async with open_rig(database_url, max_sign_in_failures=3) as rig:
        await add_operators(rig, Role.VIEW)
        answers = await asyncio.gather(*(rig.sign_in("wrong", name="view") for _ in range(12)))
        assert sorted(answer.status_code for answer in answers) == [403] * 3 + [429] * 9
        assert (await rig.sign_in(PASSWORD, name="view")).status_code == 429
        # Who waits isn't kept waiting by trying.
        await run(rig, "UPDATE sign_in_failures SET at = at - interval '301 seconds'")
        assert (await rig.sign_in(PASSWORD, name="view")).status_code == 303


async def test_the_right_one_is_forgiven(database_url: str) -> None:
    async with open_rig(database_url, max_sign_in_failures=3) as rig:
        for _ in range(3):
            for _ in range(2):
                assert (await rig.sign_in("wrong")).status_code == 403
            assert (await rig.sign_in()).status_code == 303


async def test_nobody_locks_the_holder_of_a_long_token_out(database_url: str) -> None:
    async with open_rig(database_url, token=LONG, max_sign_in_failures=2) as rig:
        statuses = [(await rig.sign_in("wrong")).status_code for _ in range(3)]
        assert statuses == [403, 403, 429]
        assert (await rig.sign_in(LONG)).status_code == 303


async def test_a_flood_of_passwords_is_refused_and_not_queued(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve_app.console.gate.MOST_WAITING", 2)
    async with open_rig(database_url) as rig:
        answers = await asyncio.gather(
            *(rig.sign_in("wrong", name=f"nobody-{number}") for number in range(8))
        )
        statuses = [answer.status_code for answer in answers]
        assert 403 in statuses
        assert 429 in statuses
        assert (await rig.sign_in("wrong", name="nobody-9")).status_code == 403


async def test_a_session_ends_with_the_token_that_opened_it(database_url: str) -> None:
    async with open_rig(database_url) as rig:
        await add_operators(rig, Role.OPERATE)
        await rig.sign_in()
        by_token = await cookie_of(rig)
        await rig.sign_in(PASSWORD, name="operate")
        # The second sign-in ended the first session: make it anew.
        by_password = await cookie_of(rig)
        rig.http.cookies.clear()
        await rig.sign_in()
        by_token = await cookie_of(rig)
    for token, status in ((LONG, 303), (None, 303), ("the-console-token", 200)):
        async with open_rig(database_url, token=token) as rig:
            for cookie, expected in ((by_token, status), (by_password, 200)):
                answer = await rig.http.get(
                    "/console/activity", headers={"Cookie": f"{COOKIE}={cookie}"}
                )
                assert answer.status_code == expected, (token, cookie)


async def cookie_of(rig: Rig) -> str:
    cookie = rig.http.cookies.get(COOKIE, path="/console", domain="127.0.0.1")
    assert cookie is not None
    return cookie


async def test_a_session_ends_with_its_hours(database_url: str) -> None:
    async with open_rig(database_url, session_hours=1) as rig:
        await rig.sign_in()
        await run(rig, "UPDATE operator_sessions SET expires_at = expires_at - interval '59 min'")
        assert (await rig.http.get("/console/activity")).status_code == 200
        await run(rig, "UPDATE operator_sessions SET expires_at = expires_at - interval '1 min'")
        assert (await rig.http.get("/console/activity")).status_code == 303


async def test_one_who_signs_in_comes_to_what_was_asked_for(database_url: str) -> None:
    async with open_rig(database_url) as rig:
        away = await rig.http.get("/console/dead?queue=outbound&q=a+b")
        page = await rig.http.get(away.headers["location"])
        found = re.search(r'name="next" value="([^"]+)"', page.text)
        assert found is not None
        form = {"secret": "the-console-token", "next": found[1].replace("&amp;", "&")}
        signed = await rig.http.post("/console/sign-in", data=form, headers=OURS)
        assert signed.headers["location"] == "/console/dead?queue=outbound&q=a+b"
        # A form without a session leads back to its page, which has kept the text.
        rig.http.cookies.clear()
        own = {**OURS, "Referer": f"{URL}/console/conversations/v1"}
        lost = await rig.http.post("/console/conversations/v1/answer", data={}, headers=own)
        assert lost.headers["location"] == "/console/sign-in?next=/console/conversations/v1"


@pytest.mark.timeout(60)
async def test_who_was_here_lately_sees_now_while_postgres_is_away(
    private_postgres: Postgres,
) -> None:
    dsn = private_postgres.create_database()
    await migrate(dsn, StoreSettings())
    async with open_rig(dsn) as rig:
        await rig.sign_in()
        proof = await rig.proof()
        await asyncio.to_thread(private_postgres.stop)
        try:
            page = await rig.http.get("/console/now")
            assert page.status_code == 200
            assert "Postgres doesn't answer" in page.text
            assert "inbound" in page.text
            assert (await rig.http.get("/console/dead")).status_code == 200
            # The role is that of a looker: no button, and nothing is done without a record of it.
            assert "Replay" not in page.text
            form = {"csrf_token": proof, "all": "1"}
            done = await rig.http.post("/console/dead/replay", data=form, headers=OURS)
            assert done.status_code == 503
            cookies = dict(rig.http.cookies)
            rig.http.cookies.clear()
            headers = {"Cookie": f"{COOKIE}=another"}
            assert (await rig.http.get("/console/now", headers=headers)).status_code == 503
            rig.http.cookies.update(cookies)
        finally:
            await asyncio.to_thread(private_postgres.start)
