"""The shipped alert rules and the dashboard, by Prometheus' own tool."""

from __future__ import annotations

import copy
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard as GrafanaDashboard

from serve_app.ops.instruments import ALL
from serve_app.settings import PROJECT_ROOT
from tests.fixtures.prometheus import ALERTS

OPS = PROJECT_ROOT / "ops"
DASHBOARD: dict[str, Any] = json.loads((OPS / "grafana" / "recado.json").read_text())
EXPORTED = {
    f"ray_{each.name}{suffix}": each
    for each in ALL
    for suffix in (("_bucket", "_sum", "_count") if each.kind == "histogram" else ("",))
}


def promtool(binaries: Path, *args: str | Path) -> str:
    done = subprocess.run(
        [binaries / "promtool", *args], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def expressions() -> list[str]:
    shown = [t["expr"] for panel in DASHBOARD["panels"] for t in panel.get("targets", ())]
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    return shown + [rule["expr"] for group in groups for rule in group["rules"]]


def test_the_rules_and_the_configuration_are_accepted(prometheus_bin: Path) -> None:
    assert "10 rules found" in promtool(prometheus_bin, "check", "rules", ALERTS)
    promtool(prometheus_bin, "check", "config", OPS / "prometheus" / "prometheus.yaml")


def test_each_trouble_raises_its_alert_and_nothing_else_does(prometheus_bin: Path) -> None:
    promtool(prometheus_bin, "test", "rules", OPS / "prometheus" / "alerts_test.yaml")


def test_every_metric_and_label_that_is_asked_for_exists() -> None:
    seen: set[str] = set()
    for expression in expressions():
        for name, matchers in re.findall(r"\b(ray_recado_\w+)(\{[^}]*\})?", expression):
            assert name in EXPORTED, f"{name} in {expression}"
            seen.add(EXPORTED[name].name)
            for label, value in re.findall(r'(\w+)!?=~?"([^"]*)"', matchers):
                known = EXPORTED[name].labels[label]
                assert set(value.split("|")) <= set(known), f"{label}={value} in {expression}"
    unused = {each.name for each in ALL} - seen
    assert unused == {"recado_model_requests_total", "recado_model_failures_total"}


def test_grafana_knows_all_that_the_dashboard_says() -> None:
    """Read with Grafana's own types and written again: what they don't know would be gone."""
    assert lost(DASHBOARD, as_grafana_reads(DASHBOARD)) == []
    misspelt = copy.deepcopy(DASHBOARD)
    options = misspelt["panels"][1]["options"]
    options["colourMode"] = options.pop("colorMode")
    assert lost(misspelt, as_grafana_reads(misspelt)) == ["/panels/1/options/colourMode"]


def as_grafana_reads(document: dict[str, Any]) -> dict[str, Any]:
    register_default_plugins()
    read = GrafanaDashboard.from_json(copy.deepcopy(document))
    return json.loads(json.dumps(read, cls=JSONEncoder))


def lost(before: object, after: object, path: str = "") -> list[str]:
    """Where `after` lacks or changes what `before` has."""
    if isinstance(before, dict) and isinstance(after, dict):
        return [
            each
            for name, value in before.items()
            for each in lost(value, after.get(name), f"{path}/{name}")
        ]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        return [
            each
            for number, (old, new) in enumerate(zip(before, after, strict=True))
            for each in lost(old, new, f"{path}/{number}")
        ]
    return [] if before == after else [path]


def test_panels_stand_beside_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24, panel["title"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


def test_every_alert_says_what_to_do() -> None:
    for group in yaml.safe_load(ALERTS.read_text())["groups"]:
        for rule in group["rules"]:
            assert rule["annotations"].keys() == {"summary", "action"}, rule["alert"]
            assert rule["labels"]["severity"] in {"warning", "critical"}
