"""Many samples: measuring whole sources, where it runs, what is finished and what remains."""
