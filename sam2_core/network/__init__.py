"""The SAM 2 network: an encoder, a mask decoder, and a memory between frames."""
