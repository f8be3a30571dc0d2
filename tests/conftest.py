"""Settings of the whole test session: one thread, Ctrl-C heeded, and property tests without a clock."""

import signal

import torch
from hypothesis import settings

torch.set_num_threads(1)
settings.register_profile("gradmeter", deadline=None, max_examples=30, derandomize=True, database=None)
settings.load_profile("gradmeter")

# A shell's background jobs ignore Ctrl-C, and so would the commands that tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
