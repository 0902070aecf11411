from __future__ import annotations

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, ReadOnlyError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from models.errors import QueueUnavailableError, StaleClaimError
from models.jobs import FailedAttempt
from serve_app.queue.connection import translated
from serve_app.queue.keys import ShardKeys, shard_of
from serve_app.queue.rows import dead_id, error_note, history_from, parse_dead_id
from serve_app.queue.scripts import Script


def raised(text: str) -> Exception:
    try:
        raise ValueError(text)
    except ValueError as error:
        return error


def read_back(note: str) -> FailedAttempt:
    (attempt,) = history_from('{"at":12.5,' + note)
    return attempt


def test_an_error_survives_as_one_line_of_history() -> None:
    error = raised('line one\nline "two"\tação \ud800')
    note = error_note(error, consumer="w:1", counted=True, max_traceback_chars=4000)
    assert "\n" not in note
    assert note.isascii()
    attempt = read_back(note)
    assert (attempt.at, attempt.consumer, attempt.error_type) == (12.5, "w:1", "ValueError")
    assert attempt.message.startswith('line one\nline "two"\tação ?')
    assert "in raised" in attempt.traceback


def test_the_end_of_a_long_traceback_is_kept() -> None:
    error = raised("x" * 10_000)
    attempt = read_back(error_note(error, consumer="w", counted=True, max_traceback_chars=100))
    assert attempt.traceback == "x" * 99 + "\n"
    assert len(attempt.message) == 2_000
    none = read_back(error_note(error, consumer="w", counted=True, max_traceback_chars=0))
    assert none.traceback == ""


@pytest.mark.parametrize(("position", "shard"), [("1700000000000-0", 0), ("17-3", 12)])
def test_dead_ids_name_their_shard(position: str, shard: int) -> None:
    assert parse_dead_id(dead_id(position, shard)) == (position, shard)


@pytest.mark.parametrize("text", ["", "-", "1-", "1", "1-2.x", "(1-2", "1-2-3", "a-b"])
def test_other_texts_are_no_dead_ids(text: str) -> None:
    assert parse_dead_id(text) is None


def test_all_keys_of_a_shard_share_its_hash_tag() -> None:
    keys = ShardKeys.of(prefix="recado", name="inbound", shard=2)
    assert keys.prefix == "recado:{inbound:2}:"
    assert all(key.startswith(keys.prefix) for key in (*keys.fixed, keys.ready))
    assert len(set(keys.fixed)) == 7


def test_shards_are_stable_and_even() -> None:
    assert shard_of("whatsapp:AC1:+1:+2", 16) == 2
    counts = [0] * 4
    for number in range(4000):
        counts[shard_of(f"conversation {number}", 4)] += 1
    assert min(counts) > 800


def test_scripts_carry_the_common_part() -> None:
    script = Script("complete")
    assert "local function go_on" in script.source
    assert len(script.sha) == 40


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RedisConnectionError("refused"), QueueUnavailableError),
        (RedisTimeoutError("slow"), QueueUnavailableError),
        (TimeoutError(), QueueUnavailableError),
        (ConnectionResetError(), QueueUnavailableError),
        (OutOfMemoryError("command not allowed"), QueueUnavailableError),
        (ReadOnlyError("You can't write"), QueueUnavailableError),
        (ResponseError("MISCONF Redis is configured to save"), QueueUnavailableError),
        (ResponseError("BUSY Redis is busy running a script"), QueueUnavailableError),
        (ResponseError("STALE the turn belongs to another"), StaleClaimError),
    ],
)
def test_what_failures_mean(error: Exception, expected: type[Exception]) -> None:
    with pytest.raises(expected) as caught, translated():
        raise error
    assert caught.value.__cause__ is error


def test_a_refusal_inside_a_script_is_named() -> None:
    text = "Error running script (call to f_1): @user_script:9: -OOM command not allowed"
    with pytest.raises(QueueUnavailableError, match=r"refuses to work now \(OOM\)"), translated():
        raise ResponseError(text)
