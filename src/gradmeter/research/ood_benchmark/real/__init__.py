"""The comparison on networks that others have trained: the residual networks of He et al. 2016 for CIFAR-10."""
