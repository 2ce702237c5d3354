"""Adam takes the steps that PyTorch's own takes."""

import torch

from demis_ij.nets.adam import Adam


def gradient_at(x: torch.Tensor) -> torch.Tensor:
    return torch.tensor([1.0, 10.0, 0.1]) * (x - torch.tensor([3.0, -2.0, 0.5])) + torch.sin(x)


def test_the_steps_are_those_of_pytorch():
    theirs, ours = torch.zeros(2, 3, requires_grad=True), torch.zeros(2, 3)
    adam, optimiser = Adam(ours), torch.optim.Adam([theirs], lr=0.3)
    for step in range(30):
        rate = 0.3 * (1 - step / 40)
        optimiser.param_groups[0]["lr"] = rate
        theirs.grad = gradient_at(theirs.detach())
        optimiser.step()
        ours = ours + adam.step(gradient_at(ours), rate)
    torch.testing.assert_close(ours, theirs.detach(), atol=1e-5, rtol=1e-5)
    assert ours.abs().max() > 1


def test_a_tensor_goes_on_alone_as_it_would_beside_others():
    rng = torch.Generator().manual_seed(2)
    gradients = torch.randn(6, 3, 4, generator=rng)
    alone, beside = Adam(torch.zeros(1, 4)), Adam(torch.zeros(3, 4))
    for k, gradient in enumerate(gradients):
        one = alone.step(gradient[1:2], 0.1)
        if k == 3:
            beside.keep_only([1])
        both = beside.step(gradient if k < 3 else gradient[1:2], 0.1)
        torch.testing.assert_close(both[1:2] if k < 3 else both, one)
