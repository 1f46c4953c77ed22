"""`python -m agentmem`: the command line, for `accelerate launch -m agentmem train …`."""

from agentmem.cli import main

main()
