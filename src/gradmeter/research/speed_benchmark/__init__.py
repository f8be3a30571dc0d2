"""Time and memory of the meter, compared with a training step and with other packages."""
