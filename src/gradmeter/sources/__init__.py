"""Input samples and trained classifiers, opened from files and by name."""
