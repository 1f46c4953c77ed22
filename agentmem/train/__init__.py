"""Learning from data: memory policies (sft, rft, oprl), and the judges that ship (agentmem.train.judges)."""
