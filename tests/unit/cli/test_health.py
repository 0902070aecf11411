"""What `recado status` makes of what it sees."""

from __future__ import annotations

import pytest

from models.jobs import Backlog
from serve_app.cli.health import Health, judge
from serve_app.cli.serve_api import parse_deployments

DOCUMENT = {
    "applications": {
        "recado": {
            "deployments": {
                "Worker": {
                    "status": "HEALTHY",
                    "message": "",
                    "target_num_replicas": 2,
                    "replicas": [{"state": "RUNNING"}, {"state": "STARTING"}],
                }
            }
        }
    }
}


def queue(**changes: object) -> Backlog:
    fields = {"queue": "inbound", "waiting": 0, "in_flight": 0, "delayed": 0, "dead": 0}
    return Backlog.model_validate({**fields, **changes})


def test_deployments_are_counted_by_state() -> None:
    (worker,) = parse_deployments(DOCUMENT)
    assert (worker.name, worker.running, worker.target) == ("Worker", 1, 2)


def test_nothing_to_say_when_all_is_well() -> None:
    health = Health(ready=True, parts={"redis": "ok"}, queues=[queue(waiting=3)])
    assert judge(health) == []
    assert health.healthy


def test_what_waits_for_a_person_does_not_make_it_unhealthy() -> None:
    health = Health(ready=True, queues=[queue(dead=2)], replies={"parked": 1}, spool=4)
    problems = judge(health)
    assert [problem.action for problem in problems] == [
        "recado dead list --queue inbound",
        "recado replies list --parked",
        "they are published by themselves once Redis is back",
    ]
    assert health.model_copy(update={"problems": problems}).healthy


def test_replies_that_wait_for_a_person_are_named_each_kind_with_its_command() -> None:
    health = Health(ready=True, replies={"parked": 1, "failed": 2, "unknown": 3, "pending": 9})
    problems = judge(health)
    assert [problem.action for problem in problems] == [
        "recado replies list --parked",
        "recado replies list --failed",
        "recado replies list --doubtful",
    ]
    assert not any(problem.serious for problem in problems)


@pytest.mark.parametrize(
    ("sent", "failed", "serious"), [(10, 9, False), (4, 6, True), (0, 4, False), (0, 5, True)]
)
def test_sends_that_fail_more_often_than_not_make_it_unhealthy(
    sent: int, failed: int, serious: bool
) -> None:
    health = Health(ready=True, sent=sent, failed=failed)
    problems = judge(health)
    assert [problem.serious for problem in problems] == [True] * serious
    assert all("recado doctor" in problem.action for problem in problems)


def test_where_it_does_not_answer_the_address_is_named() -> None:
    (problem,) = judge(Health(ready=False), url="https://bot.example.com", logs="its logs")
    assert problem.what == "the service doesn't answer at https://bot.example.com"
    assert "its logs" in problem.action


def test_the_serious_come_first_and_make_it_unhealthy() -> None:
    parts = {"redis": "redis can't be reached", "postgres": "ok"}
    health = Health(ready=False, parts=parts, queues=[queue(dead=1, oldest_waiting_s=90.0)])
    problems = judge(health)
    assert [problem.serious for problem in problems] == [True, True, False]
    assert "outages.md" in problems[0].action
    assert not health.healthy


def test_a_service_that_does_not_answer() -> None:
    (problem,) = judge(Health(ready=False))
    assert "doesn't answer" in problem.what
