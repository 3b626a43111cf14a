"""Joining and leaving a fleet: installing the agent on a host, taking it off again, and on-premises registration."""
