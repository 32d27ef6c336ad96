"""A server of gRPC's own Python library: the four shapes of a call, and the health check.

usage: server.py NAME

Says on which port it is, and then obeys what is said to it line by line: `sick`, `well`, `busy`
(every call is refused with UNAVAILABLE), `idle`.
"""

import sys
import time
from concurrent import futures

import grpc

name = sys.argv[1]
state = {"serving": True, "busy": False}


def whoami(context):
    """Who answers, and to whom."""
    user = dict(context.invocation_metadata()).get("user", "")
    context.set_trailing_metadata((("server", name), ("saw-user", user)))


def refuse_if_busy(context):
    if state["busy"]:
        context.abort(grpc.StatusCode.UNAVAILABLE, "busy")


def unary(request, context):
    refuse_if_busy(context)
    whoami(context)
    if request == b"slow":
        time.sleep(5)
    if request == b"fail":
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "no \u2713 here")
    return name.encode() + b":" + request


def server_stream(request, context):
    whoami(context)
    for number in range(int(request)):
        yield b"%s:%d" % (name.encode(), number)


def client_stream(requests, context):
    whoami(context)
    return b"%s:%d" % (name.encode(), sum(len(request) for request in requests))


def both(requests, context):
    whoami(context)
    for request in requests:
        yield name.encode() + b":" + request


def check(request, context):
    if request not in (b"", b"\x0a\x04shop"):
        context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
    return b"\x08\x01" if state["serving"] else b"\x08\x02"


SHOP = {
    "Unary": grpc.unary_unary_rpc_method_handler(unary),
    "ServerStream": grpc.unary_stream_rpc_method_handler(server_stream),
    "ClientStream": grpc.stream_unary_rpc_method_handler(client_stream),
    "Both": grpc.stream_stream_rpc_method_handler(both),
}
server = grpc.server(futures.ThreadPoolExecutor(16))
server.add_generic_rpc_handlers(
    (
        grpc.method_handlers_generic_handler("test.Shop", SHOP),
        grpc.method_handlers_generic_handler(
            "grpc.health.v1.Health", {"Check": grpc.unary_unary_rpc_method_handler(check)}
        ),
    )
)
print(server.add_insecure_port("127.0.0.1:0"), flush=True)
server.start()
for line in sys.stdin:
    match line.strip():
        case "sick" | "well" as word:
            state["serving"] = word == "well"
        case "busy" | "idle" as word:
            state["busy"] = word == "busy"
    print("done", flush=True)
server.stop(0)
