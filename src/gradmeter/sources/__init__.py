"""Files and names -> batches and networks."""
