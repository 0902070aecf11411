"""What Serve's own schema says of the shipped configurations, and that their parts meet."""

import pytest
import yaml
from ray.serve.config import AutoscalingConfig
from ray.serve.schema import ServeDeploySchema

from serve_app.settings import PROJECT_ROOT, AppSettings


def test_serve_and_our_settings_accept_it_and_its_parts_meet():
    config = yaml.safe_load((PROJECT_ROOT / "config.vllm.yaml").read_text())
    deploy = ServeDeploySchema.model_validate(config)
    llm, recado = deploy.applications
    assert [llm.import_path, recado.import_path] == [
        "ray.serve.llm:build_openai_app",
        "serve_app.app:build",
    ]
    settings = AppSettings.model_validate(recado.args)
    port = config["http_options"]["port"]
    assert settings.chat.engine == "openai"
    assert settings.chat.base_url == f"http://127.0.0.1:{port}{llm.route_prefix}/v1"
    [model] = llm.args["llm_configs"]
    assert settings.chat.model == model["model_loading_config"]["model_id"]
    assert settings.conversation.max_prompt_tokens < model["engine_kwargs"]["max_model_len"]
    ours = yaml.safe_load((PROJECT_ROOT / "config.yaml").read_text())["applications"][0]
    names = [deployment["name"] for deployment in ours["deployments"]]
    assert [deployment.name for deployment in recado.deployments] == names


@pytest.mark.parametrize("name", ["config.yaml", "config.vllm.yaml"])
def test_serve_scales_on_figures_of_the_last_seconds(name: str):
    config = ServeDeploySchema.model_validate(yaml.safe_load((PROJECT_ROOT / name).read_text()))
    recado = config.applications[-1]
    scaled = [
        AutoscalingConfig.model_validate(deployment.autoscaling_config)
        for deployment in recado.deployments
        if isinstance(deployment.autoscaling_config, dict)
    ]
    assert len(scaled) >= 3
    for each in scaled:
        assert each.metrics_interval_s + each.look_back_period_s + each.upscale_delay_s <= 10
        assert each.downscale_delay_s >= 60
