"""Re-creation of processed images from raws and what the original processing persisted."""
