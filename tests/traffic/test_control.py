from __future__ import annotations

import re
import socket

import psutil
import pytest

from agent.traffic.control import Recovery, judge
from agent.traffic.errors import LastHealthyError, NeverHealthyError, TrafficError
from agent.traffic.policy import Policy
from agent.traffic.provider import Member, Step
from agent.traffic.record import Phase, TrafficRecord
from balancer_server import GARBLED, LOST
from guards import unavailable_unless

ME, OTHER = "10.0.0.1:80", "10.0.0.2:80"
D1 = {"deployment_id": "d-1", "group_id": "g"}
D2 = {"deployment_id": "d-2", "group_id": "g"}


def throttled(times):
    left = [times]

    def fault(action, parameters):
        left[0] -= 1
        return (400, "Throttling") if left[0] >= 0 else None

    return fault


def refused(*arns):
    return lambda action, parameters: (403, "AccessDenied") if parameters["TargetGroupArn"] in arns else None


def test_a_host_leaves_is_drained_comes_back_and_is_waited_for(bench):
    name, arn = bench.balancers.target_group(ME, OTHER)
    control = bench.control(bench.elbv2(name))
    control.take_out(**D1)
    assert bench.balancers.states(arn) == {OTHER: "healthy"}
    assert bench.record.phase is Phase.OUT
    control.put_back()
    assert bench.balancers.states(arn) == {ME: "healthy", OTHER: "healthy"}
    assert bench.record.phase is Phase.FINALIZED
    assert bench.record.seconds_out >= 60
    assert any(re.fullmatch(r"Back in service after \d+\.\d s\.", text) for text in bench.told)


def test_the_very_port_that_was_taken_out_is_put_back(bench):
    name, arn = bench.balancers.target_group("10.0.0.1:8081", "10.0.0.1:8082", OTHER)
    control = bench.control(bench.elbv2(name))
    control.take_out(**D1)
    assert bench.balancers.states(arn) == {OTHER: "healthy"}
    control.put_back()
    assert set(bench.balancers.states(arn)) == {"10.0.0.1:8081", "10.0.0.1:8082", OTHER}


def test_all_target_groups_that_hold_this_host_are_found(bench):
    _, first = bench.balancers.target_group(ME, OTHER)
    _, second = bench.balancers.target_group(ME, OTHER)
    _, strange = bench.balancers.target_group(OTHER)
    bench.control(bench.elbv2(target_groups="all"), minimum_healthy=1).take_out(**D1)
    assert [set(bench.balancers.states(arn)) for arn in (first, second, strange)] == [{OTHER}] * 3


def test_a_classic_balancer_is_left_and_joined_again(bench):
    me, other = "i-0123456789abcdef0", "i-0123456789abcdef1"
    name = bench.balancers.classic(me, other)
    control = bench.control(bench.elb(name, instance=me))
    control.take_out(**D1)
    assert bench.balancers.states(name) == {other: "healthy"}
    control.put_back()
    assert bench.balancers.states(name) == {me: "healthy", other: "healthy"}


def test_a_host_that_was_out_before_stays_out_and_says_so(bench):
    name, arn = bench.balancers.target_group(OTHER)
    control = bench.control(bench.elbv2(name))
    control.take_out(**D1)
    control.put_back()
    assert bench.balancers.states(arn) == {OTHER: "healthy"}
    assert bench.balancers.count("RegisterTargets") == 1
    assert any("stays so" in text for text in bench.told)
    assert any("as it was before" in text for text in bench.told)
    assert bench.record.phase is Phase.FINALIZED


def test_the_last_healthy_host_is_not_taken_out(bench):
    name, arn = bench.balancers.target_group(ME)
    with pytest.raises(LastHealthyError, match="minimum_healthy is 1"):
        bench.control(bench.elbv2(name)).take_out(**D1)
    assert bench.balancers.states(arn) == {ME: "healthy"}
    assert bench.balancers.count("DeregisterTargets") == 0


def test_the_last_healthy_host_is_taken_out_when_told_to(bench):
    name, arn = bench.balancers.target_group(ME)
    bench.control(bench.elbv2(name), minimum_healthy=0).take_out(**D1)
    assert bench.balancers.states(arn) == {}


def test_a_host_that_is_not_healthy_itself_may_go_although_nobody_else_is_there(bench):
    name, arn = bench.balancers.target_group()
    bench.balancers.sick.add("10.0.0.1")
    bench.balancers.client().register_targets(TargetGroupArn=arn, Targets=[{"Id": "10.0.0.1", "Port": 80}])
    bench.time.sleep(60)
    assert bench.balancers.states(arn) == {ME: "unhealthy"}
    bench.control(bench.elbv2(name)).take_out(**D1)
    assert bench.balancers.states(arn) == {}


def test_two_hosts_that_leave_at_once_do_not_leave_nobody(bench):
    name, arn = bench.balancers.target_group(ME, OTHER)

    def other_leaves(action, parameters):
        bench.balancers.after.clear()
        target = [{"Id": "10.0.0.2", "Port": 80}]
        bench.balancers.client().deregister_targets(TargetGroupArn=arn, Targets=target)

    bench.balancers.after["DeregisterTargets"] = other_leaves
    with pytest.raises(LastHealthyError, match="It is back in service everywhere"):
        bench.control(bench.elbv2(name)).take_out(**D1)
    assert ME in bench.balancers.states(arn)
    assert bench.balancers.states(arn)[ME] != "draining"
    assert bench.record.phase is Phase.FINALIZED


def test_throttling_is_waited_out(bench):
    name, arn = bench.balancers.target_group(ME, OTHER)
    for action in ("DeregisterTargets", "RegisterTargets", "DescribeTargetHealth"):
        bench.balancers.before[action] = throttled(4)
    control = bench.control(bench.elbv2(name))
    control.take_out(**D1)
    control.put_back()
    assert bench.balancers.states(arn)[ME] == "healthy"


@pytest.mark.parametrize("answer", [(503, "ServiceUnavailable"), LOST, GARBLED], ids=["error", "none", "text"])
def test_a_call_whose_answer_is_lost_after_its_effect_is_made_again(bench, answer):
    name, arn = bench.balancers.target_group(ME, OTHER)
    lost = {"DeregisterTargets": 1, "RegisterTargets": 1}

    def lose(action, parameters):
        lost[action] -= 1
        return answer if lost[action] >= 0 else None

    bench.balancers.after |= dict.fromkeys(lost, lose)
    control = bench.control(bench.elbv2(name))
    control.take_out(**D1)
    assert bench.balancers.states(arn) == {OTHER: "healthy"}
    control.put_back()
    assert bench.balancers.states(arn)[ME] == "healthy"
    assert lost == {"DeregisterTargets": -1, "RegisterTargets": -1}


def test_a_service_that_is_down_ends_within_the_limit_and_nothing_has_changed(bench):
    name, arn = bench.balancers.target_group(ME, OTHER)
    bench.balancers.before["DescribeTargetGroups"] = lambda action, parameters: (503, "ServiceUnavailable")
    begin = bench.time.now()
    with pytest.raises(TrafficError, match="ServiceUnavailable"):
        bench.control(bench.elbv2(name), time_limit_seconds=300).take_out(**D1)
    assert bench.time.now() - begin <= 300
    assert bench.balancers.states(arn)[ME] == "healthy"


def test_of_twenty_balancers_one_that_refuses_undoes_the_others_and_is_named(bench):
    made = [bench.balancers.target_group(ME, OTHER) for _ in range(20)]
    names, arns = zip(*made, strict=True)
    bench.balancers.before["DeregisterTargets"] = refused(arns[12])
    with pytest.raises(TrafficError, match=rf"1 of 20 places: target group {names[12]}, .*AccessDenied") as caught:
        bench.control(bench.elbv2(*names)).take_out(**D1)
    assert "back in service everywhere" in caught.value.message
    bench.time.sleep(60)
    assert {bench.balancers.states(arn)[ME] for arn in arns} == {"healthy"}
    assert bench.record.phase is Phase.FINALIZED


def test_of_twenty_balancers_one_that_does_not_take_the_host_back_is_named_and_finished_later(bench):
    made = [bench.balancers.target_group(ME, OTHER) for _ in range(20)]
    names, arns = zip(*made, strict=True)
    control = bench.control(bench.elbv2(*names))
    control.take_out(**D1)
    bench.balancers.before["RegisterTargets"] = refused(arns[3])
    with pytest.raises(TrafficError, match=rf"1 of 20 places: target group {names[3]},"):
        control.put_back()
    assert bench.record.phase is Phase.ALLOWING
    assert [member.place for member in bench.record.ours] == [f"target group {names[3]}, target {ME}"]
    bench.balancers.before.clear()
    control.recover()
    assert {bench.balancers.states(arn)[ME] for arn in arns} == {"healthy"}
    assert bench.record.phase is Phase.FINALIZED


def test_a_host_that_never_becomes_healthy_is_taken_out_again_with_the_reason(bench):
    name, arn = bench.balancers.target_group(ME, OTHER)
    control = bench.control(bench.elbv2(name))
    control.take_out(**D1)
    bench.balancers.sick.add("10.0.0.1")
    with pytest.raises(NeverHealthyError, match="not found healthy"):
        control.put_back()
    control.failed("ValidateService of d-1 failed")
    bench.time.sleep(60)
    assert bench.balancers.states(arn) == {OTHER: "healthy"}
    assert (bench.record.phase, bench.record.kept) == (Phase.OUT, "ValidateService of d-1 failed")


def test_a_host_that_never_becomes_healthy_stays_in_where_the_policy_says_so(bench):
    name, arn = bench.balancers.target_group(ME, OTHER)
    control = bench.control(bench.elbv2(name), on_failure="put_back")
    control.take_out(**D1)
    bench.balancers.sick.add("10.0.0.1")
    with pytest.raises(NeverHealthyError):
        control.put_back()
    control.failed("ValidateService of d-1 failed")
    assert bench.balancers.states(arn)[ME] == "unhealthy"
    assert bench.record.phase is Phase.FINALIZED


def test_a_target_group_that_is_deleted_meanwhile_holds_nothing_up(bench):
    gone, arn = bench.balancers.target_group(ME, OTHER)
    stays, other = bench.balancers.target_group(ME, OTHER)
    control = bench.control(bench.elbv2(gone, stays))
    control.take_out(**D1)
    bench.balancers.client().delete_target_group(TargetGroupArn=arn)
    bench.balancers.before["RegisterTargets"] = lambda action, parameters: (
        (400, "TargetGroupNotFound") if parameters["TargetGroupArn"] == arn else None
    )
    control.put_back()
    assert bench.balancers.states(other)[ME] == "healthy"
    assert bench.record.phase is Phase.FINALIZED
    assert any("does not exist any more" in text and gone in text for text in bench.told)


def test_a_target_group_that_does_not_exist_stops_the_deployment_before_anything_changes(bench):
    name, arn = bench.balancers.target_group(ME, OTHER)
    with pytest.raises(TrafficError, match="TargetGroupNotFound"):
        bench.control(bench.elbv2(name), bench.elbv2("no-such-group")).take_out(**D1)
    assert bench.balancers.states(arn)[ME] == "healthy"


def test_after_a_failure_the_host_stays_out_and_the_next_deployment_that_succeeds_puts_it_back(bench):
    name, arn = bench.balancers.target_group(ME, OTHER)
    control = bench.control(bench.elbv2(name))
    control.take_out(**D1)
    control.failed("AfterInstall of d-1 failed")
    assert bench.record.kept == "AfterInstall of d-1 failed"
    control.take_out(**D2)
    assert bench.balancers.states(arn) == {OTHER: "healthy"}
    control.put_back()
    assert bench.balancers.states(arn)[ME] == "healthy"
    assert bench.record.phase is Phase.FINALIZED


def test_after_a_failure_the_host_is_put_back_where_the_policy_says_so(bench):
    name, arn = bench.balancers.target_group(ME, OTHER)
    control = bench.control(bench.elbv2(name), on_failure="put_back")
    control.take_out(**D1)
    control.failed("AfterInstall of d-1 failed")
    assert bench.balancers.states(arn)[ME] == "initial"
    assert bench.record.phase is Phase.FINALIZED


def test_an_earlier_failure_is_not_forgotten_where_the_next_deployment_cannot_even_begin(bench):
    name, arn = bench.balancers.target_group(ME, OTHER)
    second, other = bench.balancers.target_group(OTHER)
    control = bench.control(bench.elbv2(name, second))
    control.take_out(**D1)
    control.failed("AfterInstall of d-1 failed")
    # The host has come to be in the second group; that one refuses to let it go.
    client = bench.balancers.client()
    client.register_targets(TargetGroupArn=other, Targets=[{"Id": "10.0.0.1", "Port": 80}])
    bench.time.sleep(60)
    bench.balancers.before["DeregisterTargets"] = refused(other)
    with pytest.raises(TrafficError, match="AccessDenied"):
        control.take_out(**D2)
    assert bench.balancers.states(arn) == {OTHER: "healthy"}
    assert bench.record.kept == "AfterInstall of d-1 failed"
    bench.balancers.before.clear()
    control.recover()
    assert bench.record.phase is Phase.OUT
    bench.time.sleep(60)
    assert bench.balancers.states(other) == {OTHER: "healthy"}


def test_a_balancer_that_has_forgotten_is_told_again_at_the_next_event(bench):
    name, arn = bench.balancers.target_group(ME, OTHER)
    control = bench.control(bench.elbv2(name))
    control.take_out(**D1)
    client = bench.balancers.client()
    client.register_targets(TargetGroupArn=arn, Targets=[{"Id": "10.0.0.1", "Port": 80}])
    control.take_out(**D1)
    bench.time.sleep(60)
    assert bench.balancers.states(arn) == {OTHER: "healthy"}


def test_a_host_that_a_person_took_out_is_left_out_by_deployments(bench):
    name, arn = bench.balancers.target_group(ME, OTHER)
    control = bench.control(bench.elbv2(name))
    control.block_by_hand("taken out by hand: new memory", force=False)
    control.take_out(**D1)
    control.put_back()
    control.failed("whatever")
    assert bench.balancers.states(arn) == {OTHER: "healthy"}
    assert bench.record.kept == "taken out by hand: new memory"
    assert control.allow_by_hand(force=False)
    assert bench.balancers.states(arn)[ME] == "healthy"
    assert not control.allow_by_hand(force=False)


def test_a_person_does_not_put_a_host_back_in_the_middle_of_a_deployment_unless_forced(bench):
    name, arn = bench.balancers.target_group(ME, OTHER)
    control = bench.control(bench.elbv2(name))
    control.take_out(**D1)
    with pytest.raises(TrafficError, match="still going on"):
        control.allow_by_hand(force=False)
    assert control.allow_by_hand(force=True)
    assert bench.balancers.states(arn)[ME] == "healthy"


@pytest.mark.parametrize(("on_failure", "state"), [("stay_out", None), ("put_back", "initial")])
def test_a_deployment_that_goes_quiet_ends_by_the_failure_policy(bench, on_failure, state):
    name, arn = bench.balancers.target_group(ME, OTHER)
    control = bench.control(bench.elbv2(name), on_failure=on_failure)
    control.take_out(**D1)
    control.recover()
    assert (bench.record.phase, bench.record.kept) == (Phase.OUT, "")
    bench.time.sleep(4501)
    control.recover()
    assert bench.balancers.states(arn).get(ME) == state
    if state is None:
        assert "sent nothing for 75 minutes" in bench.record.kept


def test_a_record_that_is_damaged_stops_the_deployment_instead_of_forgetting_the_host(bench):
    name, _ = bench.balancers.target_group(ME, OTHER)
    control = bench.control(bench.elbv2(name))
    control.take_out(**D1)
    (path,) = bench.directory.glob("*.json")
    path.write_bytes(b'{"version": 1, "phase"')
    with pytest.raises(TrafficError, match="cannot be read"):
        control.put_back()


def test_a_balancer_that_cannot_be_asked_while_the_host_is_out_does_not_fail_the_deployment(bench):
    name, _ = bench.balancers.target_group(ME, OTHER)
    control = bench.control(bench.elbv2(name))
    control.take_out(**D1)
    bench.balancers.before["DescribeTargetHealth"] = lambda action, parameters: (503, "ServiceUnavailable")
    control.take_out(**D1)
    assert bench.record.phase is Phase.OUT
    assert any("could not be asked" in text for text in bench.told)


@pytest.mark.parametrize("moment", ["draining", "health checks"])
def test_an_agent_that_is_told_to_stop_leaves_the_host_in_service(bench, moment):
    name, arn = bench.balancers.target_group(ME, OTHER)
    control = bench.control(bench.elbv2(name))
    if moment == "health checks":
        control.take_out(**D1)

    def stopped(seconds):
        raise KeyboardInterrupt

    go_on, bench.time.sleep = bench.time.sleep, stopped
    control = bench.control(bench.elbv2(name))
    with pytest.raises(KeyboardInterrupt):
        control.put_back() if moment == "health checks" else control.take_out(**D1)
    bench.time.sleep = go_on
    bench.control(bench.elbv2(name)).failed("a command was interrupted", interrupted=True)
    assert bench.record.phase is Phase.FINALIZED
    bench.time.sleep(60)
    assert bench.balancers.states(arn)[ME] == "healthy"


def test_a_person_who_leaves_at_the_same_moment_as_another_does_not_leave_nobody(bench):
    name, arn = bench.balancers.target_group(ME, OTHER)

    def other_leaves(action, parameters):
        bench.balancers.after.clear()
        target = [{"Id": "10.0.0.2", "Port": 80}]
        bench.balancers.client().deregister_targets(TargetGroupArn=arn, Targets=target)

    bench.balancers.after["DeregisterTargets"] = other_leaves
    with pytest.raises(LastHealthyError, match="It is back in service everywhere"):
        bench.control(bench.elbv2(name)).block_by_hand("taken out by hand", force=False)
    assert bench.balancers.states(arn)[ME] == "initial"
    assert bench.record.phase is Phase.FINALIZED


def test_a_deployment_does_not_change_a_host_that_a_person_has_put_back_only_in_part(bench):
    made = [bench.balancers.target_group(ME, OTHER) for _ in range(2)]
    names, arns = zip(*made, strict=True)
    control = bench.control(bench.elbv2(*names))
    control.block_by_hand("taken out by hand", force=False)
    bench.balancers.before["RegisterTargets"] = refused(arns[1])
    with pytest.raises(TrafficError, match="1 of 2 places"):
        control.allow_by_hand(force=False)
    assert [ME in bench.balancers.states(arn) for arn in arns] == [True, False]
    bench.balancers.before.clear()
    control.take_out(**D1)
    assert [ME in bench.balancers.states(arn) for arn in arns] == [False, False]
    control.put_back()
    assert [bench.balancers.states(arn)[ME] for arn in arns] == ["healthy", "healthy"]
    assert bench.record.phase is Phase.FINALIZED


def test_a_person_does_not_put_a_host_back_in_the_middle_of_a_deployment_that_follows_a_failed_one(bench):
    name, arn = bench.balancers.target_group(ME, OTHER)
    control = bench.control(bench.elbv2(name))
    control.take_out(**D1)
    control.failed("AfterInstall of d-1 failed")
    control.take_out(**D2)
    with pytest.raises(TrafficError, match=r"Deployment d-2 .* still going on"):
        control.allow_by_hand(force=False)
    assert bench.balancers.states(arn) == {OTHER: "healthy"}


def test_a_person_does_not_put_a_host_back_where_a_deployment_has_ignored_a_failure_and_goes_on(bench):
    name, arn = bench.balancers.target_group(ME, OTHER)
    control = bench.control(bench.elbv2(name))
    control.take_out(**D1)
    control.failed("ApplicationStop of d-1 failed")
    control.take_out(**D1)
    with pytest.raises(TrafficError, match=r"Deployment d-1 .* still going on"):
        control.allow_by_hand(force=False)
    assert bench.balancers.states(arn) == {OTHER: "healthy"}


@pytest.mark.parametrize("answered", ["RegisterTargets", "DescribeTargetGroupAttributes", "DescribeTargetHealth"])
def test_a_target_group_that_is_deleted_during_the_health_checks_does_not_take_the_host_out_of_the_others(
    bench, answered
):
    (gone, arn), (stays, other) = (bench.balancers.target_group(ME, OTHER) for _ in range(2))
    control = bench.control(bench.elbv2(gone, stays))
    control.take_out(**D1)

    def deleted(action, parameters):
        return (400, "TargetGroupNotFound") if parameters["TargetGroupArn"] == arn else None

    def delete(action, parameters):
        for name in ("RegisterTargets", "DescribeTargetHealth", "DescribeTargetGroupAttributes"):
            bench.balancers.before[name] = deleted

    bench.balancers.after[answered] = delete
    control.put_back()
    assert bench.balancers.states(other)[ME] == "healthy"
    assert bench.record.phase is Phase.FINALIZED


def test_a_target_group_that_is_deleted_while_the_host_leaves_holds_nothing_up(bench):
    (gone, arn), (stays, other) = (bench.balancers.target_group(ME, OTHER) for _ in range(2))

    def deleted(action, parameters):
        return (400, "TargetGroupNotFound") if parameters["TargetGroupArn"] == arn else None

    def delete(action, parameters):
        if parameters["TargetGroupArn"] == other:
            for name in ("DescribeTargetHealth", "DescribeTargetGroupAttributes", "RegisterTargets"):
                bench.balancers.before[name] = deleted

    bench.balancers.after["DeregisterTargets"] = delete
    control = bench.control(bench.elbv2(gone, stays))
    control.take_out(**D1)
    assert bench.record.phase is Phase.OUT
    control.put_back()
    assert bench.balancers.states(other)[ME] == "healthy"


def test_a_clock_that_was_set_back_does_not_keep_a_deployment_going_for_ever(bench):
    name, _ = bench.balancers.target_group(ME, OTHER)
    control = bench.control(bench.elbv2(name))
    bench.time.sleep(10_000_000)
    control.take_out(**D1)
    bench.time.sleep(-9_000_000)
    control.recover()
    bench.time.sleep(4501)
    control.recover()
    assert "sent nothing for 75 minutes" in bench.record.kept


def test_a_host_that_no_balancer_holds_is_told_so(bench):
    bench.balancers.target_group(OTHER)
    control = bench.control(bench.elbv2(target_groups="all"))
    control.take_out(**D1)
    assert any("holds this host" in text for text in bench.told)
    control.put_back()
    assert bench.record.phase is Phase.FINALIZED


def test_a_balancer_that_cannot_be_asked_whether_the_host_is_drained_is_named_with_what_came_of_it(bench):
    name, arn = bench.balancers.target_group(ME, OTHER)

    def down(action, parameters):
        bench.balancers.before["DescribeTargetGroupAttributes"] = lambda *_: (403, "AccessDenied")

    bench.balancers.after["DeregisterTargets"] = down
    with pytest.raises(TrafficError, match=r"AccessDenied.*It is back in service everywhere"):
        bench.control(bench.elbv2(name)).take_out(**D1)
    assert bench.balancers.states(arn)[ME] == "initial"
    assert bench.record.phase is Phase.FINALIZED


def test_a_host_that_another_person_has_put_back_after_a_failure_is_reported_as_a_problem(bench):
    name, arn = bench.balancers.target_group(ME, OTHER)
    control = bench.control(bench.elbv2(name))
    control.take_out(**D1)
    control.failed("AfterInstall of d-1 failed")
    control.recover()
    assert bench.record.problem == ""
    client = bench.balancers.client()
    client.register_targets(TargetGroupArn=arn, Targets=[{"Id": "10.0.0.1", "Port": 80}])
    control.recover()
    assert "sends this host traffic again" in bench.record.problem
    assert name in bench.record.problem
    assert bench.balancers.states(arn)[ME] == "initial"  # who did that is left their way
    client.deregister_targets(TargetGroupArn=arn, Targets=[{"Id": "10.0.0.1", "Port": 80}])
    control.recover()
    assert bench.record.problem == ""


def test_among_all_target_groups_no_host_of_another_network_is_taken_out_for_its_address(bench):
    rows = [row for rows in psutil.net_if_addrs().values() for row in rows if row.family == socket.AF_INET]
    mine = next((row.address for row in rows if not row.address.startswith("127.")), None)
    unavailable_unless([] if mine else ["needs an address besides loopback's"])
    name, arn = bench.balancers.target_group(f"{mine}:80", OTHER)
    with pytest.raises(TrafficError, match=f"Target group {name} holds {mine}.*target_ids"):
        bench.control(bench.elbv2(target_groups="all", target_ids=None)).take_out(**D1)
    assert bench.balancers.count("DeregisterTargets") == 0
    bench.control(bench.elbv2(name, target_ids=None)).take_out(**D1)
    assert bench.balancers.states(arn) == {OTHER: "healthy"}


def test_a_host_that_does_not_come_back_everywhere_stays_where_nobody_else_is_left(bench):
    (_, alone), (_, refusing), (_, shared) = (bench.balancers.target_group(ME, OTHER) for _ in range(3))
    names = [arn.split("/")[1] for arn in (alone, refusing, shared)]
    control = bench.control(bench.elbv2(*names))
    control.take_out(**D1)
    client = bench.balancers.client()
    client.deregister_targets(TargetGroupArn=alone, Targets=[{"Id": "10.0.0.2", "Port": 80}])
    bench.balancers.before["RegisterTargets"] = refused(refusing)
    with pytest.raises(TrafficError, match="1 of 3 places"):
        control.put_back()
    bench.time.sleep(60)
    control.failed("ValidateService of d-1 failed")
    bench.time.sleep(60)
    assert [bench.balancers.states(arn).get(ME) for arn in (alone, refusing, shared)] == ["healthy", None, None]
    assert bench.record.phase is Phase.OUT
    assert [member.place.split()[2].strip(",") for member in bench.record.ours] == names[1:]
    # The next deployment that succeeds puts it back.
    bench.balancers.before.clear()
    with pytest.raises(LastHealthyError):
        control.take_out(**D2)
    client.register_targets(TargetGroupArn=alone, Targets=[{"Id": "10.0.0.2", "Port": 80}])
    bench.time.sleep(60)
    control.take_out(**D2)
    control.put_back()
    assert [bench.balancers.states(arn)[ME] for arn in (alone, refusing, shared)] == ["healthy"] * 3


POLICY = Policy([])
NOW = 10_000.0


def record(phase, *, step=Step.TAKEN, **fields):
    member = Member({}, "a place", {}, "healthy", step)
    return TrafficRecord("Web", POLICY, phase, members=(member,), **{"touched": NOW, **fields})


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (record(Phase.FINALIZED), Recovery.NOTHING),
        (record(Phase.BLOCKING, step=Step.PLANNED), Recovery.UNDO),
        (record(Phase.BLOCKING), Recovery.UNDO),
        (record(Phase.BLOCKING, kept="d-1 failed"), Recovery.TAKE_OUT),
        (record(Phase.OUT), Recovery.NOTHING),
        (record(Phase.OUT, kept="d-1 failed", touched=0.0), Recovery.NOTHING),
        (record(Phase.OUT, kept="by hand", by_hand=True, touched=0.0), Recovery.NOTHING),
        (record(Phase.OUT, touched=NOW - 4500), Recovery.NOTHING),
        (record(Phase.OUT, touched=NOW - 4501), Recovery.ABANDONED),
        (record(Phase.OUT, touched=NOW + 100), Recovery.NOTHING),
        (record(Phase.OUT, step=Step.PLANNED, kept="never healthy"), Recovery.TAKE_OUT),
        (record(Phase.ALLOWING), Recovery.FINISH),
        (record(Phase.ALLOWING, step=Step.BACK), Recovery.FINISH),
    ],
)
def test_a_record_alone_says_what_is_to_be_done_after_a_crash(found, verdict):
    assert judge(found, now=NOW) is verdict
