"""The benchmark: gradmeter beside the post-hoc detectors of pytorch-ood, on the same networks and images."""
