"""The Grafana dashboard asks for metrics that Ray and the endpoint export."""

import json
import re

from app.loggers import ray_metrics
from serve.http.metrics import Metrics
from tests.support import ROOT
from tests.support.tiny_model import TinyModel


def test_every_metric_that_it_draws_is_exported() -> None:
    dashboard = json.loads((ROOT / "docs/grafana/tuneport.json").read_text())
    asked = set(re.findall(r"\b(?:ray_)?tuneport_\w+", json.dumps(dashboard)))
    metrics = Metrics()
    metrics.add_routes(["/predict"])
    metrics.start_request()
    metrics.finish_request("/predict", 200, 0.01)
    text = metrics.encode(TinyModel.random().manifest()).decode()
    exported = set(re.findall(r"^(tuneport_\w+)", text, re.MULTILINE))
    exported |= {f"ray_{name}" for name in ray_metrics.NAMES}
    assert asked - exported == set()
    variables = {variable["name"] for variable in dashboard["templating"]["list"]}
    used = set(re.findall(r"\$\{?([a-z]\w*)", json.dumps(dashboard)))
    assert used == variables
    assert {f"ray_{name}" for name in ray_metrics.NAMES} <= asked
