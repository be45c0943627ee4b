"""Containers of video, walked without decoding: where a file stops being what it says it is."""
