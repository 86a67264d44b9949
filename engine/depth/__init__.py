"""Dense depth: what the clip's own geometry gives, and the network that is trained on it."""
