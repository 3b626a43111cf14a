"""The deployment specification, the lifecycle table and the outcome of a command; nothing here touches the host."""
