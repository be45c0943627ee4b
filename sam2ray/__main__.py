"""`python -m sam2ray` is the command `sam2ray`."""

from .cli import main

main()
