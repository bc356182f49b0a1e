"""Convert between the call and the core: audio in, audio out, video."""
