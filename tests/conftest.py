"""Settings of the whole test session: one thread, and property tests without a clock."""

import torch
from hypothesis import settings

torch.set_num_threads(1)
settings.register_profile("gradmeter", deadline=None, max_examples=30, derandomize=True, database=None)
settings.load_profile("gradmeter")
