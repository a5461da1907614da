"""When two ways to compute the same give the same: up to rounding, which differs from processor to processor."""

import torch


def assert_near(found, expected, scale=None):
    """Assert that tensors agree in half of the digits of their type, counted from the largest value.

    Rounding costs the other half, or less: about eight digits in double precision, where what is really different shows
    in the first ones. `scale` is the largest value where that of `expected` does not tell, as where all is nearly zero.
    Batch norms in training mode have to have 16 values or more to average over, in split attention that many images:
    over two, whatever was nearly equal comes out as 1 and -1, and rounding with it.
    """
    largest = float(expected.detach().abs().max()) if scale is None else scale
    assert largest > 0
    allowed = largest * torch.finfo(expected.dtype).eps ** 0.5
    torch.testing.assert_close(found, expected, rtol=0, atol=allowed)
