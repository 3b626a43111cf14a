"""How the sandbox is spoken to: server, signatures, JSON, the command service, the journal."""
