# Read by the other scripts.
webapp=/srv/example/webapp
mkdir -p "$webapp"

# The agent tells each script which event and which deployment it runs in.
journal() { echo "$LIFECYCLE_EVENT: $*" | tee -a "$webapp/journal"; }
