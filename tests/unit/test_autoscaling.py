"""How many workers the backlog asks for, by Serve's own context."""

from __future__ import annotations

import pytest
import yaml
from ray.serve._private.common import DeploymentID, ReplicaID
from ray.serve.config import AutoscalingConfig, AutoscalingContext

from deployments.autoscaling import BacklogPolicy
from serve_app.settings import PROJECT_ROOT

WORKER = DeploymentID(name="Worker", app_name="recado")


def context(*recorded: float, target: int = 1) -> AutoscalingContext:
    replicas = [ReplicaID(f"r{number}", WORKER) for number in range(len(recorded))]
    return AutoscalingContext(
        deployment_id=WORKER,
        deployment_name="Worker",
        app_name="recado",
        current_num_replicas=len(recorded),
        target_num_replicas=target,
        running_replicas=replicas,
        total_num_requests=0.0,
        total_queued_requests=0.0,
        aggregated_metrics=(
            {"backlog": dict(zip(replicas, recorded, strict=True))} if recorded else {}
        ),
        raw_metrics={},
        capacity_adjusted_min_replicas=1,
        capacity_adjusted_max_replicas=8,
        policy_state={},
        last_scale_up_time=None,
        last_scale_down_time=None,
        current_time=0.0,
        config=AutoscalingConfig(min_replicas=1, max_replicas=8),
    )


@pytest.mark.parametrize(
    ("recorded", "wanted"),
    [
        ((0.0,), 1),
        ((16.0,), 1),
        ((16.1,), 2),
        ((160.0,), 10),
        # Each replica saw the same queue, a moment apart.
        ((30.0, 50.0, 40.0), 4),
    ],
)
def test_replicas_follow_the_longest_backlog_that_one_of_them_saw(
    recorded: tuple[float, ...], wanted: int
) -> None:
    assert BacklogPolicy(turns_per_replica=16)(context(*recorded)) == (wanted, {})


def test_without_a_figure_the_number_stays_but_is_never_zero() -> None:
    policy = BacklogPolicy()
    assert policy(context(target=3)) == (3, {})
    assert policy(context(target=0)) == (1, {})


@pytest.mark.parametrize("turns", [0, -1])
def test_a_policy_without_turns_is_refused(turns: float) -> None:
    with pytest.raises(ValueError, match="turns_per_replica must be above 0"):
        BacklogPolicy(turns_per_replica=turns)


def test_the_shipped_configuration_names_it() -> None:
    application = yaml.safe_load((PROJECT_ROOT / "config.yaml").read_text())["applications"][0]
    [worker] = [each for each in application["deployments"] if each["name"] == "Worker"]
    policy = AutoscalingConfig.model_validate(worker["autoscaling_config"]).policy
    assert policy.policy_function == "deployments.autoscaling:BacklogPolicy"
    assert BacklogPolicy(**policy.policy_kwargs)(context(100.0))[0] > 1
