"""Images by the million through the stack's state machine: `k2l batch`."""
