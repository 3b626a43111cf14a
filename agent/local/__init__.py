"""What a person does by hand: deploy, preview and check a revision, without the service."""
