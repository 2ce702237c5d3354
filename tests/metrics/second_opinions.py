"""The picture measures once more, written from their papers with numpy alone: what the libraries are held against."""

from __future__ import annotations

from math import pi

import cv2
import numpy as np
from scipy import optimize
from scipy.special import gamma


def ssim_by_equations(one, two, mask=None):
    """Wang et al. 2004, equations 13 to 17, window by window as matrices."""
    side, sigma = 11, 1.5
    x = np.arange(side) - side // 2
    kernel = np.exp(-(x**2) / (2 * sigma**2))
    kernel = np.outer(kernel, kernel) / kernel.sum() ** 2
    first, second = (np.lib.stride_tricks.sliding_window_view(np.float64(p), (side, side)) for p in (one, two))
    means = [np.einsum("ijkl,kl", p, kernel) for p in (first, second)]
    spread = [np.einsum("ijkl,kl", p**2, kernel) - m**2 for p, m in zip((first, second), means, strict=True)]
    shared = np.einsum("ijkl,kl", first * second, kernel) - means[0] * means[1]
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    value = (2 * means[0] * means[1] + c1) * (2 * shared + c2)
    value /= (means[0] ** 2 + means[1] ** 2 + c1) * (spread[0] + spread[1] + c2)
    if mask is None:
        return value.mean()
    return value[np.lib.stride_tricks.sliding_window_view(mask, (side, side)).all((2, 3))].mean()


def _phase_congruency(image, scales=4, turns=4, shortest=6.0, ratio=2.0, spread=0.55):
    """Kovesi's phase congruency with the constants of Zhang et al. 2011."""
    rows, cols = image.shape
    y, x = np.meshgrid(np.fft.fftfreq(rows), np.fft.fftfreq(cols), indexing="ij")
    radius, theta = np.hypot(x, y), np.arctan2(-y, x)
    radius[0, 0] = 1
    low_pass = 1 / (1 + (np.hypot(x, y) / 0.45) ** 30)
    bands = []
    for s in range(scales):
        log_gabor = np.exp(-(np.log(radius * shortest * ratio**s) ** 2) / (2 * np.log(spread) ** 2)) * low_pass
        log_gabor[0, 0] = 0
        bands.append(log_gabor)
    seen, energy_all, amplitude_all = np.fft.fft2(image), 0.0, 0.0
    for o in range(turns):
        angle = o * pi / turns
        away = np.abs(np.angle(np.exp(1j * (theta - angle))))
        spectra = [b * np.exp(-(away**2) / (2 * (pi / turns / 1.2) ** 2)) for b in bands]
        answers = np.array([np.fft.ifft2(seen * f) for f in spectra])
        total = answers.sum(0)
        unit = total / (np.abs(total) + 1e-4)
        along = np.real(answers * np.conj(unit)) - np.abs(np.imag(answers * np.conj(unit)))
        kernels = [np.real(np.fft.ifft2(f)) * np.sqrt(rows * cols) for f in spectra]
        power = np.median(np.abs(answers[0]) ** 2) / np.log(2) / (spectra[0] ** 2).sum()
        crossed = sum((kernels[i] * kernels[j]).sum() for i in range(scales) for j in range(i + 1, scales))
        noise2 = 2 * power * sum((k**2).sum() for k in kernels) + 4 * power * crossed
        tau = np.sqrt(noise2 / 2)
        threshold = (tau * np.sqrt(pi / 2) + 2 * np.sqrt((2 - pi / 2) * tau**2)) / 1.7
        energy_all = energy_all + np.maximum(along.sum(0) - threshold, 0)
        amplitude_all = amplitude_all + np.abs(answers).sum(0)
    return energy_all / amplitude_all


def fsim_by_equations(one, two):
    """Zhang et al. 2011, equations 3 to 7, of grey pictures, 0 to 255."""
    factor = max(1, round(min(one.shape) / 256))
    rows, cols = (n // factor for n in one.shape)
    small = [
        np.float64(p)[: rows * factor, : cols * factor].reshape(rows, factor, cols, factor).mean((1, 3))
        for p in (one, two)
    ]
    scharr = np.array([[3, 0, -3], [10, 0, -10], [3, 0, -3]]) / 16
    steep = [
        np.hypot(*(cv2.filter2D(p, -1, k, borderType=cv2.BORDER_CONSTANT) for k in (scharr, scharr.T))) for p in small
    ]
    phases = [_phase_congruency(p) for p in small]

    def alike(a, b, constant):
        return (2 * a * b + constant) / (a**2 + b**2 + constant)

    weight = np.maximum(*phases)
    return (alike(*phases, 0.85) * alike(*steep, 160.0) * weight).sum() / weight.sum()


def _asymmetric(values):
    """Shape, left and right variance of an asymmetric generalised Gaussian, by moments (Lasmar et al. 2009)."""
    left, right = (np.mean(values[side] ** 2) for side in (values < 0, values >= 0))
    g = np.sqrt(left / right)
    wanted = np.mean(np.abs(values)) ** 2 / np.mean(values**2) * (g**3 + 1) * (g + 1) / (g**2 + 1) ** 2
    shape = optimize.brentq(lambda a: gamma(2 / a) ** 2 / (gamma(1 / a) * gamma(3 / a)) - wanted, 0.1, 10)
    return shape, left, right


def brisque_features_by_equations(image):
    """Mittal et al. 2012, section III: 18 numbers at each of two scales, of grey values 0 to 255."""
    x = np.arange(7) - 3
    window = np.exp(-(x**2) / (2 * (7 / 6) ** 2))
    window /= window.sum()
    out = []
    for level in (image, cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_CUBIC)):
        blur = [cv2.sepFilter2D(p, -1, window, window, borderType=cv2.BORDER_CONSTANT) for p in (level, level**2)]
        m = (level - blur[0]) / (np.sqrt(np.abs(blur[1] - blur[0] ** 2)) + 1)
        shape, left, right = _asymmetric(m.ravel())
        out += [shape, (left + right) / 2]
        for product in (m[:, :-1] * m[:, 1:], m[:-1] * m[1:], m[:-1, :-1] * m[1:, 1:], m[1:, :-1] * m[:-1, 1:]):
            shape, left, right = _asymmetric(product.ravel())
            mean = (right**0.5 - left**0.5) * gamma(2 / shape) / np.sqrt(gamma(1 / shape) * gamma(3 / shape))
            out += [shape, mean, left, right]
    return np.array(out)


def svr_by_hand(model_file, features):
    """The answer of a libsvm regression with a Gaussian kernel, from its text file."""
    head, _, body = model_file.read_text().partition("SV\n")
    told = dict(line.split(" ", 1) for line in head.splitlines())
    rows = [line.split() for line in body.splitlines() if line.strip()]
    weight = np.array([float(r[0]) for r in rows])
    support = np.zeros((len(rows), len(features)))
    for i, row in enumerate(rows):
        for item in row[1:]:
            column, value = item.split(":")
            support[i, int(column) - 1] = float(value)
    kernel = np.exp(-float(told["gamma"]) * ((support - features) ** 2).sum(1))
    return float(weight @ kernel - float(told["rho"].split()[0]))


def error_auc_as_loftr_reports_it(errors, thresholds):
    """The definition of SuperGlue and LoFTR: recall over sorted errors, cut at the threshold, by the trapezoid rule."""
    errors = [0.0, *sorted(errors)]
    recall = [i / (len(errors) - 1) for i in range(len(errors))]
    out = []
    for threshold in thresholds:
        last = sum(e < threshold for e in errors)
        y = [*recall[:last], recall[last - 1]]
        x = [*errors[:last], threshold]
        area = sum((y[i] + y[i + 1]) / 2 * (x[i + 1] - x[i]) for i in range(len(x) - 1))
        out.append(area / threshold)
    return out
