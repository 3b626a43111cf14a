"""The CodeDeploy host command service: its model, its endpoints and a small client."""
