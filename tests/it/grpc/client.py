"""A client of gRPC's own Python library.

usage: client.py ADDRESS WHAT [...]

What it finds it prints, for the test to judge.
"""

import sys
import time

import grpc

address, what, *rest = sys.argv[1:]
channel = grpc.insecure_channel(address)
unary = channel.unary_unary("/test.Shop/Unary")
server_stream = channel.unary_stream("/test.Shop/ServerStream")
client_stream = channel.stream_unary("/test.Shop/ClientStream")
both = channel.stream_stream("/test.Shop/Both")


def name_of(answer):
    return answer.decode().split(":")[0]


def status_of(call):
    try:
        call()
    except grpc.RpcError as error:
        return f"{error.code().name} {error.details()}"
    return "OK"


def shapes():
    """The four shapes of a call, and how one fails."""
    answer, call = unary.with_call(b"hello")
    assert answer.endswith(b":hello"), answer
    assert dict(call.trailing_metadata())["server"] == name_of(answer)
    assert len(unary(b"x" * 3_000_000)) > 3_000_000
    numbers = [answer.split(b":")[1] for answer in server_stream(b"500")]
    assert numbers == [b"%d" % number for number in range(500)], numbers
    answer = client_stream(iter([b"x" * 1000] * 200))
    assert answer.endswith(b":200000"), answer

    answered = []

    def one_at_a_time():
        """Asks only when the question before has been answered."""
        for number in range(20):
            while len(answered) < number:
                time.sleep(0.001)
            yield b"%d" % number

    for answer in both(one_at_a_time()):
        answered.append(answer)
    assert [answer.split(b":")[1] for answer in answered] == [b"%d" % n for n in range(20)]
    assert len({answer.split(b":")[0] for answer in answered}) == 1, "a stream stays where it is"
    print(status_of(lambda: unary(b"fail")))
    endless = both(iter([b"a"]))
    next(endless)
    endless.cancel()
    print("shapes are right")


def names():
    """Who answers calls, with these metadata."""
    metadata = [tuple(pair.split("=")) for pair in rest[1:]]
    print(*(name_of(unary(b"x", metadata=metadata)) for _ in range(int(rest[0]))))


def status():
    """What calls end with."""
    print(*(status_of(lambda: unary(b"x", timeout=10)) for _ in range(int(rest[0]))), sep="\n")


{"shapes": shapes, "names": names, "status": status}[what]()
