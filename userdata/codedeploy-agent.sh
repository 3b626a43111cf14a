#!/bin/sh
# Installs the CodeDeploy host agent: fill in the first two lines, then paste this into an instance's user data, or run
# it as root. docs/installing.md says what each line does.
set -eu

# What to install. Fill in here, or set the same names in the environment.
AGENT_SOURCE=${AGENT_SOURCE:-}        # wheelhouse: https://..., s3://bucket/key, or a path on this machine
AGENT_SHA256=${AGENT_SHA256:-}        # its SHA-256, as build-wheelhouse printed it
AGENT_VERSION=${AGENT_VERSION:-}      # refuse any other version (empty: whatever the wheelhouse holds)
AGENT_REGION=${AGENT_REGION:-}        # region of an S3 source (empty: the instance's)
AGENT_PROXY=${AGENT_PROXY:-}          # http://proxy:port for the installation and for the agent
AGENT_CONFIG=${AGENT_CONFIG:-}        # text of codedeployagent.yml for a host that has none (empty: a few lines)
AGENT_START=${AGENT_START:-yes}       # no: installed and enabled only, to make an image of the machine
AGENT_TAKE_OVER=${AGENT_TAKE_OVER:-no} # yes: replace an official agent, keeping its state
AGENT_PYTHON=${AGENT_PYTHON:-}        # a certain Python (empty: the newest package that fits is found or installed)

LOG=${AGENT_LOG:-/var/log/codedeploy-agent-install.log}
OS_RELEASE=${AGENT_OS_RELEASE:-/etc/os-release}
WORK=

# The systems: which of their packages bring Python 3.11 or later, the first choice first, and where commands are linked.
# sudo in the Red Hat family does not look into /usr/local/bin.
KNOWN="Amazon Linux 2023, RHEL and its rebuilds 9 and 10, Debian 12 and 13, Ubuntu 22.04, 24.04 and 26.04, SUSE 15"
system_for() { # system_for ID VERSION
    case "$1:$2." in
    amzn:2023.*) system dnf /usr/bin python3.12 python3.11 ;;
    rhel:9.* | ol:9.*) system dnf /usr/bin python3.12 python3.11 ;;
    rhel:10.* | ol:10.*) system dnf /usr/bin python3 ;;
    debian:12.* | debian:13.*) system apt /usr/local/bin python3 ;;
    ubuntu:22.04.*) system apt /usr/local/bin python3.11 ;;
    ubuntu:24.04.* | ubuntu:26.04.*) system apt /usr/local/bin python3 ;;
    sles:15.* | suse:15.*) system zypper /usr/local/bin python313 python312 python311 ;;
    *) return 1 ;;
    esac
}

system() { # system MANAGER LINKS PACKAGE...
    MANAGER=$1 LINKS=$2
    shift 2
    PACKAGES=$*
}

find_system() { # a system that is not a row of its own may be like one that is, with the same numbers: Rocky Linux is
    [ -r "$OS_RELEASE" ] || fail 69 "$OS_RELEASE cannot be read, so the system is unknown; known are $KNOWN"
    # shellcheck source=/dev/null
    . "$OS_RELEASE"
    for name in ${ID:-} ${ID_LIKE:-}; do
        if system_for "$name" "${VERSION_ID:-}"; then
            say "the system is ${ID:-} ${VERSION_ID:-}"
            return 0
        fi
    done
    fail 69 "the system is ID=${ID:-} ID_LIKE=${ID_LIKE:-} VERSION_ID=${VERSION_ID:-}, which is unknown; known are $KNOWN"
}

say() { # to the log and to the console
    printf '%s codedeploy-agent: %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$*"
    printf 'codedeploy-agent: %s\n' "$*" >&3
}

fail() { # fail STATUS REASON: 64 parameters, 69 system or Python, 70 installation, 75 download, 77 not root
    status=$1
    shift
    say "FAILED ($status): $*"
    exit "$status"
}

finish() {
    status=$?
    [ -z "$WORK" ] || rm -rf "$WORK"
    [ "$status" -eq 0 ] || printf 'codedeploy-agent: ended with %s; see %s\n' "$status" "$LOG" >&3
}

again() { # again COMMAND...: up to five times, since networks and package lists are shaky at boot
    for pause in 2 4 8 16 0; do
        "$@" && return 0
        sleep "${AGENT_PAUSE:-$pause}"
    done
    return 1
}

refresh() {
    again "$@" || say 'the package lists could not be refreshed'
}

install_python() { # install_python PACKAGE...: the first that the system has
    case $MANAGER in
    apt)
        export DEBIAN_FRONTEND=noninteractive
        refresh apt-get -o DPkg::Lock::Timeout=300 update
        again apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends ca-certificates "$1"
        return
        ;;
    dnf) refresh dnf -y makecache ;;
    zypper) refresh zypper --non-interactive refresh ;;
    esac
    for package in "$@"; do
        case $MANAGER in
        dnf)
            if dnf -q list "$package" >/dev/null 2>&1; then
                again dnf -y install "$package"
                return
            fi
            ;;
        zypper) if zypper --non-interactive install --no-recommends "$package"; then return; fi ;;
        esac
    done
    return 1
}

find_python() {
    for candidate in ${AGENT_PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
        if found=$(command -v "$candidate") &&
            "$found" -I -c 'import sys, ssl, venv, zlib; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            printf '%s\n' "$found"
            return 0
        fi
    done
    return 1
}

# Puts the archive, if the source is one, and the agent's own wheel into WORK. No line of the wheel runs before its SHA-256
# is known to be right. All else is the wheel's to do, but it cannot fetch the archive that it lies in: so S3 is asked
# here, with Python's own library. The parameters go through the environment, as an address may be signed.
fetch() { # fetch PYTHON
    AGENT_SOURCE=$AGENT_SOURCE AGENT_SHA256=$AGENT_SHA256 AGENT_REGION=$AGENT_REGION WORK=$WORK "$1" -I - <<'PYTHON'
import glob, hashlib, hmac, http.client, json, os, shutil, sys, tarfile, time
from urllib import error, parse, request

source, desired, region = (os.environ["AGENT_" + name] for name in ("SOURCE", "SHA256", "REGION"))
target, wheel = (os.path.join(os.environ["WORK"], name) for name in ("wheelhouse.tar.gz", "agent.whl"))
METADATA = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://169.254.169.254")

def metadata(path, method="GET", **headers):
    ask = request.Request(METADATA + "/latest/" + path, method=method, headers=headers)
    direct = request.build_opener(request.ProxyHandler({}))
    return direct.open(ask, timeout=5).read().decode()

def s3_request():
    global region
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    access, secret, session = (os.environ.get(name, "") for name in names)
    if not access or not region:
        token = metadata("api/token", "PUT", **{"X-aws-ec2-metadata-token-ttl-seconds": "300"})
        header = {"X-aws-ec2-metadata-token": token}
        region = region or metadata("meta-data/placement/region", **header)
    if not access:
        role = metadata("meta-data/iam/security-credentials/", **header).split()[0]
        found = json.loads(metadata("meta-data/iam/security-credentials/" + role, **header))
        access, secret, session = found["AccessKeyId"], found["SecretAccessKey"], found["Token"]
    china = ".cn" if region.startswith("cn-") else ""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or "https://s3.%s.amazonaws.com%s" % (region, china)
    path = "/" + parse.quote(source[5:], safe="/-_.~")
    now, empty = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()), hashlib.sha256(b"").hexdigest()
    headers = {"host": endpoint.split("/")[2], "x-amz-content-sha256": empty, "x-amz-date": now}
    if session:
        headers["x-amz-security-token"] = session
    signed = ";".join(headers)
    lines = ["GET", path, "", *("%s:%s" % pair for pair in headers.items()), "", signed, empty]
    scope = "%s/%s/s3/aws4_request" % (now[:8], region)
    text = "\n".join(["AWS4-HMAC-SHA256", now, scope, hashlib.sha256("\n".join(lines).encode()).hexdigest()])
    mac = ("AWS4" + secret).encode()
    for part in (*scope.split("/"), text):
        mac = hmac.new(mac, part.encode(), "sha256").digest()
    headers["authorization"] = "AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s" % (
        access, scope, signed, mac.hex())
    return request.Request(endpoint + path, headers=headers)

def download():
    ask = s3_request() if source.startswith("s3://") else request.Request(source)
    with request.urlopen(ask, timeout=60) as answer, open(target, "wb") as file:
        shutil.copyfileobj(answer, file, 1 << 20)
        if answer.length:
            raise OSError("the answer was cut short")

def download_patiently():
    for pause in (2, 4, 8, 16, None):
        try:
            return download()
        except error.HTTPError as problem:
            reason = "status %d: %s" % (problem.code, problem.read(300).decode("utf-8", "replace"))
            # A new instance's role may not be known to the metadata service yet.
            if problem.code in (400, 401, 403, 404, 410) and not problem.geturl().startswith(METADATA):
                pause = None
        except (OSError, ValueError, LookupError, http.client.HTTPException) as problem:
            reason = "%s: %s" % (type(problem).__name__, problem)
        print("the download failed:", reason, flush=True)
        if pause is None:
            sys.exit(75)
        time.sleep(float(os.environ.get("AGENT_PAUSE", pause)))

def check(path, digest):
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != digest:
        sys.exit("the SHA-256 of %s is %s, and %s was expected" % (path, found, digest))

if os.path.isdir(source):
    sums = os.path.join(os.environ["WORK"], "SHA256SUMS")  # a copy: what is checked must be what is used
    shutil.copyfile(os.path.join(source, "SHA256SUMS"), sums)
    check(sums, desired.lower())
    (name,) = glob.glob(os.path.join(source, "codedeploy_host_agent-*.whl"))
    shutil.copyfile(name, wheel)
    check(wheel, dict(reversed(line.split()) for line in open(sums))[os.path.basename(name)])
    sys.exit()
if source.startswith("/"):
    shutil.copyfile(source, target)
else:
    download_patiently()
check(target, desired.lower())
with tarfile.open(target) as archive, open(wheel, "wb") as file:
    (member,) = [m for m in archive if os.path.basename(m.name).startswith("codedeploy_host_agent-")]
    shutil.copyfileobj(archive.extractfile(member), file)
PYTHON
}

check_parameters() {
    case $AGENT_SOURCE in
    https://* | s3://* | /*) ;;
    '') fail 64 'AGENT_SOURCE is empty: it says where the wheelhouse is' ;;
    *) fail 64 "AGENT_SOURCE is $AGENT_SOURCE: expected https://..., s3://... or an absolute path" ;;
    esac
    [ ${#AGENT_SHA256} = 64 ] || fail 64 'AGENT_SHA256 is not a SHA-256 of 64 digits: build-wheelhouse prints it'
    case $AGENT_START:$AGENT_TAKE_OVER in
    yes:yes | yes:no | no:yes | no:no) ;;
    *) fail 64 'AGENT_START and AGENT_TAKE_OVER are yes or no' ;;
    esac
}

choose_python() { # sets python
    if ! python=$(find_python); then
        [ -z "$AGENT_PYTHON" ] || fail 69 "AGENT_PYTHON is $AGENT_PYTHON, which is not Python 3.11 or later"
        # shellcheck disable=SC2086  # several packages
        install_python $PACKAGES || fail 69 "no package with Python 3.11 or later could be installed: $PACKAGES"
        python=$(find_python) || fail 69 'there is no Python 3.11 or later, also after installing its package'
    fi
}

install_agent() { # the rest is done by the agent's own wheel
    place=$AGENT_SOURCE
    [ -d "$place" ] || place=$WORK/wheelhouse.tar.gz
    set -- --source "$place" --sha256 "$AGENT_SHA256" --bin-directory "$LINKS" --python "$python"
    [ -z "$AGENT_VERSION" ] || set -- "$@" --version "$AGENT_VERSION"
    [ -z "$AGENT_PROXY" ] || set -- "$@" --proxy "$AGENT_PROXY"
    [ "$AGENT_START" = yes ] || set -- "$@" --no-start
    [ "$AGENT_TAKE_OVER" = no ] || set -- "$@" --take-over
    if [ -n "$AGENT_CONFIG" ]; then
        printf '%s\n' "$AGENT_CONFIG" >"$WORK/codedeployagent.yml"
        set -- "$@" --config "$WORK/codedeployagent.yml"
    fi
    status=0
    PYTHONPATH=$WORK/agent.whl "$python" -B -P -m agent install "$@" >"$WORK/said" 2>&1 || status=$?
    cat "$WORK/said"
    [ "$status" = 0 ] || fail 70 "the installation failed: $(sed -n '$p' "$WORK/said")"
}

main() {
    umask 022
    exec 3>&2
    if [ "$(id -u)" != 0 ]; then # before the log, which only root may write
        echo 'codedeploy-agent: FAILED (77): root is needed' >&3
        exit 77
    fi
    mkdir -p "${LOG%/*}"
    exec >>"$LOG" 2>&1 </dev/null
    trap finish EXIT
    check_parameters
    find_system
    if [ -n "$AGENT_PROXY" ]; then
        export http_proxy="$AGENT_PROXY" https_proxy="$AGENT_PROXY" HTTPS_PROXY="$AGENT_PROXY"
    fi
    choose_python
    WORK=$(mktemp -d)
    status=0
    fetch "$python" || status=$?
    case $status in # what follows the ? of an address may be a signature
    0) ;;
    75) fail 75 "${AGENT_SOURCE%%\?*} could not be fetched" ;;
    *) fail 70 "${AGENT_SOURCE%%\?*} is not the wheelhouse that was meant" ;;
    esac
    install_agent
    say 'installed'
}

main
