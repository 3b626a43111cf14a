"""Checks of the way to the services: clock, names, certificates, proxies, endpoints."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import urlsplit

from agent.deployment.spec import BundleType, S3Revision
from agent.doctor.finding import Finding, Result, SkipError, failed, passed, warned
from agent.doctor.subject import NETWORK_TIMEOUT, Answer, Subject
from agent.errors import AgentError, BundleError
from agent.history.read import group_names
from agent.network.errors import NetworkError, NetworkReason
from agent.network.proxies import is_exempt
from agent.network.tls import make_context
from agent.service.replies import LARGEST_SKEW
from agent.store.history import read_history
from agent.store.layout import Layout

UNUSUAL_SKEW = 30.0
"""Seconds by which a clock that a time service keeps right is never wrong; an answer takes a few of them."""

SLOW = 2.0  # seconds

_SETTINGS = "Check deploy_control_endpoint, proxy_uri and ca_bundle."


def clock(subject: Subject) -> Finding:
    """Compare this host's clock with the service's."""
    ahead = _answered(subject).ahead
    if ahead is None:
        raise SkipError("The service's answer has no date.")
    if abs(ahead) < UNUSUAL_SKEW:
        return passed(f"The clock agrees with the service's within {max(abs(ahead), 1):.0f} s.")
    text = f"The clock is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the service's."
    remedy = "Set the clock, and keep it right with chrony or systemd-timesyncd."
    if abs(ahead) < LARGEST_SKEW:
        return warned(text, f"{remedy} At {LARGEST_SKEW} s the service refuses every request.")
    return failed(f"{text} The service refuses such requests.", remedy)


def dns(subject: Subject) -> Finding:
    """Look up each name that the agent itself must resolve; behind a proxy that is the proxy's."""
    hosts: dict[str, list[str]] = {}
    for url in (subject.known_endpoint.url, subject.s3_url):
        proxy = subject.proxy_of(url)
        host = urlsplit(proxy.url if proxy else url).hostname or ""
        hosts[host] = subject.resolve(host)
    return passed("; ".join(f"{host} is {', '.join(found[:2])}" for host, found in hosts.items()) + ".")


def tls(subject: Subject) -> Finding:
    """Verify the certificate of the service, with the certificates that the agent trusts."""
    trusted = _trusted(subject)
    make_context(subject.settings.ca_bundle, subject.environment)  # whose file may be missing
    url = subject.known_endpoint.url
    if not url.startswith("https:"):
        return passed(f"The endpoint {url} is plain http on this host: there is no certificate.")
    try:
        subject.ask(url)
    except NetworkError as error:
        if error.reason is not NetworkReason.TLS:
            raise SkipError("The service was not reached: see the checks dns, proxy and endpoint.") from error
        return failed(
            f"{error.message} Trusted are {trusted}.",
            f"{error.remedy} The setting ca_bundle names a PEM file for the agent alone.",
        )
    return passed(f"The certificate of {urlsplit(url).netloc} is valid by {trusted}.")


def _trusted(subject: Subject) -> str:
    if subject.settings.ca_bundle:
        return f"the issuers in ca_bundle ({subject.settings.ca_bundle})"
    named = next((name for name in ("AWS_CA_BUNDLE", "SSL_CERT_FILE") if subject.environment.get(name)), "")
    return f"the issuers in {named} ({subject.environment[named]})" if named else "the system's issuers"


def proxy(subject: Subject) -> Finding:
    """See which proxy leads to the service, and whether it lets the agent through."""
    url = subject.known_endpoint.url
    found = subject.proxy_of(url)
    whose = "this shell's environment" if subject.environment is os.environ else "the agent's environment"
    if found is None:
        text = f"The agent reaches {urlsplit(url).netloc} without a proxy"
        return _judge_exemption(subject, url, text) or passed(f"{text} (by proxy_uri and {whose}).")
    origin = "proxy_uri" if subject.settings.proxy_uri else whose
    try:
        subject.ask(url)
    except NetworkError as error:
        at_proxy = error.reason is NetworkReason.PROXY or (urlsplit(found.url).hostname or found.url) in error.message
        if error.reason is NetworkReason.TLS or not at_proxy:
            raise SkipError(f"Whether {found.place} lets the agent through is not known: {error.message}") from error
        return failed(f"{error.message} The proxy is from {origin}.", f"{error.remedy} Or correct {origin}.")
    return passed(f"{found.place} (from {origin}) leads to the service.")


def _judge_exemption(subject: Subject, url: str, text: str) -> Finding | None:
    """Return what is wrong where NO_PROXY takes the service out of a proxy that it is not reached without."""
    environment = subject.environment
    no_proxy = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    named = subject.settings.proxy_uri or environment.get("https_proxy") or environment.get("HTTPS_PROXY")
    parts = urlsplit(url)
    if not named or not is_exempt(parts.hostname or "", parts.port or 443, no_proxy):
        return None
    try:
        subject.ask(url)
    except NetworkError as error:
        remedy = "Take the host out of NO_PROXY, or open the direct way."
        return failed(f"{text}, because NO_PROXY names it, and does not get there. {error.message}", remedy)
    return None


def endpoint(subject: Subject) -> Finding:
    """Reach the command service, and see how long its answer takes."""
    url = subject.endpoint.url
    try:
        answer = subject.ask(url)
    except NetworkError as error:
        return failed(f"{url} is not reached. {error.message}", f"{error.remedy} {_SETTINGS}")
    return _judge(answer, "the service")


def _judge(answer: Answer, whose: str) -> Finding:
    if 300 <= answer.status < 400 and whose == "the service":
        return failed(
            f"{answer.url} redirects (status {answer.status}): another server answers in the place of {whose}.",
            f"Look for a proxy or a portal on the way. {_SETTINGS}",
        )
    if answer.status >= 500:
        return warned(
            f"{answer.url} answers with status {answer.status}.", f"Wait, or look at the health of {whose} there."
        )
    text = f"{answer.url} answers in {answer.seconds * 1000:.0f} ms."
    if answer.seconds > SLOW:
        return warned(text, "Look for a slow proxy or link: downloads and reports are slow too.")
    return passed(text)


def s3(subject: Subject) -> Finding:
    """Reach S3 in this host's region, and ask for the head of the bundle that was deployed last from there."""
    url = subject.s3_url
    try:
        answer = subject.ask(url)
    except NetworkError as error:
        remedy = "Open the way to S3 (a gateway endpoint of the VPC, the proxy), or set s3_endpoint_override."
        return failed(f"S3 is not reached. {error.message}", f"{error.remedy} {remedy}")
    reached = _judge(answer, "S3")
    bundle = _last_bundle(subject.layout)
    if reached.result is not Result.PASS or bundle is None:
        return reached
    return _judge_bundle(subject, bundle, reached.text)


def _last_bundle(layout: Layout) -> S3Revision | None:
    """Return the revision of the newest deployment from S3 that this host remembers."""
    found = _last_revision(layout, "s3")
    bucket, key, version = (str(found.get(name) or "") for name in ("bucket", "key", "version"))
    return S3Revision(bucket, key, BundleType.TAR, version or None) if found else None


def _last_revision(layout: Layout, kind: str) -> dict[str, Any]:
    """Return what the newest deployment of this kind says of its revision; nothing where there is none."""
    found = [
        (os.stat(path).st_mtime, deployment)
        for group in group_names(layout)
        for deployment in _entries(os.path.join(layout.root_dir, group))
        if os.path.isfile(path := layout.history(deployment))
    ]
    for _, deployment in sorted(found, reverse=True):
        for line in read_history(layout, deployment)[:1]:
            revision = line.get("revision")
            if isinstance(revision, dict) and revision.get("kind") == kind:
                return revision
    return {}


def _entries(directory: str) -> list[str]:
    with os.scandir(directory) as entries:
        return [entry.path for entry in entries]


def _judge_bundle(subject: Subject, revision: S3Revision, reached: str) -> Finding:
    from agent.bundle.s3 import S3Object  # brings the SDK
    from agent.runtime.remote import fetch_options

    settings = subject.settings
    try:
        keys, region = subject.credentials.current(), subject.known_identity.region
    except (AgentError, SkipError):
        return passed(f"{reached} Without credentials no bundle can be asked for: see the check credentials.")
    options = fetch_options(settings, subject.http, credentials=lambda: keys, region=region)
    source = S3Object(revision, options._replace(stall=NETWORK_TIMEOUT))
    try:
        source.head("")
    except BundleError as error:
        if ": 404" in error.message:
            return passed(f"{reached} {source.name}, which was deployed last from there, is no longer there.")
        text = f"The bundle that was deployed last from S3 cannot be read. {error.message}"
        return failed(text, error.remedy or "See the log of the last DownloadBundle.")
    return passed(f"{reached} This host may read {source.name}, which was deployed last from there.")


def github(subject: Subject) -> Finding:
    """Reach GitHub, as deployments from there do."""
    url = subject.github_url
    try:
        answer = subject.ask(url)
    except NetworkError as error:
        if subject.settings.github_endpoint_override:
            return failed(f"{url} is not reached. {error.message}", "Correct github_endpoint_override.")
        if _last_revision(subject.layout, "github"):
            text = f"Deployments came from GitHub, and {url} is not reached. {error.message}"
            return failed(text, f"{error.remedy} Allow it in the proxy or the firewall.")
        raise SkipError(f"GitHub cannot be reached; no deployment here came from it. {error.message}") from error
    if answer.status in (403, 429):
        return warned(f"{url} refuses more requests for now (status {answer.status}).", "Deploy with a GitHub token.")
    return _judge(answer, "GitHub")


def _answered(subject: Subject) -> Answer:
    try:
        return subject.ask(subject.known_endpoint.url)
    except AgentError as error:
        raise SkipError("The service was not reached: see the check endpoint.") from error
