"""Checks of what the agent was told: its configuration, its identity and its credentials."""

from __future__ import annotations

import re
import time
from urllib.parse import urlsplit

from agent.doctor.finding import Finding, SkipError, failed, passed, warned
from agent.doctor.subject import LARGEST_ANSWER, NETWORK_TIMEOUT, Subject
from agent.errors import AgentError
from agent.identity.errors import CredentialsError, IdentityError, MetadataError
from agent.identity.identity import ignored_variables
from agent.identity.times import shown_time
from agent.network.credentials import Credentials
from agent.network.errors import NetworkError
from agent.network.partitions import DOMAINS

SHORT_LIFE = 300.0
"""Seconds before their end at which the agent itself renews credentials: fewer mean that this has failed."""

_STS_BODY = b"Action=GetCallerIdentity&Version=2011-06-15"


def configuration(subject: Subject) -> Finding:
    """Read the configuration file."""
    loaded = subject.loaded
    if loaded.warnings:
        return warned(" ".join(map(str, loaded.warnings)), "Correct these lines; codedeploy-agent settings lists all.")
    if not loaded.files:
        return passed("No configuration file: the defaults apply.")
    return passed(f"{' and '.join(loaded.files)} {'have' if loaded.files[1:] else 'has'} no mistake.")


def identity(subject: Subject) -> Finding:
    """Find out who this host is, and whether two sources claim to say it."""
    try:
        found = subject.identity
    except MetadataError as error:
        remedy = f"On EC2, switch instance metadata on; elsewhere use codedeploy-agent register. {error.remedy}"
        return failed(f"This host has no on-premises file, and {_lowered(error.message)}", remedy)
    text = f"{found.host_identifier} in {found.region}, from {found.source}."
    if found.kind in ("iam-user", "iam-session") and (instance := _instance_of(subject)):
        return warned(
            f"{text} This host is also the EC2 instance {instance}; the on-premises file comes first.",
            f"Keep one: remove {subject.settings.on_premises_config_file} to be the instance.",
        )
    return passed(text)


def _instance_of(subject: Subject) -> str:
    try:
        return subject.metadata.document().instance_id
    except IdentityError:
        return ""


def on_premises_file(subject: Subject) -> Finding:
    """Look at the on-premises file itself."""
    path = subject.settings.on_premises_config_file
    found = subject.on_premises
    if found.warnings:
        return warned(" ".join(map(str, found.warnings)), f"Correct {path}, and keep it 0600 and root's.")
    if found.on_premises is None:
        return passed(f"There is none at {path}; on EC2 none is needed.")
    return passed(f"{path} names {found.on_premises.arn}.")


def credentials(subject: Subject) -> Finding:
    """Get credentials as the agent does, and see how long they last."""
    source = subject.credentials
    try:
        found = source.current()
    except CredentialsError as error:
        remedy = error.remedy or "Attach a role to the instance, or register the host."
        return failed(error.message, remedy)
    text = f"The credentials come from {source.source}"
    if found.expires_at is None:
        text += " and do not expire."
    elif found.expires_at - time.time() < SHORT_LIFE:
        return warned(f"{text} and expire at {shown_time(found.expires_at)}.", "Check what renews them.")
    else:
        text += f" and expire at {shown_time(found.expires_at)}."
    ignored = ignored_variables(subject.environment)
    if ignored:
        return warned(
            f"{text} The agent does not use {', '.join(ignored)} of the environment.",
            "Unset these variables; the agent takes a role or the on-premises file.",
        )
    return passed(text)


def credentials_accepted(subject: Subject) -> Finding:
    """Ask AWS whose credentials these are: STS GetCallerIdentity, which needs no permission."""
    try:
        keys = subject.credentials.current()
    except AgentError as error:
        raise SkipError("There are no credentials: see the check credentials.") from error
    url = _sts_url(subject)
    try:
        status, body = _call_sts(subject, url, keys)
    except NetworkError as error:
        raise SkipError(f"STS cannot be asked, which the agent does not need: {error.message}") from error
    if status == 200:
        arn = re.search(r"<Arn>([^<]+)</Arn>", body)
        return passed(f"AWS accepts them as {arn[1] if arn else 'valid'}.")
    code = re.search(r"<Code>([^<]+)</Code>", body)
    name = code[1] if code else f"status {status}"
    if status >= 500:
        raise SkipError(f"STS at {urlsplit(url).hostname} answers {name}.")
    return failed(f"AWS refuses the credentials from {subject.credentials.source}: {name}.", _remedy_for(name))


def _sts_url(subject: Subject) -> str:
    environment = subject.environment
    named = environment.get("AWS_ENDPOINT_URL_STS") or environment.get("AWS_ENDPOINT_URL")
    if named:
        return named
    identity = subject.known_identity
    control = urlsplit(subject.settings.deploy_control_endpoint or "").hostname
    if control and not control.endswith(tuple(DOMAINS)):
        raise SkipError("deploy_control_endpoint is not a service of AWS. Name its STS in AWS_ENDPOINT_URL_STS.")
    from agent.network.partitions import domain_of

    return f"https://sts.{identity.region}.{identity.domain or domain_of(identity.region)}"


def _call_sts(subject: Subject, url: str, keys: Credentials) -> tuple[int, str]:
    from agent.network.signing import sign  # brings botocore

    url = f"{url.rstrip('/')}/"
    headers = sign(
        "POST",
        url,
        headers={"Content-Type": "application/x-www-form-urlencoded"},
        body=_STS_BODY,
        credentials=keys,
        service="sts",
        region=subject.known_identity.region,
    )
    with subject.http.request(
        "POST", url, headers=headers, body=_STS_BODY, connect_timeout=NETWORK_TIMEOUT, read_timeout=NETWORK_TIMEOUT
    ) as response:
        return response.status, response.read(LARGEST_ANSWER).decode("utf-8", "replace")


def _remedy_for(code: str) -> str:
    if "Expired" in code:
        return "Check what renews the session: the instance's role, or the program that writes the credentials file."
    if "Skew" in code or "RequestExpired" in code:
        return "Set the clock: see the check clock."
    return "Register the host again, or make a new access key for its user; check the clock too."


def signer(subject: Subject) -> Finding:
    """See whether a pinned signer can be checked."""
    path, fingerprints = subject.settings.deployment_signer_ca_file, subject.settings.deployment_signer_fingerprints
    if path is None:
        pins = f"{len(fingerprints)} fingerprints are pinned." if fingerprints else "No signer is pinned."
        return passed(pins)
    try:
        with open(path, "rb") as file:
            known = b"-----BEGIN CERTIFICATE-----" in file.read(1 << 20)
    except PermissionError:
        raise  # which says nothing of what the agent may read
    except OSError as error:
        return failed(
            f"deployment_signer_ca_file {path} cannot be read: {error.strerror}; every deployment is refused.",
            "Put the PEM file there, or remove the setting.",
        )
    if not known:
        return failed(f"deployment_signer_ca_file {path} holds no certificate in PEM form.", "Put one there.")
    return passed(f"The signer's certificate must lead to {path}.")


def _lowered(text: str) -> str:
    return text[:1].lower() + text[1:]
