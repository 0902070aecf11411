"""Every form of the console, those to come included: forged, from the wrong role, of another session."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest

from models.console import Role
from serve_app.console.application import GUARDED
from serve_app.console.gate import COOKIE
from tests.integration.console.rig import OURS, PASSWORD, Rig, add_operators, open_rig

pytestmark = pytest.mark.integration

FORMS = [
    (re.sub(r"\{[^}]*\}", "x", path), role) for method, path, _, role in GUARDED if method == "POST"
]
FOREIGN = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
ORDER = (Role.VIEW, Role.OPERATE, Role.ADMINISTER)


@pytest.fixture
async def rig(database_url: str) -> AsyncIterator[Rig]:
    async with open_rig(database_url) as opened:
        yield opened


async def post(rig: Rig, path: str, proof: str, headers: dict[str, str] | None = None) -> int:
    answer = await rig.http.post(
        f"/console{path}", data={"csrf_token": proof}, headers=headers or OURS
    )
    return answer.status_code


def test_there_are_forms_for_each_role() -> None:
    assert {role for _, role in FORMS} == {Role.OPERATE, Role.ADMINISTER}
    assert all(method in ("GET", "POST") for method, *_ in GUARDED)


async def test_no_form_is_taken_without_its_own_proof(rig: Rig) -> None:
    await rig.sign_in()
    first = await rig.proof()
    for path, _ in [*FORMS, ("/sign-out", Role.VIEW)]:
        assert await post(rig, path, "") == 403, path
        assert await post(rig, path, first[::-1]) == 403, path
        assert await post(rig, path, first, FOREIGN) == 403, path
        assert await post(rig, path, first, {**OURS, "Origin": "null"}) == 403, path
    assert (await rig.http.get("/console/activity")).status_code == 200
    # Another session's proof, of the same operator, is another's.
    await rig.sign_in()
    second = await rig.proof()
    assert second != first
    for path, _ in FORMS:
        assert await post(rig, path, first) == 403, path


@pytest.mark.parametrize("role", ORDER[:2])
async def test_no_form_is_taken_from_a_lower_role(rig: Rig, role: Role) -> None:
    await add_operators(rig, *Role)
    await rig.sign_in(PASSWORD, name=role.value)
    proof = await rig.proof()
    for path, needed in FORMS:
        refused = await post(rig, path, proof) == 403
        assert refused == (ORDER.index(needed) > ORDER.index(role)), path


async def test_reading_changes_nothing(rig: Rig) -> None:
    """A link or a picture elsewhere can make a browser GET, never POST with our cookie."""
    await rig.sign_in()
    for path, _ in FORMS:
        assert (await rig.http.get(f"/console{path}")).status_code in (404, 405), path


async def test_a_sign_in_makes_a_new_session_and_ends_the_former(rig: Rig) -> None:
    rig.http.cookies.set(COOKIE, "chosen-by-somebody", path="/console")
    await rig.sign_in()
    first = rig.http.cookies.get(COOKIE, path="/console", domain="127.0.0.1")
    assert first not in (None, "chosen-by-somebody")
    await rig.sign_in()
    second = rig.http.cookies.get(COOKIE, path="/console", domain="127.0.0.1")
    assert second != first
    for cookie, status in (("chosen-by-somebody", 303), (first, 303), (second, 200)):
        rig.http.cookies.clear()
        answer = await rig.http.get("/console/activity", headers={"Cookie": f"{COOKIE}={cookie}"})
        assert answer.status_code == status, cookie
