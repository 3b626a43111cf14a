"""The operations of the public CodeDeploy API that the sandbox answers, by subject."""
