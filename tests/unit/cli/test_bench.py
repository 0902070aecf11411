"""The benchmarks' arithmetic and drawings; what they measure is measured by running them."""

from __future__ import annotations

import io
import os
import sys
import textwrap
import wave
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models.errors import RecadoError
from serve_app.cli.bench.all_parts import part_limit_s, run_part
from serve_app.cli.bench.chat import run as run_chat
from serve_app.cli.bench.clips import (
    LONGEST_S,
    SHORTEST_S,
    Clip,
    mixed_clips,
    recorded_notes,
    word_error_rate,
)
from serve_app.cli.bench.commands import app
from serve_app.cli.bench.plot import Point, load_panels, write_svg
from serve_app.cli.bench.queue import run as run_queue
from serve_app.cli.bench.queue_peers import PEERS, SCRIPTS
from serve_app.cli.bench.replica_history import Look, ReplicaHistory
from serve_app.cli.bench.rounds import ratio, ratios
from serve_app.cli.bench.scale import REST, shorten_status
from serve_app.cli.bench.sizes import QUICK, QUICK_LIMIT_S, QUICK_TOTAL_S
from serve_app.cli.bench.speech import run as run_speech
from serve_app.cli.bench.stores import own_environment
from serve_app.cli.bench.targets import TARGETS, TURNS_PER_CPU, compare


def test_ratios_are_medians_of_rounds_and_name_their_target() -> None:
    assert ratio([10, 30, 20], [10, 10, 10]) == 2.0
    rates = {"recado": [30.0, 60.0], "arq": [10.0, 20.0], "streaq": [60.0, 120.0]}
    assert ratios(rates, {"arq": 5.0}, of="jobs/s") == {
        "jobs/s against arq (target 5 or more)": 3.0,
        "jobs/s against streaq": 0.5,
    }


def test_a_plot_has_a_line_a_side_in_each_panel(tmp_path: Path) -> None:
    points = {
        "recado": [Point(1, 100.0, 1.5), Point(8, 400.0, 9.0)],
        "a <peer>": [Point(1, 50.0, 2.5), Point(8, 90.0, 60.0)],
    }
    target = tmp_path / "plot.svg"
    write_svg(target, load_panels(points, what="clips"), note="2 cores & more")
    root = ET.fromstring(target.read_text())
    lines = root.findall(".//{http://www.w3.org/2000/svg}polyline")
    assert len(lines) == 4
    text = "".join(root.itertext())
    assert "a <peer>" in text
    assert "2 cores & more" in text


def test_errors_count_words_not_case_or_punctuation() -> None:
    clips = [Clip(b"", "Are you open tomorrow?", 1.0), Clip(b"", "thanks", 1.0)]
    assert word_error_rate(clips, ["are you open tomorrow", "Thanks!"]) == 0
    assert word_error_rate(clips, ["are you broken", ""]) == pytest.approx(60)


def test_clips_are_spread_over_the_lengths_and_the_same_each_time() -> None:
    clips = mixed_clips(12)
    assert [clip.says for clip in clips] == [clip.says for clip in mixed_clips(12)]
    lengths = sorted(clip.seconds for clip in clips)
    assert lengths[0] < SHORTEST_S + 3
    assert 20 < lengths[-1] <= LONGEST_S
    with wave.open(io.BytesIO(clips[0].audio)) as file:
        assert file.getnframes() / file.getframerate() == pytest.approx(clips[0].seconds)


def test_recorded_notes_are_taken_in_turn() -> None:
    notes = recorded_notes(20)
    assert len(notes) == 20
    assert all(note.says for note in notes)
    assert notes[0] == notes[16] != notes[1]


def test_each_peer_has_its_script() -> None:
    assert all((SCRIPTS / peer.script).is_file() for peer in PEERS.values())


def test_an_unknown_peer_is_refused_before_anything_starts() -> None:
    with pytest.raises(RecadoError, match="unknown peer rq: there are taskiq-redis"):
        run_queue(jobs=100, rounds=1, concurrency=1, against=("rq",), install=False, plot=None)


def burst() -> ReplicaHistory:
    history = ReplicaHistory(("Worker", "ChatModel"))
    for at_s, target, running in (
        (0.0, (1, 1), (1, 1)),
        (1.0, (3, 1), (1, 1)),
        (2.0, (3, 1), (1, 1)),
        (3.0, (3, 1), (3, 1)),
        (9.0, (1, 0), (1, 0)),
    ):
        names = ("Worker", "ChatModel")
        look = Look(
            at_s, dict(zip(names, target, strict=True)), dict(zip(names, running, strict=True))
        )
        history.looks.append(look)
    return history


def test_a_burst_tells_when_replicas_were_asked_for_ran_and_went() -> None:
    history = burst()
    assert history.summary(since_s=5.0) == {
        "Worker": {
            "most": 3,
            "second_asked_for_after_s": 1.0,
            "second_running_after_s": 3.0,
            "at_most_one_again_after_s": 9.0,
            "of_which_after_the_last_reply_s": 4.0,
        },
        "ChatModel": {
            "most": 1,
            "second_asked_for_after_s": None,
            "second_running_after_s": None,
            "at_most_one_again_after_s": None,
            "of_which_after_the_last_reply_s": None,
        },
    }
    assert [change["at_s"] for change in history.changes()] == [0.0, 1.0, 3.0, 9.0]
    assert history.at_rest({"Worker": 1, "ChatModel": 0})
    assert not history.at_rest(dict(REST))


def test_replicas_are_drawn_as_steps() -> None:
    assert burst().lines("Worker") == {
        "asked for": [(0.0, 1.0), (1.0, 1.0), (1.0, 3.0), (9.0, 3.0), (9.0, 1.0)],
        "running": [(0.0, 1.0), (3.0, 1.0), (3.0, 3.0), (9.0, 3.0), (9.0, 1.0)],
    }
    assert burst().lines("ChatModel")["running"] == [(0.0, 1.0), (9.0, 1.0), (9.0, 0.0)]


def test_serve_status_is_shortened_to_a_line_a_deployment() -> None:
    text = """
applications:
  recado:
    status: RUNNING
    deployments:
      Worker: {status: UPSCALING, replica_states: {RUNNING: 1, STARTING: 2}}
      ChatModel: {status: HEALTHY, replica_states: {}}
"""
    assert shorten_status(text) == {
        "application": "RUNNING",
        "Worker": "UPSCALING, 1 RUNNING, 2 STARTING",
        "ChatModel": "HEALTHY",
    }


def test_targets_are_compared_with_the_reports_that_there_are() -> None:
    reports = {
        "queue": {
            "ratios": {
                "jobs/s against taskiq-redis (target 1.5 or more)": 1.75,
                "published/s against taskiq-redis (target 2 or more)": 1.5,
            }
        },
        "ack": {"ratios": {"p50 at one connection against bare uvicorn": 1.1}},
        "turn": {TURNS_PER_CPU: {"1 worker process": [90.0, 120.0, 130.0]}},
    }
    rows = {(row["what"], row["against"]): row for row in compare(reports)}
    assert len(rows) == len(TARGETS)
    assert rows["working off, jobs/s", "taskiq-redis"]["met"] is True
    assert rows["publishing, jobs/s", "taskiq-redis"]["met"] is False
    assert rows["acknowledging, p50 at one connection", "bare uvicorn"]["met"] is True
    assert rows["whole turns, instant models", ""]["reached"] == 120.0
    assert rows["working off, jobs/s", "arq"] == {
        "part": "queue",
        "what": "working off, jobs/s",
        "against": "arq",
        "target": "at least 5 times",
        "reached": None,
        "met": None,
    }


@pytest.mark.parametrize(("errors", "met"), [(11.3, True), (11.4, False), (12.2, False)])
def test_a_faster_side_that_hears_worse_misses_the_target(errors: float, met: bool) -> None:
    report = {
        "ratios": {
            "clips/s against transcribe, a worker a core": 9.0,
            "clips/s against transcribe (target 1.5 or more)": 1.6,
            "clips/s with short windows against transcribe (target 3 or more)": 3.5,
        },
        "word_error_rate_percent, clips": {
            "recado": 11.0,
            "recado, short windows": errors,
            "transcribe": 12.0,
        },
    }
    rows = {row["what"]: row for row in compare({"speech": report})}
    full = rows["speech, CPU, mixed clips, full window"]
    assert (full["reached"], full["met"]) == (1.6, True)
    short = rows["speech, CPU, mixed clips, short windows"]
    assert (short["reached"], short["met"]) == (3.5, met)
    assert rows["speech, CPU, notes as recorded, full window"]["reached"] is None


@pytest.mark.parametrize(
    "start",
    [
        lambda: run_chat(
            conversations=1, rounds=1, model="demo", max_tokens=1, against=("vllm",), plot=None
        ),
        lambda: run_speech(
            clips=4,
            rounds=1,
            model="demo",
            engine="auto",
            against=("vllm",),
            short_windows=(),
            plot=None,
        ),
    ],
)
def test_an_unknown_peer_of_the_models_is_refused_before_anything_loads(
    start: Callable[[], object],
) -> None:
    with pytest.raises(RecadoError, match="unknown peer vllm: there are"):
        start()


def test_every_quick_size_is_an_option_of_its_command() -> None:
    names = {command.callback.__name__ for command in app.registered_commands if command.callback}
    assert set(QUICK) < names
    assert {target.part for target in TARGETS} <= set(QUICK)


def part(code: str, *, limit_s: float = 30.0) -> dict[str, Any]:
    return run_part([sys.executable, "-c", textwrap.dedent(code)], limit_s=limit_s)


def test_a_part_is_its_report_or_its_last_line() -> None:
    told = part("print('[info] a {line}'); print('{\"ratios\": {}}')")
    assert told["report"] == {"ratios": {}}
    assert "error" not in told
    told = part("raise SystemExit('recado: no free port')")
    assert told["error"] == "recado: no free port"
    assert "report" not in told


def test_a_part_with_problems_keeps_its_report() -> None:
    told = part('print(\'{"problems": ["not down again"]}\'); raise SystemExit(1)')
    assert told["error"] == "not down again"
    assert told["report"] == {"problems": ["not down again"]}


def test_a_part_that_takes_too_long_may_clean_up(tmp_path: Path) -> None:
    done = tmp_path / "cleaned"
    told = part(
        f"""
        import pathlib, signal, sys, time
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        try:
            time.sleep(60)
        finally:
            pathlib.Path({str(done)!r}).touch()
        """,
        limit_s=5.0,
    )
    assert told["error"] == "not done within 5 s"
    assert done.exists()


def test_quick_parts_share_less_than_five_minutes() -> None:
    assert QUICK_TOTAL_S < 300
    assert part_limit_s(QUICK_TOTAL_S) == QUICK_LIMIT_S
    assert part_limit_s(50.0) == 50.0
    assert part_limit_s(1.0) == part_limit_s(-30.0) == 0.0


def test_stores_of_the_environment_are_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECADO_REDIS_URL", "redis://production")
    monkeypatch.setenv("RECADO_DATABASE_URL", "postgresql://production")
    with own_environment({"RECADO_PUBLIC_URL": "https://bench.example"}) as env:
        assert env.redis_url is None
        assert env.database_url is None
        assert env.public_url == "https://bench.example"
        assert env.data_dir.is_dir()
    assert os.environ["RECADO_REDIS_URL"] == "redis://production"
    assert not env.data_dir.exists()
