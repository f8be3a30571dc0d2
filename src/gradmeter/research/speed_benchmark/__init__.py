"""How fast the meter is beside a training step and beside other packages, and how much memory each of them takes."""
