#!/bin/sh
# A host that leaves its load balancer by itself while it is deployed to, and comes back: the agent's configuration for
# that. Put codedeploy-agent.sh below these lines, and both are the user data:
#
#     cat traffic-control.sh codedeploy-agent.sh >user-data.sh
#
# Or source this file (". ./traffic-control.sh") in a shell of root that runs codedeploy-agent.sh afterwards. A host that
# has a configuration already keeps it. docs/traffic.md says what each key means and which permissions the host needs.
set -eu

# Fill in here, or set the same names in the environment.
TRAFFIC_GROUP=${TRAFFIC_GROUP:-Shop}                 # the deployment group's name; for no other is the host moved
TRAFFIC_HAPROXY=${TRAFFIC_HAPROXY:-10.0.0.5:9999}    # the Runtime API of HAProxy: HOST:PORT, or a path on this host
TRAFFIC_BACKEND=${TRAFFIC_BACKEND:-shop}             # the backend in which each host is a server of its own name
TRAFFIC_SERVER=${TRAFFIC_SERVER:-$(hostname)}

# For target groups of an application or network load balancer take these lines in place of the provider below; the
# host is then known by its instance id or its addresses:
#
#     - type: elbv2
#       target_groups: [shop-blue]
AGENT_CONFIG=$(
    cat <<END
---
:traffic_control:
  groups: ["$TRAFFIC_GROUP"]
  # A host whose deployment has failed takes no traffic until a later one succeeds.
  on_failure: stay_out
  # So many other hosts must stay in service wherever this one leaves.
  minimum_healthy: 1
  providers:
    - type: haproxy
      sockets: ["$TRAFFIC_HAPROXY"]
      servers: ["$TRAFFIC_BACKEND/$TRAFFIC_SERVER"]
END
)
export AGENT_CONFIG
