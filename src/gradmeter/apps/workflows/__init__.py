"""From files to files: what the commands fit, evaluate and judge do."""
