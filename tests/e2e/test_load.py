"""`recado load` against the running product: everything is answered, and Ray's figures say the same."""

from __future__ import annotations

import json

import pytest

from tests.e2e.product import Product

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420)]


def test_a_run_is_answered_and_agrees_with_rays_metrics(product: Product) -> None:
    done = product.recado(
        *("load", "--rate", "6", "--seconds", "6", "--voice", "0.25", "--burst", "1.5"),
        *("--owners", "3", "--curve", "wave", "--json", "--config", str(product.config)),
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["answered"] == report["sent"] == report["accepted"] > 5
    assert (report["unanswered"], report["errors"]) == (0, {})
    assert 0 < report["acknowledging"]["p50"] <= report["acknowledging"]["p99"]
    assert report["reply"]["count"] > 0
    stages = {row["stage"]: row for row in report["stages"]}
    for name in ("queued", "record", "resolve", "transcribe", "answer"):
        assert stages[name]["stored"]["count"] == stages[name]["ray_count"] > 0, name
        assert stages[name]["ray_p95"] > 0
    assert stages["send"]["ray_count"] == report["replies"]
    for each in report["agreement"]:
        assert each["run"] == each["ray"] > 0, report["agreement"]
    names = {"Ingress", "Worker", "Sender", "Transcriber", "ChatModel"}
    assert names <= report["replicas"][-1]["running"].keys()
    assert min(report["replicas"][-1]["running"].values()) >= 1


def test_no_rate_that_holds_is_said_and_told_by_the_exit_status(product: Product) -> None:
    done = product.recado(
        *("load", "--find-max", "--rate", "0.2", "--seconds", "1", "--p95", "0.01", "--json"),
        *("--owners", "1", "--drain", "20", "--config", str(product.config)),
    )
    assert done.returncode == 1, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["highest_rate"] is None
    assert [step["rate"] for step in found["steps"]] == [0.2]


def test_without_a_product_it_says_what_to_do(product: Product) -> None:
    empty = str(product.data_dir.parent / "nothing-here")
    done = product.recado("load", "--data-dir", empty)
    assert done.returncode == 1
    assert "./recado up" in done.stderr
