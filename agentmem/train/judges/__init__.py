"""How the judges that ship are fitted to agentmem/train/data: `python -m agentmem.train.judges NAME`."""
