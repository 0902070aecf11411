"""Generated secrets: made once, private, never replaced."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from serve_app.local.layout import DataDir, LocalError
from serve_app.local.secrets import ensure_secrets, read_secrets


@pytest.fixture
def data_dir(tmp_path: Path) -> DataDir:
    return DataDir.at(tmp_path)


def test_they_are_made_once(data_dir: DataDir) -> None:
    assert read_secrets(data_dir) is None
    first = ensure_secrets(data_dir)
    assert ensure_secrets(data_dir) == first
    assert read_secrets(data_dir) == first


def test_they_are_usable_and_private(data_dir: DataDir) -> None:
    secrets = ensure_secrets(data_dir)
    Fernet(secrets.secret_key.get_secret_value()).encrypt(b"x")
    assert secrets.simulator_account_sid.startswith("AC")
    assert len(secrets.simulator_account_sid) == 34
    assert stat.S_IMODE(data_dir.secrets_file.stat().st_mode) == 0o600
    assert secrets.secret_key.get_secret_value() not in repr(secrets)


def test_of_many_at_once_one_wins_for_all(data_dir: DataDir) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: ensure_secrets(data_dir), range(16)))
    assert len({secrets.secret_key.get_secret_value() for secrets in made}) == 1
    assert [path.name for path in data_dir.root.iterdir()] == ["secrets.json"]


@pytest.mark.parametrize("text", ["", "{}", '{"secret_key": 1'])
def test_damaged_ones_are_never_replaced(data_dir: DataDir, text: str) -> None:
    data_dir.secrets_file.write_text(text)
    with pytest.raises(LocalError, match="damaged"):
        ensure_secrets(data_dir)
    assert data_dir.secrets_file.read_text() == text
