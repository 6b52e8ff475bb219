"""Images by the million through the stack's state machine: `python -m deploy.batch`."""
