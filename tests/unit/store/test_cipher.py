"""Tokens at rest."""

from __future__ import annotations

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr

from models.errors import PermanentError
from serve_app.store.cipher import TokenCipher

OLD, NEW, OTHER = (Fernet.generate_key().decode() for _ in range(3))


def test_round_trip() -> None:
    cipher = TokenCipher(NEW)

    ciphertext = cipher.encrypt(SecretStr("the token"))

    assert "the token" not in ciphertext
    assert cipher.decrypt(ciphertext).get_secret_value() == "the token"


def test_encrypts_with_the_first_key_and_decrypts_with_any() -> None:
    under_old = TokenCipher(OLD).encrypt(SecretStr("t"))
    both = TokenCipher(f" {NEW} , {OLD},")

    assert both.decrypt(under_old).get_secret_value() == "t"
    assert TokenCipher(NEW).decrypt(both.encrypt(SecretStr("t"))).get_secret_value() == "t"
    assert TokenCipher(NEW).decrypt(both.rotate(under_old)).get_secret_value() == "t"


def test_wrong_key_says_what_to_do() -> None:
    ciphertext = TokenCipher(OLD).encrypt(SecretStr("a very secret token"))

    with pytest.raises(PermanentError, match="RECADO_SECRET_KEY") as caught:
        TokenCipher(OTHER).decrypt(ciphertext)
    assert "very secret" not in str(caught.value)
    assert OTHER not in str(caught.value)


@pytest.mark.parametrize(
    "keys",
    ["", " , ", "short", "ä" * 44, f"{NEW},oops"],
    ids=["none", "empty", "short", "not ascii", "one of two"],
)
def test_malformed_keys(keys: str) -> None:
    with pytest.raises(PermanentError, match="Fernet") as caught:
        TokenCipher(keys)
    assert NEW not in str(caught.value)
