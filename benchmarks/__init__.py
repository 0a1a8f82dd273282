"""Side-by-side timings against peers; run each script by its name."""
