"""Learning on a cluster: labels from anywhere, Ray Train's loop, checkpoints, curves."""
