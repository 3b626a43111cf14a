"""Register this host as an on-premises instance, and deregister it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import NamedTuple

from agent.filesystem.durable import remove_if_there, write_durably
from agent.filesystem.reasons import remedy_for
from agent.fleet.api import Api, ApiError, ApiOptions
from agent.fleet.checks import Tag, check_instance_name, check_session_arn, check_user_arn, instance_of
from agent.fleet.errors import RegistrationError, RegistrationUsageError
from agent.fleet.on_premises_file import Existing, Registration, check_place, read_existing, write

Tell = Callable[[str], None]


class RegisterOptions(NamedTuple):
    """Who the host is to be: one of a user that is made, a user that exists with its key, or a session."""

    instance_name: str
    path: str
    api: ApiOptions
    tags: Sequence[Tag] = ()
    create_user: bool = False
    user_arn: str | None = None
    access_key: str | None = None
    secret_key: str | None = None
    session_arn: str | None = None
    credentials_file: str | None = None
    buckets: Sequence[str] = ()
    force: bool = False

    def __repr__(self) -> str:
        """Leave the secret key out."""
        return f"RegisterOptions({self.instance_name!r}, {self.path!r})"


class DeregisterOptions(NamedTuple):
    """Which instance to take out; without a name the one that the file names."""

    path: str
    api: ApiOptions
    instance_name: str | None = None
    keep_user: bool = False
    keep_file: bool = False


def register(options: RegisterOptions, *, tell: Tell) -> None:
    """Make the IAM user if asked to, register, tag and write the file; or, on an error, undo what was done.

    The same registration again adds tags; the file with its key stays. Raises RegistrationError.
    """
    name = check_instance_name(options.instance_name)
    _check_identity(options)
    check_place(options.path)
    api = Api(options.api)
    registered = api.instance(name)
    replaced = _refuse_another(options, registered)
    with ExitStack() as undo:
        new = None
        if registered is None or not options.create_user:
            new = _identity(options, api, undo, tell)
        if new is not None and registered is None:
            # Before the call, whose answer may be lost.
            undo.callback(_undo, tell, f"the registration of {name}", _withdraw(api, new.arn), name)
            api.register(name, new.arn, session=new.credentials_file is not None)
            tell(f"Registered {name} as {new.arn}.")
        if options.tags:
            api.add_tags(name, options.tags)
            tell(f"Tagged {name} with {', '.join(f'{tag.key}={tag.value}' for tag in options.tags)}.")
        if new is not None:
            undo.callback(_put_back, tell, options.path, _content(options.path))
            write(options.path, new)
        undo.pop_all()
    if replaced is not None:
        tell(
            f"{replaced.arn} stays registered, and its key valid: codedeploy-agent deregister --keep-file"
            f" --instance-name {replaced.instance_name or '...'} takes it out."
        )
    tell(f"Wrote {options.path}." if new is not None else f"{name} was registered already, and {options.path} stays.")


def _check_identity(options: RegisterOptions) -> None:
    if options.session_arn is not None:
        check_session_arn(options.session_arn)
        if not options.credentials_file or not os.path.isabs(options.credentials_file):
            raise RegistrationUsageError(
                "A session needs --credentials-file with an absolute path.",
                remedy="It names the file in which you keep the session's credentials fresh.",
            )
    elif options.user_arn is not None:
        check_user_arn(options.user_arn)
        if not options.access_key or not options.secret_key:
            raise RegistrationUsageError(
                "An existing IAM user needs its access key.",
                remedy="Give --access-key-id, and the secret on standard input; or --create-iam-user.",
            )
    elif not options.create_user:
        raise RegistrationUsageError(
            "It is not said who this host is to be.",
            remedy="Give --create-iam-user, --iam-user-arn or --iam-session-arn.",
        )


def _refuse_another(options: RegisterOptions, registered: dict[str, object] | None) -> Existing | None:
    """Leave the registrations of others alone: on this host by the file, in the service by the name.

    Gives the registration of this host that will be replaced, as --force asks for; None where there is none.
    """
    desired = options.session_arn or options.user_arn
    existing = read_existing(options.path)
    same = existing is not None and existing.instance_name == options.instance_name and desired in (None, existing.arn)
    other = existing if existing is not None and existing.arn not in (None, desired) and not same else None
    if other is not None and not options.force:
        raise RegistrationError(
            f"{options.path} registers this host as {other.arn} already.",
            remedy="Deregister it first, or replace it with --force.",
        )
    if registered is not None:
        arn = registered.get("iamSessionArn") or registered.get("iamUserArn")
        if desired is not None and arn != desired:
            raise RegistrationError(
                f"The name {options.instance_name} is registered for {arn} already.",
                remedy="Choose another name, or deregister that one first.",
            )
        if desired is None and (existing is None or existing.arn != arn):
            raise RegistrationError(
                f"The name {options.instance_name} is registered for {arn}, whose key is not known here.",
                remedy="Choose another name, deregister that one first, or give --iam-user-arn and its key.",
            )
    return other


def _identity(options: RegisterOptions, api: Api, undo: ExitStack, tell: Tell) -> Registration:
    name, region = options.instance_name, api.region
    if options.session_arn is not None:
        return Registration(name, region, options.session_arn, credentials_file=options.credentials_file)
    if options.user_arn is not None:
        return Registration(name, region, options.user_arn, options.access_key, options.secret_key)
    remedy = f"If an earlier try has left the IAM user {name} and nobody uses it, remove it; or choose another name."
    if api.has_user(name):
        raise RegistrationError(f"There is an IAM user {name} already.", remedy=remedy)
    # Before the call, whose answer may be lost: that nobody else has the name was asked above.
    undo.callback(_undo, tell, f"the IAM user {name}", api.delete_user, name)
    try:
        arn = api.create_user(name)
    except ApiError as error:
        if error.service_code == "EntityAlreadyExists":
            undo.pop_all()  # made since we asked, and nobody can tell by whom
        raise RegistrationError(error.message, remedy=remedy) from error
    tell(f"Made the IAM user {arn}.")
    api.allow_reading(name, options.buckets, partition=arn.split(":")[1])
    return Registration(name, region, arn, *api.create_key(name))


def _undo(tell: Tell, what: str, call: Callable[[str], None], name: str) -> None:
    """Undo one thing; the error that led here must not be hidden by another one."""
    try:
        call(name)
    except ApiError as error:
        tell(f"{what[0].upper()}{what[1:]} may be left, remove it yourself: {error.message}")


def _withdraw(api: Api, arn: str) -> Callable[[str], None]:
    """What deregisters a name, unless somebody else has registered it meanwhile."""

    def withdraw(name: str) -> None:
        found = api.instance(name)
        if found is not None and arn in (found.get("iamUserArn"), found.get("iamSessionArn")):
            api.deregister(name)

    return withdraw


def _content(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


def _put_back(tell: Tell, path: str, before: bytes | None) -> None:
    """Give a file that may have been written the content that it had."""
    try:
        if before is None:
            remove_if_there(path)
        elif _content(path) != before:
            write_durably(path, before, mode=0o600)
    except OSError as error:
        reason = f"{error.strerror}. {remedy_for(error)}".rstrip()
        tell(f"{path} could not be put back as it was, and names keys that are no longer valid: {reason}")


def deregister(options: DeregisterOptions, *, tell: Tell) -> None:
    """Remove an instance's tags and registration, the IAM user that registering made, and this host's file.

    Only a user below the path /AWS/CodeDeploy/ that bears the instance's name is removed. Running it again is no
    error. Raises RegistrationError.
    """
    existing = read_existing(options.path)
    name = options.instance_name or (existing.instance_name if existing else None)
    if name is None:
        raise RegistrationUsageError(
            f"{options.path} does not say under which name this host is registered.", remedy="Give --instance-name."
        )
    api = Api(options.api)
    found = api.instance(check_instance_name(name))
    arn = existing.arn if existing and existing.instance_name == name else None
    if found is None:
        tell(f"{name} is not registered.")
    else:
        arn = str(found.get("iamSessionArn") or found.get("iamUserArn"))
    # The user goes first: as long as the instance is registered, a run that was interrupted can be repeated.
    if arn and instance_of(arn) == name and not options.keep_user:
        api.delete_user(name)
        tell(f"Removed the IAM user {arn}.")
    if found is not None:
        tags = [Tag(tag.get("Key", ""), tag.get("Value", "")) for tag in found.get("tags") or ()]
        if tags:
            api.remove_tags(name, tags)
        api.deregister(name)
        tell(f"Deregistered {name}.")
    if not options.keep_file and existing is not None and existing.arn == arn and remove_if_there(options.path):
        tell(f"Removed {options.path}.")
