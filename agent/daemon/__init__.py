"""The long-running agent: polls, starts a worker for each command, sees to it that every outcome arrives."""
