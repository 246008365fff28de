"""The reference backend: plain NumPy, written to be read and compared with."""
