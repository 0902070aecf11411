"""The commands that change owners, accounts and assistants, on a real Postgres."""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from cryptography.fernet import Fernet
from pydantic import SecretStr
from typer.testing import CliRunner

from models.accounts import Owner, TwilioAccount
from models.errors import RecadoError
from serve_app.cli import terminal
from serve_app.cli.app import app
from serve_app.settings import PROJECT_ROOT, StoreSettings
from serve_app.store.accounts import PostgresTwilioAccountRepository
from serve_app.store.cipher import TokenCipher
from serve_app.store.owners import PostgresOwnerRepository
from serve_app.store.pool import open_pool
from tests.unit.administration.samples import BAKERY, OTHER_SID, SID

pytestmark = pytest.mark.integration

FIRST, SECOND = "a" * 32, "b" * 32


class Shell:
    """The commands as an operator gives them, and what is stored then."""

    def __init__(self, database_url: str, folder: Path, environ: dict[str, str]) -> None:
        self.folder = folder
        self._database_url = database_url
        self.environ = environ

    def __call__(self, *args: str, typed: str | None = None) -> Result:
        result = CliRunner().invoke(app, list(args), input=typed, env=self.environ)
        for token in (FIRST, SECOND):
            assert token not in result.output
            assert token not in str(result.exception)
        return result

    def ok(self, *args: str, typed: str | None = None) -> str:
        result = self(*args, typed=typed)
        assert result.exit_code == 0, (result.output, result.exception)
        return result.output

    def refused(self, *args: str, typed: str | None = None) -> str:
        result = self(*args, typed=typed)
        assert isinstance(result.exception, RecadoError), (result.output, result.exception)
        assert "\n" not in str(result.exception)
        return str(result.exception)

    def write(self, text: str) -> str:
        path = self.folder / "owner.yaml"
        path.write_text(text)
        return str(path)

    def apply(self, text: str, *options: str) -> str:
        return self.ok("apply", self.write(text), *options)

    def stored(self) -> tuple[list[Owner], list[TwilioAccount]]:
        async def read() -> tuple[list[Owner], list[TwilioAccount]]:
            async with open_pool(self._database_url, StoreSettings()) as pool:
                cipher = TokenCipher(self.environ["RECADO_SECRET_KEY"])
                accounts = PostgresTwilioAccountRepository(pool=pool, cipher=cipher)
                owners = PostgresOwnerRepository(pool=pool)
                return await owners.list_all(), await accounts.list_all()

        return asyncio.run(read())

    def tokens(self, account_id: str = "bakery-twilio") -> tuple[str, SecretStr | None]:
        (account,) = (a for a in self.stored()[1] if a.id == account_id)
        return account.auth_token.get_secret_value(), account.secondary_token

    def editor(self, script: str) -> None:
        """An $EDITOR that runs `script` with the file's text as `text`."""
        path = self.folder / "editor"
        path.write_text(
            f"#!{sys.executable}\nimport pathlib, sys\nfile = pathlib.Path(sys.argv[-1])\n"
            f"text = file.read_text()\n{script}\n"
        )
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        self.environ["VISUAL"] = self.environ["EDITOR"] = str(path)


@pytest.fixture
def shell(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.setattr(terminal.console, "width", 200)
    environ = {
        "RECADO_DATA_DIR": str(tmp_path / "data"),
        "RECADO_DATABASE_URL": database_url,
        "RECADO_REDIS_URL": "redis://127.0.0.1:1/0",
        "RECADO_SECRET_KEY": Fernet.generate_key().decode(),
        "BAKERY_TOKEN": FIRST,
        "NEXT_TOKEN": SECOND,
    }
    return Shell(database_url, tmp_path, environ)


class TestApply:
    def test_shown_stored_and_then_nothing_to_change(self, shell: Shell) -> None:
        dry = shell.apply(BAKERY, "--dry-run")
        assert "assistant.facts.menu[bread].price" in dry
        assert "this was a dry run" in dry
        assert shell.stored() == ([], [])

        assert "Applied" in shell.apply(BAKERY)
        (owner,), (account,) = shell.stored()
        assert owner.name == "Corner Bakery"
        assert account.account_sid == SID
        assert "Nothing to change." in shell.apply(BAKERY)

    def test_a_new_database_gets_its_schema(self, shell: Shell, empty_database_url: str) -> None:
        shell.environ["RECADO_DATABASE_URL"] = empty_database_url
        assert "Applied" in shell.apply(BAKERY)
        assert "bakery" in shell.ok("owners", "list")

    def test_old_and_new_of_each_field(self, shell: Shell) -> None:
        shell.apply(BAKERY)
        changed = BAKERY.replace("[08:00, 18:00]", "[08:00, 20:00]").replace(
            "BAKERY_TOKEN", "NEXT_TOKEN"
        )
        said = shell.apply(changed)
        row = next(line for line in said.splitlines() if "monday" in line)
        assert row.index("[08:00, 18:00]") < row.index("[08:00, 20:00]")
        assert "token changed" in said
        assert "Applied 2 changes." in said
        assert shell.tokens() == (SECOND, None)

    def test_a_mistake_is_one_line_and_saves_nothing(self, shell: Shell) -> None:
        path = shell.write(BAKERY.replace("monday:", "mon:"))
        assert "assistant.facts.opening_hours.mon: unknown key" in shell.refused("apply", path)
        path = shell.write(BAKERY.replace("[opening_hours, menu]", "[fly]"))
        assert "there is no tool fly" in shell.refused("apply", path)
        assert shell.stored() == ([], [])

    def test_what_show_writes_can_be_applied(self, shell: Shell) -> None:
        shell.apply(BAKERY)
        text = shell.ok("owners", "show", "bakery", "--yaml")
        assert "Nothing to change." in shell.apply(text)
        assert "Applied 1 change." in shell.apply(text.replace("Corner", "Old"))


def test_owners_are_listed_and_shown(shell: Shell) -> None:
    assert "no owners" in shell.ok("owners", "list")
    shell.apply(BAKERY)
    listed = shell.ok("owners", "list")
    assert "Corner Bakery" in listed
    assert "whatsapp:+15550001111" in listed
    shown = shell.ok("owners", "show", "bakery")
    for part in ("Europe/Madrid", "0 (of 100)", "bakery-twilio", "primary", "monday"):
        assert part in shown
    assert "There is no owner nobody" in shell.refused("owners", "show", "nobody")


class TestAccounts:
    def test_added_with_a_typed_token(self, shell: Shell) -> None:
        shell.apply(BAKERY[: BAKERY.index("accounts:")])
        assert "no accounts" in shell.ok("accounts", "list")
        numbers = ("--number", "whatsapp:+15550003333", "--number", "+15550003333")
        add = ("accounts", "add", "--owner", "bakery", "--sid", OTHER_SID, *numbers)
        shell.ok(*add, "--messaging-service", "MG" + "3" * 32, typed=f"{FIRST}\n")
        ((account,),) = (shell.stored()[1],)
        assert (account.id, account.owner_id) == ("bakery-twilio", "bakery")
        assert [n.channel for n in account.phone_numbers] == ["whatsapp", "sms"]
        assert account.messaging_service_sid == "MG" + "3" * 32
        assert shell.tokens() == (FIRST, None)
        assert "bakery-twilio" in shell.ok("accounts", "list", "--owner", "bakery")
        assert "no accounts" in shell.ok("accounts", "list", "--owner", "florist")

    def test_a_second_of_the_same_sid_needs_no_token(self, shell: Shell) -> None:
        shell.apply(BAKERY)
        add = ("accounts", "add", "--owner", "bakery", "--sid", SID, "--id", "more")
        shell.ok(*add, "--number", "+15550003333")
        assert shell.tokens("more") == (FIRST, None)
        assert "already" in shell.refused(*add)

    @pytest.mark.parametrize(
        ("options", "problem"),
        [
            (("--sid", "AC1"), "account_sid: must be AC"),
            (("--sid", OTHER_SID, "--number", "555"), None),
            (("--sid", OTHER_SID, "--number", "hello"), "phone_numbers[0].address: must be as in"),
            (("--sid", OTHER_SID, "--token-env", "UNSET"), "names a variable that isn't set"),
            (("--sid", OTHER_SID, "--token-env", FIRST), "names a variable that isn't set"),
        ],
    )
    def test_mistakes(self, options: tuple[str, ...], problem: str | None, shell: Shell) -> None:
        shell.apply(BAKERY[: BAKERY.index("accounts:")])
        command = ("accounts", "add", "--owner", "bakery", *options)
        if problem is None:
            shell.ok(*command, "--token-env", "BAKERY_TOKEN")
        else:
            assert problem in shell.refused(*command)
            assert shell.stored()[1] == []

    def test_rotated_in_two_steps(self, shell: Shell) -> None:
        shell.apply(BAKERY)
        assert "token changed" in shell.ok(
            "accounts", "rotate", "bakery-twilio", "--token-env", "NEXT_TOKEN"
        )
        assert shell.tokens() == (SECOND, SecretStr(FIRST))
        assert "primary, secondary" in shell.ok("accounts", "list")
        assert "dropped" in shell.ok("accounts", "rotate", "bakery-twilio", "--drop-secondary")
        assert shell.tokens() == (SECOND, None)
        shell.ok("accounts", "rotate", "bakery-twilio", typed=f"{FIRST}\n")
        assert shell.tokens() == (FIRST, SecretStr(SECOND))

    def test_deactivated_and_activated(self, shell: Shell) -> None:
        shell.apply(BAKERY)
        shell.ok("accounts", "deactivate", "bakery-twilio")
        assert not shell.stored()[1][0].active
        assert "inactive" in shell.ok("accounts", "list")
        assert "Nothing to change" in shell.ok("accounts", "deactivate", "bakery-twilio")
        shell.ok("accounts", "activate", "bakery-twilio")
        assert shell.stored()[1][0].active
        assert "There is no account x" in shell.refused("accounts", "deactivate", "x")


class TestOwnersAndAccounts:
    def test_an_owner_is_created_with_a_plan_that_others_have(self, shell: Shell) -> None:
        shell.apply(BAKERY)
        said = shell.ok("owners", "create", "deli", "--name", "Deli", "--plan", "basic")
        assert "the plan basic changes" not in said
        bakery, deli = shell.stored()[0]
        assert (deli.id, deli.name, deli.timezone) == ("deli", "Deli", "UTC")
        assert deli.plan == bakery.plan
        assert "already" in shell.refused("owners", "create", "deli", "--name", "D", "--plan", "p")
        options = ("--name", "Bar", "--plan", "pro", "--timezone", "Mars/Olympus")
        assert "timezone" in shell.refused("owners", "create", "bar", *options)

    def test_an_owner_is_edited_as_its_file(self, shell: Shell) -> None:
        shell.apply(BAKERY)
        shell.editor("file.write_text(text.replace('Corner Bakery', 'Old Bakery'))")
        said = shell.ok("owners", "edit", "bakery", typed="y\n")
        assert "Corner Bakery" in said
        owners, accounts = shell.stored()
        assert owners[0].name == "Old Bakery"
        assert len(accounts) == 1
        assert shell.tokens() == (FIRST, None)
        shell.editor("file.write_text(text.replace('id: bakery\\n', 'id: other\\n'))")
        refused = shell.refused("owners", "edit", "bakery", "--yes")
        assert refused == "id: bakery can't become other"

    def test_an_account_is_shown_and_edited(self, shell: Shell) -> None:
        shell.apply(BAKERY)
        shown = shell.ok("accounts", "show", "bakery-twilio")
        assert "debounce_s: null" in shown
        assert "whatsapp:+15550001111" in shown
        shell.editor("file.write_text(text.replace('debounce_s: null', 'debounce_s: 2.5'))")
        said = shell.ok("accounts", "edit", "bakery-twilio", "--yes")
        assert "accounts[bakery-twilio].debounce_s" in said
        assert shell.stored()[1][0].debounce_s == 2.5
        assert shell.tokens() == (FIRST, None)
        shell.editor("file.write_text(text.replace('id: bakery-twilio', 'id: b'))")
        assert "can't become b" in shell.refused("accounts", "edit", "bakery-twilio", "--yes")
        assert "no account nobody" in shell.refused("accounts", "show", "nobody")


class TestAssistant:
    def test_set(self, shell: Shell) -> None:
        shell.apply(BAKERY)
        assignments = (
            "facts.opening_hours.sunday=[10:00, 14:00]",
            "facts.menu.bread.price=2.40",
            "facts.info.wifi=no",
            "temperature=0.5",
            "language=",
        )
        dry = shell.ok("assistant", "set", "bakery", *assignments, "--dry-run")
        assert "facts.menu[bread].price" in dry
        assert "Applied 5 changes." in shell.ok("assistant", "set", "bakery", *assignments)
        assistant = shell.stored()[0][0].assistant
        assert assistant.facts["opening_hours"]["sunday"] == ["10:00", "14:00"]
        assert assistant.facts["menu"][0]["price"] == "2.40"
        assert assistant.facts["info"] == {"wifi": "no"}
        assert (assistant.temperature, assistant.language) == (0.5, None)
        assert "unknown key" in shell.refused("assistant", "set", "bakery", "colour=red")
        assert shell.stored()[0][0].assistant == assistant

    def test_edited(self, shell: Shell) -> None:
        shell.apply(BAKERY)
        shell.editor("file.write_text(text.replace('Be brief.', 'Be kind.'))")
        said = shell.ok("assistant", "edit", "bakery", typed="y\n")
        assert "Be brief." in said
        assert shell.stored()[0][0].assistant.instructions == "Be kind."
        assert "instructions: Be kind." in shell.ok("assistant", "show", "bakery")

    def test_a_mistake_can_be_corrected(self, shell: Shell) -> None:
        shell.apply(BAKERY)
        shell.editor(
            "file.write_text(text.replace('mon:', 'monday:').replace('saturday', 'sat') if 'mon:' in text"
            " else text.replace('monday', 'mon'))"
        )
        again = shell("assistant", "edit", "bakery", typed="y\nn\n")
        assert "opening_hours.mon: unknown key" in again.output
        assert "opening_hours.sat: unknown key" in again.output
        assert again.exit_code == 1
        assert "monday" in str(shell.stored()[0][0].assistant.facts)
        assert "unknown key" in shell.refused("assistant", "edit", "bakery", "--yes")

    @pytest.mark.parametrize(
        ("script", "typed"),
        [("pass", ""), ("file.write_text(text.replace('Be brief.', 'Be kind.'))", "n\n")],
    )
    def test_left_alone(self, script: str, typed: str, shell: Shell) -> None:
        shell.apply(BAKERY)
        shell.editor(script)
        assert "Nothing was changed." in shell.ok("assistant", "edit", "bakery", typed=typed)
        assert shell.stored()[0][0].assistant.instructions == "Be brief."

    def test_an_editor_that_fails(self, shell: Shell) -> None:
        shell.apply(BAKERY)
        shell.editor("sys.exit(3)")
        assert "The editor failed" in shell.refused("assistant", "edit", "bakery")
        shell.environ["VISUAL"] = "/nowhere/editor"
        assert "The editor failed" in shell.refused("assistant", "edit", "bakery")


@pytest.fixture
def recado(shell: Shell) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(*args: str) -> subprocess.CompletedProcess[str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("RECADO_")}
        return subprocess.run(
            [sys.executable, "-m", "serve_app.cli", *args],
            cwd=PROJECT_ROOT,
            env={**kept, **shell.environ, "COLUMNS": "200"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def test_as_a_process(
    recado: Callable[..., subprocess.CompletedProcess[str]], shell: Shell
) -> None:
    done = recado("apply", shell.write(BAKERY))
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "Applied" in done.stdout
    refused = recado("apply", shell.write(BAKERY.replace("es\nplan", "es\nplain: 1\nplan")))
    assert refused.returncode == 1
    (line,) = refused.stderr.splitlines()
    assert line.startswith("recado: ")
    assert "plain: unknown key" in line
