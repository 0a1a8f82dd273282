"""Compiled inner loops: plain arrays and scalars in and out.

Nothing is imported here, so that the rest of the library pays for numba only
where it calls a kernel.
"""
