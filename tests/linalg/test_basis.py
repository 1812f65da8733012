"""The basis of a Lanczos search on spectra that are known to spoil it."""

import problems
import pytest
import torch

from landscape.linalg import dense
from landscape.linalg.basis import Basis
from landscape.linalg.lanczos import step, tridiagonal

SIZE, STEPS = 120, 90


def copies(*values: float) -> torch.Tensor:
    return torch.tensor(values).double().repeat_interleave(SIZE // len(values))


SPECTRA = {
    "sixteen decades": torch.logspace(8, -8, SIZE).double(),
    "nine above a bulk": torch.cat([torch.logspace(8, 0, 9), torch.linspace(-1, 1, SIZE - 9)]).double(),
    "cluster": torch.cat([torch.linspace(1, 1 + 1e-6, 30), 1e-3 * torch.linspace(-1, 1, SIZE - 30)]).double(),
    "copies": copies(5, 2, -5, 1e-8),
    "both signs": torch.cat([torch.linspace(0.1, 1, SIZE // 2), -torch.linspace(0.1, 1, SIZE // 2)]).double(),
    "rank ten": torch.cat([torch.linspace(1, 3, 10), torch.zeros(SIZE - 10)]).double(),
    "far from zero": 1e4 + torch.linspace(0, 1, SIZE).double(),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", SPECTRA)
def test_the_basis_stays_orthonormal_and_has_no_ghosts(
    name: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ghost would be a Ritz value beyond the eigenvalue of its number, which for orthonormal rows cannot be."""
    passes = []
    removed = Basis._removed
    monkeypatch.setattr(Basis, "_removed", lambda basis, head: passes.append(1) or removed(basis, head))
    spectrum = SPECTRA[name].sort(descending=True).values
    q = problems.orthogonal(SIZE)
    a = dense((q @ torch.diag(spectrum) @ q.T).to(dtype))
    basis, diagonal, off = Basis(a, STEPS), list[float](), list[float]()
    basis.head = torch.randn(SIZE, generator=torch.Generator().manual_seed(0)).to(dtype)
    basis.append(float(basis.head.norm()))
    scale = float(spectrum.abs().max())
    while basis.rows < STEPS:
        result = step(a, basis, basis.rows - 1, {basis.rows - 2: off[-1]} if off else {})
        diagonal.append(result.alpha)
        if result.beta <= 1e-13 * scale:
            break
        off.append(result.beta)
        basis.append(result.beta)
    rows = torch.stack([basis[k] for k in range(basis.rows)]).double()
    eps = torch.finfo(dtype).eps
    assert float((rows @ rows.T - torch.eye(len(rows))).abs().max()) <= 16 * eps
    ritz = torch.linalg.eigvalsh(torch.from_numpy(tridiagonal(diagonal, off[: len(diagonal) - 1]))).flip(0)
    slack = 64 * eps * scale
    assert bool((ritz <= spectrum[: len(ritz)] + slack).all())
    assert bool((ritz >= spectrum[-len(ritz) :] - slack).all())
    if dtype == torch.float64:  # where nothing is lost; two passes for each image would be twice as many
        assert len(passes) <= len(diagonal) + 1


def test_what_is_combined_and_kept_is_the_same_in_one_block_of_rows_and_in_several(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    a, results = dense(torch.eye(40).double()), []
    rows, factors = problems.orthogonal(40)[:11], problems.orthogonal(11, seed=1)[:6]
    for limit in (1 << 26, 1):
        monkeypatch.setattr("landscape.linalg.basis.BLOCK_BYTES", limit)
        basis = Basis(a, 12)
        for row in rows:
            basis.head = 3 * row
            basis.append(3)
        basis.head = torch.arange(40).double()
        _, left, coefficients = basis.orthogonalise()
        combined = basis.combined(factors.T.numpy())
        basis.recombine(factors.numpy())
        assert basis.rows == 6
        kept = torch.stack([basis[k] for k in range(6)])
        assert torch.allclose(kept, factors @ rows, atol=1e-14)
        assert torch.allclose(combined, kept.T, atol=1e-14)
        results.append((left, *coefficients.tolist(), *combined.flatten().tolist()))
    assert results[0] == pytest.approx(results[1], rel=1e-12, abs=1e-13)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_vector_within_the_basis_leaves_a_direction_orthogonal_to_it(dtype: torch.dtype) -> None:
    a, basis = dense(torch.eye(30, dtype=dtype)), Basis(dense(torch.eye(30, dtype=dtype)), 10)
    for row in problems.orthogonal(30)[:8]:
        basis.head = row
        basis.append(1.0)
    inside = sum(basis[k] for k in range(8))
    basis.head = inside + torch.finfo(dtype).eps * torch.ones(30, dtype=dtype)
    _, left, coefficients = basis.orthogonalise()
    assert coefficients.tolist() == pytest.approx([1.0] * 8, rel=1e-5)
    head = basis.head / left
    assert max(abs(float(basis[k] @ head)) for k in range(8)) <= 8 * torch.finfo(a.dtype).eps
