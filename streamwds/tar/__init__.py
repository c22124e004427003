"""Bytes to samples and back: headers, members, samples, and the writer. No decoding in this room."""
