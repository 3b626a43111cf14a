"""Running a lifecycle event's scripts: user, environment, limits, output and the process tree."""
