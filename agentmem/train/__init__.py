"""Learning from data. So far the data itself, agentmem/train/data: nothing that ships is fitted to it yet."""
