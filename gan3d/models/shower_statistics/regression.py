"""Poisson regressions: of energies and of counts, which may be zero."""

from __future__ import annotations

import numpy as np

from gan3d.models.shower_statistics.found import Array


def log_polynomial_offset(terms_nt: Array, values_n: Array, expected_n: Array) -> Array:
    """Fit values = expected * exp(terms @ coefficients) by Poisson regression; (T,)."""
    coefficients_t = np.zeros(terms_nt.shape[1])
    ridge_tt = np.eye(terms_nt.shape[1])
    for _ in range(5):
        fitted_n = expected_n * np.exp(np.clip(terms_nt @ coefficients_t, -4.0, 4.0))
        gradient_t = terms_nt.T @ (values_n - fitted_n) - coefficients_t
        hessian_tt = (terms_nt * fitted_n[:, None]).T @ terms_nt + ridge_tt
        coefficients_t = coefficients_t + np.clip(
            np.linalg.solve(hessian_tt, gradient_t), -0.5, 0.5
        )
    return coefficients_t


def log_polynomial(terms_nt: Array, values_n: Array, iterations: int = 25) -> Array:
    """Fit values = exp(terms @ coefficients) by Poisson regression (Newton's method).

    The Poisson likelihood keeps the sum of the fitted values equal to that of the data, and copes
    with zeros. Returns (T,).
    """
    scale = max(float(values_n.mean()), 1e-30)
    values_n = values_n / scale
    coefficients_t = np.zeros(terms_nt.shape[1])
    ridge_tt = 1e-6 * len(values_n) * np.eye(terms_nt.shape[1])
    for _ in range(iterations):
        fitted_n = np.exp(np.clip(terms_nt @ coefficients_t, -20.0, 20.0))
        gradient_t = terms_nt.T @ (values_n - fitted_n)
        hessian_tt = (terms_nt * fitted_n[:, None]).T @ terms_nt + ridge_tt
        step_t = np.linalg.solve(hessian_tt, gradient_t)
        coefficients_t = coefficients_t + step_t / max(1.0, float(np.abs(step_t).max()))
    coefficients_t[0] += np.log(scale)
    return coefficients_t


def log_linear(terms_nd: Array, counts_nc: Array, expected_nc: Array) -> Array:
    """Fit counts = expected * exp(terms @ coefficients) per column, (C, D)."""
    terms = terms_nd.shape[1]
    scale_d = terms_nd.std(axis=0) + 1e-6
    unit_nd = (terms_nd - terms_nd.mean(axis=0)) / scale_d
    products_nf = np.einsum("nd,nf->ndf", unit_nd, unit_nd).reshape(len(unit_nd), -1)
    ridge = 5.0
    coefficients_cd = np.zeros((counts_nc.shape[1], terms))
    for _ in range(8):
        fitted_nc = expected_nc * np.exp(np.clip(unit_nd @ coefficients_cd.T, -4.0, 4.0))
        gradient_cd = (counts_nc - fitted_nc).T @ unit_nd - ridge * coefficients_cd
        hessian_cdf = (fitted_nc.T @ products_nf).reshape(-1, terms, terms)
        hessian_cdf += ridge * np.eye(terms)
        step_cd = np.linalg.solve(hessian_cdf, gradient_cd[..., None])[..., 0]
        coefficients_cd = coefficients_cd + np.clip(step_cd, -0.5, 0.5)
    unscaled_cd: Array = coefficients_cd / scale_d
    return unscaled_cd
