"""The moving average of weights."""

import torch

from twfer_dist.training.averaging import averaged_copy, update_average


def test_the_average_follows_the_weights() -> None:
    linear, norm = torch.nn.Linear(1, 1), torch.nn.BatchNorm1d(1)
    network = torch.nn.Sequential(linear, norm)
    average = averaged_copy(network)
    values = average.state_dict()
    torch.nn.init.constant_(linear.weight, 0.0)
    first = expected = float(values["0.weight"])
    for update in range(200):
        update_average(average, network, 0.9, update)
        expected *= min(0.9, (1 + update) / (10 + update))
        assert abs(float(values["0.weight"]) - expected) < 1e-6
    assert abs(expected) < 1e-6 * abs(first)
    network(torch.tensor([[1.0], [5.0]]))
    update_average(average, network, 0.5, 1000)
    assert int(values["1.num_batches_tracked"]) == 1
    assert float(values["1.running_mean"]) == float(network.state_dict()["1.running_mean"]) / 2
