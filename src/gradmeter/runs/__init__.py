"""Long work on many samples: measuring sources, storing results, continuing killed runs, showing progress."""
