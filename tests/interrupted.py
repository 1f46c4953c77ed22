"""A run by `agentmem train` that says how far it is and waits at one step, so that Ctrl-C finds it there.

Run by test_train_supervised: STEP, a file to say it in, then the words of the command. The step's second pass waits.
"""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

from agentmem.cli import main
from agentmem.train import supervised

if __name__ == "__main__":
    step, reached = int(sys.argv.pop(1)), Path(sys.argv.pop(1))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may start its background jobs without one
    Stop, taken_up = supervised._Stop, supervised._Stop.on_step_begin

    def on_substep_end(self, args, state, control, **named):
        if state.global_step == step:
            reached.touch()
            deadline = time.monotonic() + 60
            while not self.asked and time.monotonic() < deadline:
                time.sleep(0.01)
        taken_up(self)

    Stop.on_substep_end = on_substep_end  # type: ignore[method-assign]
    main()
