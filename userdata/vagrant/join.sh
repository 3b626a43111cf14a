#!/bin/sh
# For the Vagrantfile: registers a host with the sandbox and starts its agent. NAME and ENDPOINT come from there.
set -eu
host=${ENDPOINT#https://}
directory=/etc/codedeploy-agent
# It holds the key of the sandbox's administrator, and is not to stay, however this ends.
trap 'rm -f "$directory/env.sh"' EXIT
for attempt in 1 2 3 4 5 6 7 8 9 10; do
    python3 -I - "http://${host%:*}:8081" "$directory" <<'PYTHON' && break
import os, sys, urllib.request
for name, mode in (("env.sh", 0o600), ("signer.pem", 0o644), ("ca.pem", 0o644)):
    data = urllib.request.urlopen(f"{sys.argv[1]}/{name}", timeout=10).read()
    with open(os.open(f"{sys.argv[2]}/{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
        file.write(data)
PYTHON
    echo "the sandbox does not answer yet ($attempt)"
    sleep 3
done
# shellcheck disable=SC1091  # made just now
. "$directory/env.sh"
export AWS_CA_BUNDLE="$directory/ca.pem"
unset SSL_CERT_FILE
cat >"$directory/conf/codedeployagent.yml" <<END
---
:log_dir: /var/log/aws/codedeploy-agent
:wait_between_runs: 1
:deploy_control_endpoint: $ENDPOINT
:s3_endpoint_override: $ENDPOINT
:deployment_signer_ca_file: $directory/signer.pem
:ca_bundle: $directory/ca.pem
END
# The state of a sandbox ends with it, so a host that knew an earlier one registers anew.
codedeploy-agent register --instance-name "$NAME" --create-iam-user --tag Fleet=web --force
systemctl restart codedeploy-agent
