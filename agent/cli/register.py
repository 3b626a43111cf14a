"""``codedeploy-agent register``: make this host an on-premises instance."""

from __future__ import annotations

import argparse
import sys

from agent.cli.option_types import region
from agent.cli.output import Writer
from agent.errors import UsageError

_FILE = "/etc/codedeploy-agent/conf/codedeploy.onpremises.yml"
_EPILOG = """\
AWS is asked with your own credentials, found as the AWS command line finds them; only what the host needs is written
to its file. The secret access key of --iam-user-arn is read from standard input, never from the command line. Exit
status: 0 registered, 1 not, 64 the command line is wrong; nothing is left behind then.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.epilog = _EPILOG
    parser.add_argument("--instance-name", metavar="NAME", required=True, help="name of the host in CodeDeploy")
    parser.add_argument(
        "--tag", "--tags", dest="tags", metavar="KEY=VALUE", nargs="+", action="extend", default=[], help="tags for it"
    )
    who = parser.add_mutually_exclusive_group(required=True)
    who.add_argument("--create-iam-user", action="store_true", help="make an IAM user with the host's name for it")
    who.add_argument("--iam-user-arn", metavar="ARN", help="use this IAM user, with --access-key-id")
    who.add_argument("--iam-session-arn", metavar="ARN", help="use this session, with --credentials-file")
    parser.add_argument("--access-key-id", metavar="ID", help="access key of --iam-user-arn")
    parser.add_argument("--credentials-file", metavar="PATH", help="file that holds the session's credentials")
    parser.add_argument(
        "--bucket", metavar="NAME", action="append", default=[], help="let a new IAM user read this bucket only"
    )
    add_common(parser)
    parser.add_argument("--force", action="store_true", help="replace the registration of this host by another")


def add_common(parser: argparse.ArgumentParser) -> None:
    """Declare what registering and deregistering share."""
    parser.add_argument("--region", metavar="REGION", type=region, help="region of CodeDeploy")
    parser.add_argument("--profile", metavar="NAME", help="profile of the AWS configuration to ask with")
    parser.add_argument("--endpoint-url", metavar="URL", help="another place than AWS, such as the sandbox")
    parser.add_argument("--file", metavar="PATH", default=_FILE, help="the host's registration (%(default)s)")


def run(options: argparse.Namespace) -> int:
    """Register, and say what was done; 0. Raises AgentError."""
    from agent.fleet.api import ApiOptions
    from agent.fleet.checks import parse_tags
    from agent.fleet.register import RegisterOptions, register

    secret = _read_secret(options.access_key_id) if options.iam_user_arn and options.access_key_id else None
    request = RegisterOptions(
        options.instance_name,
        options.file,
        ApiOptions(options.region, options.profile, options.endpoint_url),
        tags=parse_tags(options.tags),
        create_user=options.create_iam_user,
        user_arn=options.iam_user_arn,
        access_key=options.access_key_id,
        secret_key=secret,
        session_arn=options.iam_session_arn,
        credentials_file=options.credentials_file,
        buckets=options.bucket,
        force=options.force,
    )
    register(request, tell=Writer(1).line)
    return 0


def _read_secret(access_key: str) -> str:
    if sys.stdin.isatty():
        import getpass  # only for a person

        secret = getpass.getpass(f"Secret access key of {access_key}: ")
    else:
        secret = sys.stdin.readline(256)
    if not secret.strip():
        raise UsageError("Standard input holds no secret access key.", remedy="Give it as the first line.")
    return secret.strip()
