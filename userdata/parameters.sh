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
