"""What gradmeter was tested with: the paper's study, and the benchmarks of detection and of speed."""
