"""Learning: a world to learn from, simulated prompts, losses, and one step of training."""
