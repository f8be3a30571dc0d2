"""Readings -> verdicts: features, classifiers, risk guarantees, synthetic unknown inputs, and how good all that is."""
