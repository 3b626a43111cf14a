"""What deployments did on this host, from what they have left on the disk."""
