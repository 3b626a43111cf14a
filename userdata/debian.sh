#!/bin/sh
# Installs the CodeDeploy host agent; paste it into an instance's user data, or run it as root. Made by userdata/build.
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

# Debian 12 and 13: their python3 is 3.11 and 3.13.
SYSTEMS='debian'
LINKS=/usr/local/bin
install_python() { with_apt python3; }

# From here on the text is the same for all systems: userdata/body.sh, put in by userdata/build.
LOG=${AGENT_LOG:-/var/log/codedeploy-agent-install.log}
OS_RELEASE=${AGENT_OS_RELEASE:-/etc/os-release}
FITS='import sys, ssl, venv, zlib; sys.exit(sys.version_info < (3, 11))'
WORK=

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
    if [ "$status" -ne 0 ]; then
        printf 'codedeploy-agent: ended with %s; see %s\n' "$status" "$LOG" >&3
    fi
}

again() { # again COMMAND...: up to five times, since networks and package lists are shaky at boot
    for pause in 2 4 8 16 0; do
        "$@" && return 0
        sleep "${AGENT_PAUSE:-$pause}"
    done
    return 1
}

with_apt() {
    export DEBIAN_FRONTEND=noninteractive
    again apt-get -o DPkg::Lock::Timeout=300 update || say 'the package lists could not be refreshed'
    again apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends ca-certificates "$@"
}

with_dnf() { # the first of the packages that there is
    again dnf -y makecache || say 'the package lists could not be refreshed'
    for package in "$@"; do
        if dnf -q list "$package" >/dev/null 2>&1; then
            again dnf -y install "$package"
            return
        fi
    done
    return 1
}

with_zypper() { # the first of the packages that there is
    again zypper --non-interactive refresh || say 'the package lists could not be refreshed'
    for package in "$@"; do
        if zypper --non-interactive install --no-recommends "$package"; then
            return 0
        fi
    done
    return 1
}

find_python() {
    for candidate in ${AGENT_PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
        if found=$(command -v "$candidate") && "$found" -c "$FITS" 2>/dev/null; then
            printf '%s\n' "$found"
            return 0
        fi
    done
    return 1
}

fetch_program() { # SOURCE SHA256 FOLDER REGION: fetch, check, and put the agent's own wheel beside it
    cat <<'PYTHON'
import glob, hashlib, hmac, json, os, shutil, sys, tarfile, time, urllib.error, urllib.parse, urllib.request

source, wanted, folder, region = sys.argv[1:5]
target = os.path.join(folder, "wheelhouse.tar.gz")
METADATA = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://169.254.169.254")

def metadata(path, method="GET", **headers):
    ask = urllib.request.Request(METADATA + "/latest/" + path, method=method, headers=headers)
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    return direct.open(ask, timeout=5).read().decode()

def s3_request():
    global region
    bucket, _, key = source[5:].partition("/")
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
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3", "")
    if not endpoint:
        endpoint = "https://s3.%s.amazonaws.com%s" % (region, ".cn" if region.startswith("cn-") else "")
    path = "/" + urllib.parse.quote(bucket + "/" + key, safe="/-_.~")
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
    return urllib.request.Request(endpoint + path, headers=headers)

def fetch():
    ask = s3_request() if source.startswith("s3://") else urllib.request.Request(source)
    with urllib.request.urlopen(ask, timeout=60) as answer, open(target, "wb") as file:
        shutil.copyfileobj(answer, file, 1 << 20)

def fetch_patiently():
    for pause in (2, 4, 8, 16, None):
        try:
            return fetch()
        except urllib.error.HTTPError as error:
            reason = "status %d: %s" % (error.code, error.read(300).decode("utf-8", "replace"))
            if error.code in (400, 401, 403, 404, 410):
                pause = None
        except (OSError, ValueError) as error:
            reason = str(error)
        print("the download failed:", reason, flush=True)
        if pause is None:
            sys.exit(75)
        time.sleep(float(os.environ.get("AGENT_PAUSE", pause)))

def check(path, digest):
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != digest:
        sys.exit("the SHA-256 of %s is %s, and %s was expected" % (path, found, digest))

if source.startswith(("https://", "s3://")):
    fetch_patiently()
elif os.path.isdir(source):
    target = source
else:
    shutil.copyfile(source, target)
wheel = os.path.join(folder, "agent.whl")
if os.path.isdir(target):
    sums = os.path.join(target, "SHA256SUMS")
    check(sums, wanted.lower())
    (name,) = glob.glob(os.path.join(target, "codedeploy_host_agent-*.whl"))
    shutil.copyfile(name, wheel)
    listed = dict(reversed(line.split()) for line in open(sums))
    check(wheel, listed[os.path.basename(name)])
else:
    check(target, wanted.lower())
    with tarfile.open(target) as archive:
        (member,) = [m for m in archive if os.path.basename(m.name).startswith("codedeploy_host_agent-")]
        with open(wheel, "wb") as file:
            shutil.copyfileobj(archive.extractfile(member), file)
print(target)
PYTHON
}

check_parameters() {
    [ "$(id -u)" = 0 ] || fail 77 'root is needed'
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
    # shellcheck disable=SC1090  # there is one on every system named here
    . "$OS_RELEASE"
    case " $SYSTEMS " in
    *" $ID "*) ;;
    *) fail 69 "this is for $SYSTEMS, and the machine is $ID: take the file for it" ;;
    esac
}

main() {
    umask 022
    exec 3>&2
    mkdir -p "${LOG%/*}"
    exec >>"$LOG" 2>&1 </dev/null
    trap finish EXIT
    check_parameters
    say "installing on $ID ${VERSION_ID:-}"
    if [ -n "$AGENT_PROXY" ]; then
        export http_proxy="$AGENT_PROXY" https_proxy="$AGENT_PROXY" HTTPS_PROXY="$AGENT_PROXY"
    fi
    if ! python=$(find_python); then
        [ -z "$AGENT_PYTHON" ] || fail 69 "AGENT_PYTHON is $AGENT_PYTHON, which is not Python 3.11 or later"
        install_python || fail 69 'no package with Python 3.11 or later could be installed'
        python=$(find_python) || fail 69 'there is no Python 3.11 or later, also after installing its package'
    fi
    WORK=$(mktemp -d)
    fetch_program >"$WORK/fetch.py"
    place=$("$python" -I "$WORK/fetch.py" "$AGENT_SOURCE" "$AGENT_SHA256" "$WORK" "$AGENT_REGION") || {
        status=$?
        printf '%s\n' "$place"
        [ "$status" = 75 ] && fail 75 "$AGENT_SOURCE could not be fetched"
        fail 70 "$AGENT_SOURCE is not the wheelhouse that was meant"
    }
    set -- --source "$place" --sha256 "$AGENT_SHA256" --bin-folder "$LINKS" --python "$python"
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
    say 'installed'
}

main
