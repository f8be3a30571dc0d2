"""gradmeter in the shape that other libraries ask for, one file for each of them."""
