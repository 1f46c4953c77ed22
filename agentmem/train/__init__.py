"""Learning from data: what the models that ship are fitted to (agentmem/train/data)."""
