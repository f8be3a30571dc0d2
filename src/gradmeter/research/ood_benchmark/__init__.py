"""The benchmark that compares gradmeter with the post-hoc detectors of pytorch-ood on the same networks and images."""
