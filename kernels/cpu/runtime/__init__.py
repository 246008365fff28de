"""How kernels are compiled, kept on disk and run by a team of threads; nothing here knows what they compute."""
