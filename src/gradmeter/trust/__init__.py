"""From readings to P(correct): features, meta classifiers, risk guarantees, synthetic unknowns and their evaluation."""
