import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from agent.config.settings import Settings
from agent.daemon.metrics import GAUGES, PREFIX, Metrics
from agent.store.commands import SavedOutcome

MONITORING = Path(__file__).parents[2] / "docs/monitoring"


def samples(path: Path) -> dict[str, float]:
    found = {}
    for family in text_string_to_metric_families(path.read_text()):
        for sample in family.samples:
            labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
            found[f"{sample.name.removeprefix(PREFIX + '_')}{{{labels}}}"] = sample.value
    return found


def test_what_happened_is_counted_and_can_be_parsed(tmp_path):
    path = tmp_path / "agent.prom"
    metrics = Metrics(str(path), version="1.2.3")
    metrics.polled("empty")
    metrics.polled("empty")
    metrics.command_ended(SavedOutcome("Succeeded", "", 0.0, event="Install", seconds=2.0))
    metrics.command_ended(SavedOutcome("Failed", "", 0.0, event="ValidateService", ends_deployment=True))
    metrics.write({"problem": 1, "credentials_expiry_timestamp_seconds": None})
    found = samples(path)
    assert found["polls_total{result=empty}"] == 2
    assert found["lifecycle_events_total{event=Install,status=Succeeded}"] == 1
    assert found["lifecycle_event_duration_seconds_bucket{event=Install,le=1.0}"] == 0
    assert found["lifecycle_event_duration_seconds_bucket{event=Install,le=5.0}"] == 1
    assert found["deployments_total{status=Failed}"] == 1
    assert (found["info{version=1.2.3}"], found["problem{}"]) == (1, 1)
    assert not any(name.startswith("credentials") for name in found), "what is not known is not shown as a number"
    assert path.stat().st_mode & 0o777 == 0o644, "node_exporter is another account"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_written_is_warned_of_once_and_written_later(tmp_path, caplog):
    path = tmp_path / "later" / "agent.prom"
    settings = Settings(**{name: str(tmp_path) for name in ("root_dir", "log_dir", "pid_dir")})
    metrics = Metrics(str(path), version="1")
    for _ in range(2):
        metrics.due = 0.0
        metrics.write_if_due(settings)
    assert caplog.text.count("metrics_file") == 1
    path.parent.mkdir()
    metrics.write_if_due(settings)
    assert not path.exists(), "it is written every so often"
    metrics.due = 0.0
    metrics.write_if_due(settings)
    found = samples(path)
    assert (found["problem{}"], found["paused{}"], found["root_dir_size_bytes{}"] > 0) == (0, 0, True)


def test_an_account_that_owns_the_directory_cannot_lead_the_agent_elsewhere(tmp_path):
    (tmp_path / "precious").write_text("root's")
    names = [f"agent.prom.{os.getpid()}.{threading.current_thread().ident}", ".agent.prom.new~"]
    for name in names:
        (tmp_path / name).symlink_to(tmp_path / "precious")
    metrics = Metrics(str(tmp_path / "agent.prom"), version="1")
    metrics.write({"problem": 0})
    assert samples(tmp_path / "agent.prom")["problem{}"] == 0
    assert (tmp_path / "precious").read_text() == "root's"


def test_an_agent_without_metrics_does_not_load_their_library():
    code = "import sys, agent.daemon.supervisor, agent.daemon.metrics as m; c = m.Metrics(None, version='1');"
    code += "c.polled('empty'); c.write_if_due(None); sys.exit('prometheus_client' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_dashboard_and_alerts_name_only_what_is_written(tmp_path):
    metrics = Metrics(str(tmp_path / "all.prom"), version="1")
    metrics.polled("empty")
    metrics.command_ended(SavedOutcome("Succeeded", "", 0.0, event="Install", seconds=2.0, ends_deployment=True))
    metrics.write(dict.fromkeys(GAUGES, 1))
    written = {name.partition("{")[0] for name in samples(tmp_path / "all.prom")}
    rules = yaml.safe_load((MONITORING / "alerts.yml").read_text())
    dashboard = json.loads((MONITORING / "dashboard.json").read_text())
    texts = [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    texts += [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    named = {name for text in texts for name in re.findall(rf"{PREFIX}_(\w+)", text)}
    assert named <= written
    documented = re.findall(rf"^\| `{PREFIX}_(\w+)`", (MONITORING / "README.md").read_text(), re.MULTILINE)
    assert set(documented) == {re.sub("_(bucket|count|sum)$", "", name) for name in written}


@pytest.mark.long
@pytest.mark.needs_tool("promtool")
def test_prometheus_takes_the_rules_and_the_metrics(tmp_path):
    subprocess.run(["promtool", "check", "rules", str(MONITORING / "alerts.yml")], check=True)
    metrics = Metrics(str(tmp_path / "all.prom"), version="1")
    metrics.polled("empty")
    metrics.write(dict.fromkeys(GAUGES, 1))
    with (tmp_path / "all.prom").open() as file:
        subprocess.run(["promtool", "check", "metrics"], stdin=file, check=True)
