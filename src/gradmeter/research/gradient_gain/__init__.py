"""The experiment behind `gradmeter gain`: what gradients add to what one forward pass shows."""
