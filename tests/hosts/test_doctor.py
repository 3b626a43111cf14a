"""The doctor on a host that boots: well when nothing is wrong, and right about a service that is not as installed."""

from __future__ import annotations

import json

from agent_hosts import DROP_INS, Fleet
from booted_host import BootedHost
from host_lab import NEEDED

pytestmark = NEEDED

UNIT = "/etc/systemd/system/codedeploy-agent.service"


def examine(host: BootedHost) -> dict[str, tuple[str, str, str]]:
    """What each check of the doctor finds: result, finding, remedy."""
    found = json.loads(host.run("codedeploy-agent doctor --json", check=False).stdout)
    return {row["name"]: (row["result"], row["finding"], row["remedy"]) for row in found["checks"]}


def test_the_doctor_finds_a_service_that_is_stopped_edited_or_masked(fleet: Fleet) -> None:
    host = fleet.join(disk="3g")
    found = examine(host)
    complaints = {name: row for name, row in found.items() if row[0] in ("warn", "fail")}
    assert complaints == {}
    for name in ("unit-active", "unit-edited", "watchdog", "endpoint", "tls", "polling", "second-agent"):
        assert found[name][0] == "pass", found[name]

    host.run("systemctl stop codedeploy-agent")
    result, text, remedy = examine(host)["unit-active"]
    assert (result, "inactive" in text, "systemctl start codedeploy-agent" in remedy) == ("fail", True, True)

    host.put(f"{DROP_INS}/override.conf", "[Service]\nWatchdogSec=0\n")
    result, text, remedy = examine(host)["unit-edited"]
    assert (result, "daemon-reload" in remedy) == ("warn", True), text
    host.run("systemctl daemon-reload && systemctl disable --quiet codedeploy-agent")
    found = examine(host)
    assert f"{DROP_INS}/override.conf" in found["unit-edited"][1]
    assert found["watchdog"][0] == found["unit-enabled"][0] == "warn"

    host.run(f"rm {DROP_INS}/override.conf && echo '# mine' >>{UNIT} && systemctl daemon-reload")
    assert f"{UNIT} was edited" in examine(host)["unit-edited"][1]

    host.run(f"mv {UNIT} /root && ln -s /dev/null {UNIT} && systemctl daemon-reload")
    found = examine(host)
    assert found["unit-masked"][0] == found["unit-active"][0] == "fail"
    assert "systemctl unmask" in found["unit-masked"][2]
    assert found["unit-enabled"][0] == "skip"
