"""A CodeDeploy-compatible service on one machine, for trying, developing and testing; never for production."""
