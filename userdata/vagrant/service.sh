#!/bin/sh
# For the Vagrantfile: the sandbox and HAProxy on one machine. LISTEN, PORT and WEB (addresses) come from there.
# The sandbox's key and certificate are handed to the hosts over the private network, which is yours alone.
set -eu
export DEBIAN_FRONTEND=noninteractive
apt-get update
apt-get install -y --no-install-recommends haproxy python3-venv
[ -x /opt/sandbox/bin/python ] || python3 -m venv /opt/sandbox
/opt/sandbox/bin/pip install --quiet '/vagrant[sandbox]'
# Debian's awscli is too old to be told of another endpoint; the package index's has pins of its own.
[ -x /opt/awscli/bin/python ] || python3 -m venv /opt/awscli
/opt/awscli/bin/pip install --quiet 'awscli>=1.44'
ln -sf /opt/awscli/bin/aws /usr/local/bin/aws

cat >/etc/systemd/system/sandbox.service <<END
[Unit]
Description=CodeDeploy sandbox, for trying things
After=network-online.target
Wants=network-online.target

[Service]
ExecStart=/opt/sandbox/bin/codedeploy-agent sandbox --tls --listen $LISTEN --port $PORT --directory /run/sandbox
Restart=always

[Install]
WantedBy=multi-user.target
END
cat >/etc/systemd/system/sandbox-key.service <<END
[Unit]
Description=The sandbox's key for the hosts of the private network
After=sandbox.service

[Service]
ExecStart=/usr/bin/python3 -m http.server --bind $LISTEN --directory /run/sandbox 8081
Restart=always

[Install]
WantedBy=multi-user.target
END
systemctl daemon-reload
systemctl enable sandbox sandbox-key
systemctl restart sandbox sandbox-key

{
    printf 'defaults\n    mode http\n    timeout connect 2s\n    timeout client 30s\n    timeout server 30s\n'
    printf 'frontend www\n    bind :80\n    default_backend web\nbackend web\n    option httpchk GET /\n'
    number=0
    for address in $WEB; do
        number=$((number + 1))
        printf '    server web%d %s:80 check inter 1s\n' "$number" "$address"
    done
} >/etc/haproxy/haproxy.cfg
systemctl restart haproxy
