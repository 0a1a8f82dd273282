"""The serial register: charge that is left behind, trapped, and an output that remembers."""

from __future__ import annotations

__all__ = ("add_electronics_offset", "capture_charge", "pass_trap", "transfer_charge")

import math

import numpy as np
import numpy.typing as npt

from ._sensor import SimulatedTrap

type FloatArray = npt.NDArray[np.float64]

NEGLIGIBLE_FRACTION = 1e-12
"""Fraction of a packet below which late arrivals are not followed."""


def transfer_charge(rows: FloatArray, *, inefficiency: float) -> FloatArray:
    """Shift all rows through the register to its output.

    Parameters
    ----------
    rows
        Electrons of each packet, shape (rows, columns); column 0 is at the
        output and needs one transfer, column k needs k + 1.
    inefficiency
        Fraction of the charge that each transfer leaves behind.

    Returns
    -------
    arrivals
        Electrons that each clock cycle brings out.

    Notes
    -----
    Charge that needs n transfers, each of which succeeds with probability
    1 - inefficiency, arrives d cycles late with the negative binomial
    probability C(n + d - 1, d) inefficiency**d (1 - inefficiency)**n.  This is
    what shifting the register cycle by cycle gives, in one pass per delay.
    Charge that comes later than the last cycle is lost.
    """
    if inefficiency == 0.0:
        return rows.copy()
    width = rows.shape[1]
    transfers = np.arange(1.0, width + 1.0)
    share = (1.0 - inefficiency) ** transfers
    arrivals = rows * share
    for delay in range(1, width):
        share = share * inefficiency * (transfers + delay - 1.0) / delay
        if share.max() < NEGLIGIBLE_FRACTION:
            break
        arrivals[:, delay:] += rows[:, :-delay] * share[:-delay]
    return arrivals


def capture_charge(trap: SimulatedTrap, charge: FloatArray) -> FloatArray:
    """Return what an empty trap takes from packets, in electrons: never more than there is."""
    signal = np.maximum(charge, 0.0)
    coefficients = trap.coefficients
    if trap.form == "linear":
        taken = np.minimum(trap.size, coefficients[0] * signal)
    elif trap.form == "logistic":
        midpoint, slope = coefficients
        taken = trap.size / (1.0 + np.exp(-slope * (signal - midpoint)))
    else:
        signals, charges = np.split(coefficients, 2)
        taken = np.interp(signal, signals, charges)
    return np.asarray(np.minimum(taken, signal))


def pass_trap(rows: FloatArray, trap: SimulatedTrap) -> FloatArray:
    """Return packets after a trap at the output end of the register, through which all of them pass.

    Parameters
    ----------
    rows
        Electrons of each packet in order of arrival, shape (rows, columns).
    trap
        The trap; empty before each row.

    Returns
    -------
    arrivals
        Electrons of each packet behind the trap.

    Notes
    -----
    Between two packets the trap releases all but ``exp(-1 / emission time)``
    of its charge, which the next packet takes along.  That packet then fills
    the trap up to what an empty trap would take of it.
    """
    kept = math.exp(-1.0 / trap.emission_time_px)
    held = np.zeros(rows.shape[0])
    # Columns are contiguous in the transpose: each cycle is one pass of memory.
    packets = np.ascontiguousarray(rows.T)
    for cycle in range(len(packets)):
        packet = packets[cycle]
        released = held * (1.0 - kept)
        held -= released
        captured = np.maximum(capture_charge(trap, packet) - held, 0.0)
        held += captured
        packet += released - captured
    return np.ascontiguousarray(packets.T)


def add_electronics_offset(rows: FloatArray, *, scale: float, decay_time_px: float) -> FloatArray:
    """Return packets with the offset that bright ones leave in the output amplifier.

    Parameters
    ----------
    rows
        Electrons of each packet in order of arrival, shape (rows, columns).
    scale
        Fraction of a packet that the offset rises to.
    decay_time_px
        Decay time of the offset in transfers.

    Returns
    -------
    signals
        Packets plus the offset at their time.
    """
    kept = math.exp(-1.0 / decay_time_px)
    offset = np.zeros(rows.shape[0])
    packets = np.ascontiguousarray(rows.T)
    for cycle in range(len(packets)):
        packet = packets[cycle]
        offset = np.maximum(offset * kept, scale * np.maximum(packet, 0.0))
        packet += offset
    return np.ascontiguousarray(packets.T)
