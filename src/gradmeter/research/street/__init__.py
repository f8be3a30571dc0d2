"""What gradients add on the pixels and segments of a real street: `gradmeter pixels study`."""
