"""The learning rate against its closed form and against torch's own scheduler."""

import math

import pytest
import torch

from landscape.training.schedule import learning_rate_factor


def test_the_cosine_is_the_one_that_torch_computes():
    steps = 37
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    for step in range(steps):
        assert learning_rate_factor(step, steps=steps) == pytest.approx(scheduler.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        scheduler.step()


def test_the_rise_is_linear_and_ends_at_the_base_rate():
    factors = [learning_rate_factor(step, steps=20, warmup_steps=5) for step in range(20)]
    assert factors[:5] == [0.2, 0.4, 0.6, 0.8, 1.0]
    assert factors[5] == 1.0
    assert factors[5:] == sorted(factors[5:], reverse=True)


def test_half_way_down_is_one_half():
    assert learning_rate_factor(15, steps=20, warmup_steps=10) == pytest.approx(0.5)
    assert learning_rate_factor(19, steps=20) == pytest.approx((1 + math.cos(0.95 * math.pi)) / 2)


def test_a_constant_schedule_stays_after_the_rise():
    factors = [learning_rate_factor(step, steps=6, warmup_steps=2, schedule="constant") for step in range(6)]
    assert factors == [0.5, 1.0, 1.0, 1.0, 1.0, 1.0]


def test_a_linear_schedule_is_the_one_that_torch_computes():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=16)
    for step in range(4, 20):
        factor = learning_rate_factor(step, steps=20, warmup_steps=4, schedule="linear")
        assert factor == pytest.approx(scheduler.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        scheduler.step()
