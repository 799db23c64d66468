"""Videos as frames: containers, packets, decoding, sampling."""
