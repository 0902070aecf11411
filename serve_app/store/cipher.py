"""Encryption of account tokens at rest, with Fernet keys that can be rotated."""

from __future__ import annotations

from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from pydantic import SecretStr

from models.errors import PermanentError

REMEMBERED = 256
"""Tokens that are deciphered but once in a process: each time costs a tenth of a millisecond."""

_HOW = "RECADO_SECRET_KEY must hold Fernet keys, separated by commas, the newest first"


class TokenCipher:
    """Encrypts with the first key and decrypts with any of them.

    To rotate: put a new key in front, re-encrypt (`PostgresTwilioAccountRepository.reencrypt`), then
    drop the old one.
    """

    def __init__(self, keys: str) -> None:
        """`keys` are separated by commas, newest first. Raises `PermanentError` if one is malformed."""
        parts = [key.strip() for key in keys.split(",") if key.strip()]
        if not parts:
            raise PermanentError(f"{_HOW}: there is none")
        try:
            self._fernet = MultiFernet([Fernet(key) for key in parts])
            self._decrypted = lru_cache(REMEMBERED)(self._decrypt)
        except ValueError as error:
            raise PermanentError(
                f"{_HOW}: each is 32 bytes in URL-safe base64, as Fernet.generate_key() makes them"
            ) from error

    def encrypt(self, token: SecretStr) -> str:
        return self._fernet.encrypt(token.get_secret_value().encode()).decode()

    def decrypt(self, ciphertext: str) -> SecretStr:
        """Raises `PermanentError` if none of the keys fits."""
        return self._decrypted(ciphertext)

    def _decrypt(self, ciphertext: str) -> SecretStr:
        try:
            return SecretStr(self._fernet.decrypt(ciphertext.encode()).decode())
        except InvalidToken as error:
            raise PermanentError(
                "a stored account token can't be decrypted: RECADO_SECRET_KEY doesn't hold the key that "
                "it was encrypted with. Add that key after the current one, or save the account anew"
            ) from error

    def rotate(self, ciphertext: str) -> str:
        """The same token under the first key. Raises `PermanentError` if none of the keys fits."""
        return self.encrypt(self.decrypt(ciphertext))
