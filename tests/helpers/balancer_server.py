"""Elastic Load Balancing over the wire: moto, with a layer over it that gives targets real states and delays.

moto knows target groups and load balancers and checks every call; whether a target is initial, healthy or draining, and
since when, is the layer's. Calls can be made to fail before or after their effect.
"""

from __future__ import annotations

import functools
import io
import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from socketserver import ThreadingMixIn
from typing import Any
from urllib.parse import parse_qs
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

REGION = "eu-central-1"
KEYS = {"aws_access_key_id": "AKIAEXAMPLE", "aws_secret_access_key": "secret"}

ELBV2 = "http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/"
CLASSIC = "http://elasticloadbalancing.amazonaws.com/doc/2012-06-01/"

_NUMBERS = itertools.count(1)
"""moto keeps what was made for as long as the process lives, so each name is given once."""

Parameters = dict[str, str]
Fault = Callable[[str, Parameters], "tuple[int, str] | None"]
"""Gets the action and its parameters; gives an HTTP status and an error code to answer with, or None."""

LOST = (0, "")
"""What a fault gives to break the connection off without an answer."""

GARBLED = (502, "")
"""What a fault gives to answer with a line for people, as gateways do."""

EVERY = "*"
"""In place of an action: a fault around every call that has none of its own."""


class Balancers:
    """What all balancers know; ``before`` and ``after`` are faults around a call's effect, by action.

    ``clock`` gives the seconds by which targets drain for ``drain`` seconds and warm up for ``warm_up``.
    """

    def __init__(self) -> None:
        self.before: dict[str, Fault] = {}
        self.after: dict[str, Fault] = {}
        self.calls: list[tuple[str, Parameters]] = []
        self.drain = 0.1
        self.warm_up = 0.1
        self.sick: set[str] = set()
        self.clock: Callable[[], float] = time.monotonic
        self.url = ""
        self._targets: dict[str, dict[str, tuple[str, float]]] = {}
        self._lock = threading.Lock()
        self._moto = _moto_app()
        self._clients: dict[str, Any] = {}

    def client(self, service: str = "elbv2") -> Any:
        """A client of the AWS SDK for these balancers."""
        if service not in self._clients:
            made = _session().client(service, region_name=REGION, endpoint_url=self.url, **KEYS)
            self._clients[service] = made
        return self._clients[service]

    def target_group(self, *targets: str, **settings: Any) -> tuple[str, str]:
        """Make a target group with healthy targets (``ID:PORT``); gives its name and its ARN."""
        name = f"web-{next(_NUMBERS)}"
        client = self.client()
        made = client.create_target_group(
            Name=name, Protocol="HTTP", Port=80, VpcId=_network(), TargetType="ip", **settings
        )
        arn = made["TargetGroups"][0]["TargetGroupArn"]
        rows = [target.split(":") for target in targets]
        if rows:
            known = [{"Id": address, "Port": int(port)} for address, port in rows]
            client.register_targets(TargetGroupArn=arn, Targets=known)
        self.finalize(arn)
        return name, arn

    def classic(self, *instances: str) -> str:
        """Make a classic load balancer with instances in service; gives its name."""
        name = f"classic-{next(_NUMBERS)}"
        client = self.client("elb")
        listeners = [{"Protocol": "HTTP", "LoadBalancerPort": 80, "InstancePort": 80}]
        client.create_load_balancer(LoadBalancerName=name, Listeners=listeners, AvailabilityZones=[REGION + "a"])
        rows = [{"InstanceId": instance} for instance in instances]
        client.register_instances_with_load_balancer(LoadBalancerName=name, Instances=rows)
        self.finalize(name)
        return name

    def finalize(self, place: str) -> None:
        """Have every target of a place healthy at once."""
        with self._lock:
            self._targets[place] = dict.fromkeys(self._targets.get(place, {}), ("healthy", 0.0))

    def states(self, place: str) -> dict[str, str]:
        """The state of every target of a group (by ARN) or classic load balancer (by name)."""
        with self._lock:
            self._pass_time(place)
            return {target: state for target, (state, _) in self._targets.get(place, {}).items()}

    def count(self, action: str) -> int:
        """How often an action was called."""
        return sum(name == action for name, _ in self.calls)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        parameters = {key: values[0] for key, values in parse_qs(body.decode()).items()}
        action = parameters.get("Action", "")
        self.calls.append((action, parameters))
        found = self._fault(self.before, action, parameters)
        if found is None:
            answer = self._answer(action, parameters, environ)
            found = self._fault(self.after, action, parameters)
            if found is None:
                start_response(answer[0], answer[1])
                return [answer[2]]
        if found == LOST:
            environ["connection"].shutdown(socket.SHUT_RDWR)
            found = (500, "InternalFailure")  # which reaches nobody
        start_response(f"{found[0]} Fault", [("Content-Type", "text/xml")])
        return [b"Bad gateway" if found == GARBLED else _error(found[1]).encode()]

    @staticmethod
    def _fault(faults: dict[str, Fault], action: str, parameters: Parameters) -> tuple[int, str] | None:
        fault = faults.get(action) or faults.get(EVERY)
        return fault(action, parameters) if fault is not None else None

    def _answer(self, action: str, parameters: Parameters, environ: dict[str, Any]) -> tuple[str, Any, bytes]:
        status, headers, data = _through(self._moto, environ)
        if action == "DeregisterTargets" and b"InvalidTarget" in data:
            # moto forgets all ports of an address at once; AWS takes a target that is not registered with a shrug.
            status, data = "200 OK", _result(action, "", ELBV2).encode()
        if not status.startswith("2"):
            return status, headers, data
        with self._lock:
            place = parameters.get("TargetGroupArn") or parameters.get("LoadBalancerName", "")
            self._pass_time(place)
            if action in ("RegisterTargets", "RegisterInstancesWithLoadBalancer"):
                for target in _targets(parameters):
                    if self._targets.setdefault(place, {}).get(target, ("draining", 0))[0] == "draining":
                        self._targets[place][target] = ("initial", self.clock() + self.warm_up)
            elif action in ("DeregisterTargets", "DeregisterInstancesFromLoadBalancer"):
                for target in _targets(parameters):
                    if self._targets.get(place, {}).get(target, ("draining", 0))[0] != "draining":
                        self._targets[place][target] = ("draining", self.clock() + self.drain)
            elif action == "DescribeTargetHealth":
                data = self._target_health(place, _targets(parameters)).encode()
            elif action == "DescribeInstanceHealth":
                data = self._instance_health(place, _targets(parameters)).encode()
            else:
                return status, headers, data
        return status, [("Content-Type", "text/xml")], data

    def _pass_time(self, place: str) -> None:
        now, kept = self.clock(), {}
        for target, (state, until) in self._targets.get(place, {}).items():
            if state == "draining" and now >= until:
                continue
            if state == "initial" and now >= until:
                state = "unhealthy" if target.split(":")[0] in self.sick else "healthy"
            kept[target] = (state, until)
        self._targets[place] = kept

    def _target_health(self, place: str, desired: list[str]) -> str:
        known = self._targets.get(place, {})
        rows = []
        for target in desired or known:
            state = known.get(target, ("unused", 0.0))[0]
            address, port = target.split(":")
            reason = "<Reason>Target.NotRegistered</Reason>" if state == "unused" else ""
            rows.append(
                f"<member><Target><Id>{address}</Id><Port>{port}</Port></Target>"
                f"<TargetHealth><State>{state}</State>{reason}</TargetHealth></member>"
            )
        inner = f"<TargetHealthDescriptions>{''.join(rows)}</TargetHealthDescriptions>"
        return _result("DescribeTargetHealth", inner, ELBV2)

    def _instance_health(self, place: str, desired: list[str]) -> str:
        known = self._targets.get(place, {})
        rows = []
        for target in desired or known:
            state = known.get(target, ("gone", 0.0))[0]
            shown = "InService" if state in ("healthy", "draining") else "OutOfService"
            words = {"draining": "Instance deregistration currently in progress.", "gone": "Not registered"}
            rows.append(
                f"<member><InstanceId>{target}</InstanceId><State>{shown}</State>"
                f"<Description>{words.get(state, 'N/A')}</Description></member>"
            )
        inner = f"<InstanceStates>{''.join(rows)}</InstanceStates>"
        return _result("DescribeInstanceHealth", inner, CLASSIC)


def _targets(parameters: Parameters) -> list[str]:
    found = []
    for number in range(1, 100):
        address = parameters.get(f"Targets.member.{number}.Id")
        instance = parameters.get(f"Instances.member.{number}.InstanceId")
        if address:
            found.append(f"{address}:{parameters.get(f'Targets.member.{number}.Port', '80')}")
        elif instance:
            found.append(instance)
        else:
            break
    return found


def _result(action: str, inner: str, namespace: str) -> str:
    metadata = "<ResponseMetadata><RequestId>1</RequestId></ResponseMetadata>"
    return (
        f'<{action}Response xmlns="{namespace}"><{action}Result>{inner}</{action}Result>{metadata}</{action}Response>'
    )


def _error(code: str) -> str:
    error = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>a fault</Message></Error>"
    return f"<ErrorResponse>{error}</ErrorResponse>"


def _through(app: Any, environ: dict[str, Any]) -> tuple[str, Any, bytes]:
    """Call a WSGI application and keep its answer."""
    caught: list[Any] = []

    def start_response(status: str, headers: Any, *_: object) -> None:
        caught[:] = [status, headers]

    data = b"".join(app(environ, start_response))
    return caught[0], caught[1], data


@functools.cache
def _moto_app() -> Any:
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

    return DomainDispatcherApplication(create_backend_app)


@functools.cache
def _session() -> Any:
    """One for all clients, as it reads the description of a service once."""
    import boto3

    return boto3.session.Session()


@functools.cache
def _network() -> str:
    """The VPC that moto has in every account; asked without EC2's long description."""
    from moto.backends import get_backend
    from moto.core import DEFAULT_ACCOUNT_ID

    (found,) = get_backend("ec2")[DEFAULT_ACCOUNT_ID][REGION].describe_vpcs()
    return str(found.id)


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        return  # a client that was killed


class _Handler(WSGIRequestHandler):
    def get_environ(self) -> dict[str, Any]:
        return {**super().get_environ(), "connection": self.connection}

    def log_message(self, *_: object) -> None:
        return


@contextmanager
def running_balancers() -> Iterator[Balancers]:
    """Balancers on a free port of loopback."""
    balancers = Balancers()
    server = make_server("127.0.0.1", 0, balancers, server_class=_Server, handler_class=_Handler)
    balancers.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield balancers
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
