"""What is read of a sample does not depend on its padding, and so not on the other samples of its batch."""

import warnings

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gradmeter import GradientMeter
from gradmeter.errors import InputError, PaddingWarning
from gradmeter.reading.readings import Readings

LENGTHS = (3, 7, 5, 7, 1, 6)


class Texts(nn.Module):
    """Attention, a normalisation and a mean over the tokens that are no padding."""

    def __init__(self, width: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.tokens = nn.Embedding(20, width)
        self.encoder = nn.TransformerEncoderLayer(width, 1, 2 * width, batch_first=True)
        self.head = nn.Linear(width, 3)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        kept = attention_mask.bool()
        encoded = self.encoder(self.tokens(input_ids), src_key_padding_mask=~kept)
        return self.head((encoded * kept[..., None]).sum(1) / kept.sum(1, keepdim=True))


def batch(*, left: bool = False) -> dict[str, Tensor]:
    longest = max(LENGTHS)
    order = torch.arange(longest).flip(0) if left else torch.arange(longest)
    mask = (order < torch.tensor(LENGTHS)[:, None]).long()
    tokens = torch.randint(1, 20, mask.shape, generator=torch.Generator().manual_seed(1))
    return {"input_ids": tokens * mask, "attention_mask": mask}


def alone(padded: dict[str, Tensor], row: int) -> dict[str, Tensor]:
    kept = padded["attention_mask"][row].bool()
    return {name: values[row : row + 1, kept] for name, values in padded.items()}


def meter(network: nn.Module, *, gradients: bool) -> GradientMeter:
    return GradientMeter(network, gradients=gradients, activations=True, embedding=True)


@pytest.mark.parametrize("gradients", [True, False])
@pytest.mark.parametrize("left", [True, False])
@pytest.mark.parametrize("width", [4, max(LENGTHS)])  # also as wide as the text is long
def test_a_padded_sample_is_read_as_alone(width: int, left: bool, gradients: bool) -> None:
    network = Texts(width).eval()
    measure, padded = meter(network, gradients=gradients), batch(left=left)
    given = measure(padded)
    single = Readings.concatenate([meter(network, gradients=gradients)(alone(padded, row)) for row in range(6)])
    assert given.activations is not None
    assert single.activations is not None
    assert given.activations.layers == single.activations.layers
    torch.testing.assert_close(given.activations.values, single.activations.values, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(given.logits, single.logits)
    torch.testing.assert_close(given.values, single.values, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(given.embedding, single.embedding)


@pytest.mark.parametrize("gradients", [True, False])
def test_texts_of_several_lengths_take_one_pass(gradients: bool) -> None:
    network = Texts(4).eval()
    measure, padded, passes = meter(network, gradients=gradients), batch(), []
    measure(padded)
    with network.register_forward_hook(lambda *_: passes.append(1)):
        measure(padded)
    assert len(passes) == 1


@pytest.mark.parametrize("gradients", [True, False])
def test_padding_is_left_out_if_the_mask_is_a_positional_argument(gradients: bool) -> None:
    network, padded = Texts(4).eval(), batch()
    named, given = (meter(network, gradients=gradients)(inputs) for inputs in (padded, (*padded.values(),)))
    assert given.activations is not None
    assert named.activations is not None
    torch.testing.assert_close(given.activations.values, named.activations.values)


class Folded(Texts):
    """Positions are folded into the batch; for a text of one token this cannot be seen."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        tokens = self.tokens(input_ids)
        encoded = self.encoder.linear1(tokens.flatten(0, 1)).relu().unflatten(0, input_ids.shape)
        summed = (encoded[..., : tokens.shape[2]] * attention_mask[..., None]).sum(1)
        return self.head(summed / attention_mask.sum(1, keepdim=True))


@pytest.mark.parametrize("gradients", [True, False])
def test_padding_is_left_out_where_positions_are_folded_into_the_batch(gradients: bool) -> None:
    network, padded = Folded(4).eval(), batch()
    given = meter(network, gradients=gradients)(padded)
    single = Readings.concatenate([meter(network, gradients=gradients)(alone(padded, row)) for row in range(6)])
    assert given.activations is not None
    assert single.activations is not None
    torch.testing.assert_close(given.activations.values, single.activations.values, rtol=1e-4, atol=1e-5)


def test_the_labels_stay_with_their_samples() -> None:
    network, padded, labels = Texts(4).eval(), batch(), torch.tensor([0, 1, 2, 0, 1, 2])
    given = meter(network, gradients=True)(padded, labels)
    for row in range(6):
        single = meter(network, gradients=True)(alone(padded, row), labels[row : row + 1])
        torch.testing.assert_close(given.log_scale[row : row + 1], single.log_scale)
        torch.testing.assert_close(given["all", "l2"][row : row + 1], single["all", "l2"], rtol=1e-3, atol=1e-6)


def test_samples_without_finite_logits_are_named_by_their_place_in_the_batch() -> None:
    network, padded = Texts(4).eval(), batch()
    with torch.no_grad():
        network.tokens.weight[19] = np.inf
    padded["input_ids"][padded["input_ids"] == 19] = 1
    padded["input_ids"][5, 0] = 19
    with pytest.raises(InputError, match=r"\b1 of 6 samples \(index 5\)"):
        meter(network, gradients=False)(padded)


class ImagesAndTexts(Texts):
    """Texts, and images with as many rows, columns and channels as the text has positions."""

    def __init__(self) -> None:
        super().__init__(max(LENGTHS))
        self.image = nn.Conv2d(3, max(LENGTHS), 3, padding=1)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, pixel_values: Tensor | None = None) -> Tensor:
        features = self.image(pixel_values).relu().mean((2, 3))
        return super().forward(input_ids, attention_mask) + self.head(features)


@pytest.mark.parametrize("gradients", [True, False])
def test_the_padding_of_a_text_is_not_left_out_of_an_image(gradients: bool) -> None:
    network, longest = ImagesAndTexts().eval(), max(LENGTHS)
    images = torch.rand(len(LENGTHS), 3, longest, longest, generator=torch.Generator().manual_seed(2))
    readings = meter(network, gradients=gradients)({**batch(), "pixel_values": images})
    texts = meter(Texts(longest).eval(), gradients=gradients)(batch())
    assert readings.activations is not None
    assert texts.activations is not None
    expected = network.image(images).flatten(1).norm(dim=1).double()
    torch.testing.assert_close(readings.activations["image", "l2"], expected.detach(), rtol=1e-4, atol=0)
    for layer in texts.activations.layers[:-1]:  # but the head
        torch.testing.assert_close(readings.activations[layer, "l2"], texts.activations[layer, "l2"])


class Asking(Texts):
    """Texts that a few learned vectors ask for what matters."""

    def __init__(self) -> None:
        super().__init__(4)
        self.queries = nn.Parameter(torch.randn(2, 4))
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        tokens, ignored = self.tokens(input_ids), attention_mask == 0
        queries = self.queries.expand(len(tokens), 2, 4)
        return self.head(self.attention(queries, tokens, tokens, key_padding_mask=ignored)[0].mean(1))


def test_a_text_that_alone_has_its_length_does_not_slow_the_others_down() -> None:
    tokens = torch.randint(1, 20, (13, 7), generator=torch.Generator().manual_seed(1))
    mask = (torch.arange(7) < torch.tensor([3] + [5] * 12)[:, None]).long()
    measure = meter(Asking().eval(), gradients=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the vectors are no positions of the text
        given = measure({"input_ids": tokens * mask, "attention_mask": mask})
    single = meter(Asking().eval(), gradients=True)({"input_ids": tokens[:1, :3], "attention_mask": mask[:1, :3]})
    torch.testing.assert_close(given.values[:1], single.values, rtol=1e-3, atol=1e-5)
    assert measure._tiles[(7,), (7,)] > 12


def test_a_text_with_much_padding_does_not_make_the_tiles_of_the_others_large() -> None:
    tokens, mask = torch.ones(2, 400, dtype=torch.long), torch.ones(2, 400, dtype=torch.long)
    tiles = []
    for length in (400, 2):
        mask[1, length:] = 0
        measure = meter(Texts(4).eval(), gradients=False)
        measure({"input_ids": tokens, "attention_mask": mask})
        tiles.append(measure._tiles)
    assert tiles[0] == tiles[1]


class Pairs(Texts):
    """A layer that takes the scores of all pairs of tokens."""

    def __init__(self) -> None:
        super().__init__(4)
        self.mix = nn.Linear(2, 2)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        heads = self.tokens(input_ids).unflatten(2, (2, 2)).transpose(1, 2)
        scores = self.mix((heads @ heads.mT).movedim(1, -1)).movedim(-1, 1)
        weights = scores.masked_fill(attention_mask[:, None, None] == 0, -torch.inf).softmax(-1)
        attended = (weights @ heads).transpose(1, 2).flatten(2) * attention_mask[..., None]
        return self.head(attended.sum(1) / attention_mask.sum(1, keepdim=True))


@pytest.mark.parametrize("gradients", [True, False])
def test_padding_is_left_out_of_pairs_of_positions(gradients: bool) -> None:
    network, padded = Pairs().eval(), batch()
    given = meter(network, gradients=gradients)(padded)
    single = Readings.concatenate([meter(network, gradients=gradients)(alone(padded, row)) for row in range(6)])
    assert given.activations is not None
    assert single.activations is not None
    torch.testing.assert_close(given.activations.values, single.activations.values, rtol=1e-4, atol=1e-5)


class Choices(Texts):
    """Several texts per sample; a logit for each."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        logits = super().forward(input_ids.flatten(0, 1), attention_mask.flatten(0, 1))
        return logits[:, 0].unflatten(0, input_ids.shape[:2])


def test_a_mask_of_another_shape_is_noticed_once() -> None:
    measure = meter(Choices(4).eval(), gradients=False)
    choices = {name: values.unflatten(0, (3, 2)) for name, values in batch().items()}
    with pytest.warns(PaddingWarning, match=r"attention_mask has shape \(3, 2, 7\); expected \(N, T\)"):
        measure(choices)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        measure(choices)


class Placed(Texts):
    """Texts whose tokens are told their place in the batch, padding included."""

    def __init__(self) -> None:
        super().__init__(4)
        self.places = nn.Embedding(max(LENGTHS), 4)
        self.tokens.register_forward_hook(lambda _, __, tokens: tokens + self.places.weight[: tokens.shape[1]])


@pytest.mark.parametrize("gradients", [True, False])
def test_logits_that_depend_on_the_padding_are_noticed_once(gradients: bool) -> None:
    measure = meter(Placed().eval(), gradients=gradients)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        measure(batch())
    measure = meter(Placed().eval(), gradients=gradients)
    with pytest.warns(PaddingWarning, match="with and without its padding differ") as warned:
        measure(batch(left=True))
    assert len(warned) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        measure(batch(left=True))


class Sounds(nn.Module):
    """A convolution that shortens its input, and a mean over what is left of it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.short = nn.Conv1d(1, 4, 4, stride=2)
        self.head = nn.Linear(4, 3)

    def forward(self, input_values: Tensor, attention_mask: Tensor) -> Tensor:
        return self.head(self.short((input_values * attention_mask)[:, None]).relu().mean(2))


class Averaged(Texts):
    """Texts whose tokens are averaged together with their padding."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.head(self.tokens(input_ids).mean(1))


@pytest.mark.parametrize("gradients", [True, False])
def test_the_text_with_the_most_padding_tells_whether_logits_depend_on_it(gradients: bool) -> None:
    mask = torch.ones(4, 400, dtype=torch.long)
    mask[1, 399:], mask[2, 100:], mask[3] = 0, 0, 0  # the logits of text 1 change by less than rounding may
    with pytest.warns(PaddingWarning, match="with and without its padding differ"):
        meter(Averaged(4).eval(), gradients=gradients)({"input_ids": mask, "attention_mask": mask})


class Windows(Texts):
    """Texts of at least five tokens, as the usual convolutions over words take."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.windows = nn.Conv1d(width, width, 5)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.head(self.windows(self.tokens(input_ids).mT).relu().mean(2))


@pytest.mark.parametrize("gradients", [True, False])
def test_a_text_that_is_too_short_for_the_network_does_not_hide_the_warnings(gradients: bool) -> None:
    logits = pytest.warns(PaddingWarning, match="with and without its padding differ")
    with logits, pytest.warns(PaddingWarning, match="layer 'windows' are read with their padding"):
        meter(Windows(4).eval(), gradients=gradients)(batch())


class LongTexts(Texts):
    """Texts of at least five tokens, of which padding is left out."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.filters = nn.Conv1d(width, width, 1)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        if input_ids.shape[1] < 5:
            raise ValueError
        filtered = self.filters(self.tokens(input_ids).mT).relu() * attention_mask[:, None]
        return self.head(filtered.sum(2) / attention_mask.sum(1, keepdim=True))


@pytest.mark.parametrize("gradients", [True, False])
def test_a_text_that_is_too_short_for_the_network_is_read_alike_in_every_batch(gradients: bool) -> None:
    # As many filters as positions: only a text without its padding tells them apart.
    measure = meter(LongTexts(max(LENGTHS)).eval(), gradients=gradients)
    first, second = (measure(batch()).activations for _ in range(2))
    assert first is not None
    assert second is not None
    assert torch.equal(first.values, second.values)


def test_a_network_that_takes_texts_of_one_length_is_tried_without_padding_once() -> None:
    class Fixed(Texts):
        failures = 0

        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
            if input_ids.shape[1] < max(LENGTHS):
                Fixed.failures += 1
                raise ValueError
            return super().forward(input_ids, attention_mask)

    measure = meter(Fixed(4).eval(), gradients=False)
    measure(batch())
    failures = Fixed.failures
    measure(batch())
    assert Fixed.failures == failures > 0


def test_layers_that_are_read_with_their_padding_are_named_once() -> None:
    measure = meter(Sounds().eval(), gradients=False)
    mask = batch()["attention_mask"].repeat(1, 3)
    logits = pytest.warns(PaddingWarning, match="with and without its padding differ")  # it means over the padding, too
    with logits, pytest.warns(PaddingWarning, match="layer 'short' are read with their padding"):
        measure({"input_values": torch.randn(mask.shape), "attention_mask": mask})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        measure({"input_values": torch.randn(mask.shape), "attention_mask": mask})
        meter(Texts(4).eval(), gradients=True)(batch())


def test_a_little_padding_of_the_first_sample_does_not_hide_the_layers_that_are_read_with_theirs() -> None:
    mask = torch.ones(3, 21, dtype=torch.long)
    mask[0, 20:], mask[1, 10:] = 0, 0  # the layer's output for 20 numbers is as long as that for 21
    logits = pytest.warns(PaddingWarning, match="with and without its padding differ")
    with logits, pytest.warns(PaddingWarning, match="layer 'short' are read with their padding"):
        meter(Sounds().eval(), gradients=False)({"input_values": torch.randn(mask.shape), "attention_mask": mask})


class Captions(nn.Module):
    """A classifier of an image with a text, whose layers for the image know nothing of the text's length."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.patches, self.tokens, self.head = nn.Conv2d(3, 4, 3), nn.Embedding(20, 4), nn.Linear(8, 3)

    def forward(self, pixel_values: Tensor, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        kept = attention_mask[..., None]
        text = (self.tokens(input_ids) * kept).sum(1) / kept.sum(1)
        return self.head(torch.cat([self.patches(pixel_values).relu().mean((2, 3)), text], 1))


@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize("size", [5, 7, 9], ids=["any", "width of the image", "width of the output"])
def test_an_image_beside_a_text_has_no_padding(size: int, gradients: bool) -> None:
    """Its outputs were cut where their width or number of channels was the length of the longest text."""
    images, texts = torch.rand(6, 3, size, size), batch()
    measure = meter(Captions().eval(), gradients=gradients)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        given = measure({"pixel_values": images, **texts})
        for row in range(6):
            single = measure({"pixel_values": images[row : row + 1], **alone(texts, row)})
            torch.testing.assert_close(
                given.activations.values[row], single.activations.values[0], rtol=1e-4, atol=1e-5
            )


class Regions(Texts):
    """A text after regions of an image, each of some numbers."""

    def __init__(self) -> None:
        super().__init__(4)
        self.regions = nn.Linear(2, 4)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, regions: Tensor) -> Tensor:
        return super().forward(input_ids, attention_mask) + self.head(self.regions(regions).relu().mean(1))


@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize("count", [5, max(LENGTHS)], ids=["any", "as many as positions"])
def test_regions_of_an_image_beside_a_text_have_no_padding(count: int, gradients: bool) -> None:
    """They were cut, and their outputs too, where there were as many as the longest text has positions."""
    regions = torch.rand(6, count, 2, generator=torch.Generator().manual_seed(0))
    network, texts = Regions().eval(), batch()
    measure = meter(network, gradients=gradients)
    given = measure({**texts, "regions": regions})
    expected = network.regions(regions).flatten(1).norm(dim=1).double()
    torch.testing.assert_close(given.activations["regions", "l2"], expected.detach(), rtol=1e-4, atol=0)
    for row in range(6):
        single = measure({**alone(texts, row), "regions": regions[row : row + 1]})
        torch.testing.assert_close(given.activations.values[row], single.activations.values[0], rtol=1e-4, atol=1e-5)


class Rounded(nn.Module):
    """A network that pads its inputs to a multiple of four positions itself, as Longformer does."""

    def __init__(self) -> None:
        super().__init__()
        self.texts = Texts(4)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        more = (0, -input_ids.shape[1] % 4)
        return self.texts(nn.functional.pad(input_ids, more), nn.functional.pad(attention_mask, more))


def test_padding_that_a_network_adds_is_named_once_its_amount_varies() -> None:
    measure, padded = meter(Rounded().eval(), gradients=False), batch()
    measure({name: tensor[1:4] for name, tensor in padded.items()})  # of five and seven positions: padded to eight
    with pytest.warns(PaddingWarning, match="'texts.encoder"):
        measure({name: tensor[[0, 4], :3] for name, tensor in padded.items()})


def widened(rows: list[int]) -> dict[str, Tensor]:
    """Some texts of `batch`, and a last one, in eight positions, to which `Rounded` adds none."""
    padded = {name: nn.functional.pad(tensor[[*rows, 1]], (0, 1)) for name, tensor in batch().items()}
    padded["attention_mask"][-1] = 1
    return padded


def test_padding_that_a_network_adds_is_read_beside_a_text_that_needs_none_too() -> None:
    """Alone, a text of five positions is padded to eight as well: it was read without that beside such a text."""
    given = meter(Rounded().eval(), gradients=False)(widened([2]))
    single = meter(Rounded().eval(), gradients=False)(alone(batch(), 2))
    assert given.activations is not None
    assert single.activations is not None
    torch.testing.assert_close(given.activations.values[:1], single.activations.values, rtol=1e-4, atol=1e-5)


def test_padding_that_a_network_adds_is_named_beside_a_text_that_needs_none() -> None:
    """Alone, a text of three positions is padded to four: in this batch it is read without any padding."""
    with pytest.warns(PaddingWarning, match="'texts.encoder"):
        meter(Rounded().eval(), gradients=False)(widened([0]))
