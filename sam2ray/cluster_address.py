"""An address of a Ray cluster -> whether one answers there, in seconds and in words.

Ray itself asks for two minutes, says so in the words of its native side, and ends the process.
"""

from __future__ import annotations

import os
import socket

import grpc

from .errors import UsageError

VARIABLE = "RAY_ADDRESS"
_ANSWERS_WITHIN_S = 5.0
_NO_ADDRESSES = ("", "auto", "local")  # Ray looks around by itself, or starts
_CLIENT = "ray://"
# Takes an empty message; whatever answers to it, a refusal too, is a Ray cluster.
_QUESTION = "/ray.rpc.NodeInfoGcsService/GetClusterId"
_SILENT = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


def require_cluster(address: str) -> None:
    """Refuse an address at which no Ray cluster answers."""
    if address in _NO_ADDRESSES:
        return
    host, port = _host_and_port(address)
    try:
        socket.create_connection((host, port), _ANSWERS_WITHIN_S).close()
    except OSError as error:
        raise refused(address, f"nothing answers there ({error.strerror or error})") from error
    # With certificates of its own it answers only to who has them, and Ray's clients speak others.
    if not address.startswith(_CLIENT) and os.environ.get("RAY_USE_TLS", "0") == "0":
        _require_ray(address, f"{host}:{port}" if ":" not in host else f"[{host}]:{port}")


def refused(address: str, why: str) -> UsageError:
    """What to say of an address."""
    return UsageError(
        f"{VARIABLE}={address}: {why}. Write the address of the head as `ray start --head` shows "
        f"it, HOST:6379 as a rule, or unset {VARIABLE} to start Ray on this machine."
    )


def _host_and_port(address: str) -> tuple[str, int]:
    if address.startswith(("http://", "https://")):
        raise refused(address, "is where jobs are submitted (`ray job submit --address`)")
    host, _, port = address.removeprefix(_CLIENT).rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 1 << 16:
        raise refused(address, "is no HOST:PORT")
    return host.strip("[]"), int(port)


def _require_ray(address: str, target: str) -> None:
    # Proxies of the web lead nowhere: nodes of a cluster see one another.
    with grpc.insecure_channel(target, [("grpc.enable_http_proxy", 0)]) as channel:
        ask = channel.unary_unary(_QUESTION)
        try:
            ask(b"", timeout=_ANSWERS_WITHIN_S)
        except grpc.RpcError as error:
            if isinstance(error, grpc.Call) and _is_foreign(error):
                raise refused(address, "what answers there is no Ray cluster") from error


def _is_foreign(answer: grpc.Call) -> bool:
    return answer.code() in _SILENT or "http2 header" in (answer.details() or "")
