import torch

from gradmeter import GradientMeter
from gradmeter.research.gradient_gain.networks import AllConvolutional, Perceptron, SmallCNN, TextCNN


def test_the_all_convolutional_network_has_no_embedding() -> None:
    torch.manual_seed(0)
    images = torch.rand(4, 3, 32, 32)
    for network, has_embedding in ((AllConvolutional(3, 8), False), (SmallCNN(3, 32, 8), True)):
        readings = GradientMeter(network.eval()).for_trust_model()(images)
        assert readings.logits.shape == (4, 8)
        assert (readings.embedding is not None) == has_embedding


def test_the_others_give_logits() -> None:
    assert Perceptron(28 * 28, 10)(torch.rand(2, 1, 28, 28)).shape == (2, 10)
    assert SmallCNN(1, 28, 10)(torch.rand(2, 1, 28, 28)).shape == (2, 10)
    tokens = torch.randint(0, 9, (3, 32))
    network = TextCNN(9, 4).eval()
    assert network(tokens).shape == (3, 4)
    assert len(GradientMeter(network).for_trust_model()(tokens)) == 3
