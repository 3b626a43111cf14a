"""The agent's logs and those of scripts as one stream: history, and what is written meanwhile."""
