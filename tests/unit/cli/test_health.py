"""What `recado status` makes of what it sees."""

from __future__ import annotations

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
