"""The rows of `run --tls`: HTTPS and HTTP/2, side by side.

Everybody speaks TLS 1.3 with the same ECDSA certificate (P-256) and, since the client chooses, with
the same key exchange and cipher. Backends are spoken to in plain HTTP/1.1, as in the other rows.

What counts is the proxy's CPU time: of a request, of a new connection with one request on it (which
is a handshake and little more), and of a MiB. On two cores the client is busier than the proxy, so
that requests and bytes a second say as much about the client.
"""

import re
import socket
import ssl
import statistics
import subprocess
import time

import __main__ as bench

SECONDS = 2  # of load a round
BULK = 1 << 20
HANDSHAKE_SECONDS = 2


def certificate(directory):
    """A certificate for the address of all proxies; also as one file with its key, for HAProxy."""
    cert, key, both = (directory / name for name in ("cert.pem", "key.pem", "both.pem"))
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout", str(key)]
    command += ["-addext", f"subjectAltName=IP:{bench.HOST}", "-out", str(cert)]
    subprocess.run(command, check=True, capture_output=True)
    both.write_text(cert.read_text() + key.read_text())
    return cert, key, both


def nginx(program, text, port, cert, key):
    version = subprocess.run([program, "-v"], capture_output=True, text=True).stderr
    numbers = tuple(int(n) for n in re.search(r"(\d+)\.(\d+)\.(\d+)", version).groups())
    as_directive = numbers >= (1, 25, 1)
    lines = f"ssl_certificate {cert}; ssl_certificate_key {key}; ssl_protocols TLSv1.3;"
    lines += " http2 on;" if as_directive else ""
    listen = f"listen {bench.HOST}:{port} ssl{'' if as_directive else ' http2'} backlog=8192;"
    return text.replace(f"listen {bench.HOST}:{port} backlog=8192;", f"{listen} {lines}")


def haproxy(text, port, both):
    bind = f"bind {bench.HOST}:{port} backlog 8192"
    tls = f"{bind} ssl crt {both} ssl-min-ver TLSv1.3 alpn h2,http/1.1"
    return text.replace(bind, tls).replace("X-Forwarded-Proto http", "X-Forwarded-Proto https")


def stickler(text, port, cert, key):
    listener = f'address = "{bench.HOST}:{port}"\n'
    pair = f'{{ cert = "{cert}", key = "{key}" }}'
    return text.replace(listener, f'{listener}tls = {{ certificates = [{pair}], min_version = "1.3" }}\n', 1)


def contestants(programs, directory, backends):
    """Name, port and command of every proxy that takes part; the files are written."""
    cert, key, both = certificate(directory)
    chosen = {name: program for name, program in programs.items() if name != "pingora"}
    found = []
    for name, port, command in bench.contestants(chosen, directory, backends, False):
        file = next(directory / part for part in map(str, command) if part.endswith(".conf"))
        text = file.read_text()
        if name == "nginx":
            text = nginx(chosen[name], text, port, cert, key)
        elif name == "haproxy":
            text = haproxy(text, port, both)
        else:
            text = stickler(text, port, cert, key)
        file.write_text(text)
        found.append((name, port, command))
    return found


# --- is it the same work? --------------------------------------------------------------------


def check_work(server, cert):
    """Ends the bench if a proxy does less than the others, or not as they do."""
    url = f"https://{bench.HOST}:{server.port}/seen"
    for option, version in (("--http1.1", "1.1"), ("--http2", "2")):
        command = ["curl", "-sS", option, "--cacert", str(cert), "-w", "version=%{http_version}", url]
        seen = subprocess.run(command, capture_output=True, text=True)
        fields = dict(line.split("=", 1) for line in seen.stdout.splitlines() if "=" in line)
        wanted = {"http_x_forwarded_for": bench.HOST, "http_x_forwarded_proto": "https"}
        wanted |= {"server_protocol": "HTTP/1.1", "version": version}
        wrong = {name for name, value in wanted.items() if fields.get(name) != value}
        if wrong or not fields.get("http_via"):
            bench.sys.exit(f"{server.name} {option}: {wrong} in {seen.stdout} {seen.stderr}")
    connection = Connections(server.port, cert)
    agreed = connection.once()
    if (agreed[0], agreed[1][0]) != ("TLSv1.3", "TLS_AES_256_GCM_SHA384"):
        bench.sys.exit(f"{server.name} agrees on {agreed}")
    connection.resumes = True
    connection.once()
    if not connection.once()[2]:
        bench.sys.exit(f"{server.name} does not resume sessions")


# --- one measurement -------------------------------------------------------------------------


class Connections:
    """New connections, one after the other, each with one request."""

    REQUEST = b"GET /100 HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"

    def __init__(self, port, cert, resumes=False):
        self.port, self.resumes, self.session = port, resumes, None
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.context.load_verify_locations(cert)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_3

    def once(self):
        plain = socket.create_connection((bench.HOST, self.port), timeout=10)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        session = self.session if self.resumes else None
        with self.context.wrap_socket(plain, server_hostname=bench.HOST, session=session) as tls:
            tls.sendall(self.REQUEST)
            answer = b""
            while piece := tls.recv(65536):
                answer += piece
            if not answer.startswith(b"HTTP/1.1 200"):
                bench.sys.exit(f"port {self.port}: {answer[:200]}")
            self.session = tls.session
            return tls.version(), tls.cipher(), tls.session_reused

    def for_a_while(self):
        """How many there were."""
        until, count, reused = time.monotonic() + HANDSHAKE_SECONDS, 0, 0
        while time.monotonic() < until:
            reused += self.once()[2]
            count += 1
        if self.resumes and reused < count * 0.95 or not self.resumes and reused:
            bench.sys.exit(f"port {self.port}: {reused} of {count} sessions were resumed")
        return count


def wrk(port, size, connections):
    headers = [f"-H{name}: {value}" for name, value in bench.BROWSER_HEADERS.items()]
    command = ["taskset", "-c", "1", "wrk", "-t1", f"-c{connections}", f"-d{SECONDS}s", *headers]
    command.append(f"https://{bench.HOST}:{port}/{size}")
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in out or "Socket errors" in out:
        bench.sys.exit(f"errors under load on port {port}:\n{out}")
    return int(re.search(r"(\d+) requests in", out)[1])


def h2load(port, size, connections, streams):
    headers = [f"-H{name}: {value}" for name, value in bench.BROWSER_HEADERS.items()]
    command = ["taskset", "-c", "1", "h2load", "-t1", f"-c{connections}", f"-m{streams}"]
    command += [f"-D{SECONDS}", "-w20", "-W22", *headers, f"https://{bench.HOST}:{port}/{size}"]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    done, failed = re.search(r"(\d+) succeeded, (\d+) failed", out).groups()
    if int(failed) or "h2" not in re.search(r"Application protocol: (\S+)", out)[1]:
        bench.sys.exit(f"errors under load on port {port}:\n{out}")
    return int(done)


# Title, what is counted, how it is put (a factor on CPU seconds each, or on their inverse), and load.
ROWS = (
    ("HTTP/1.1 over TLS, 100 B, 64 connections", "us", lambda p, c: wrk(p, 100, 64)),
    ("HTTP/2, 100 B, 8 connections of 8 streams", "us", lambda p, c: h2load(p, 100, 8, 8)),
    ("handshakes, full", "a CPU second", lambda p, c: Connections(p, c).for_a_while()),
    ("handshakes, resumed", "a CPU second", lambda p, c: Connections(p, c, True).for_a_while()),
    ("HTTP/1.1 over TLS, 1 MiB, 8 connections", "MiB a CPU second", lambda p, c: wrk(p, BULK, 8)),
    ("HTTP/2, 1 MiB, 4 connections of 2 streams", "MiB a CPU second", lambda p, c: h2load(p, BULK, 4, 2)),
)


def measure(servers, cert, load, rounds):
    """CPU seconds of one, and how many there were a second, for every server and round."""
    results = {server.name: [] for server in servers}
    for number in range(rounds):
        turn = number % len(servers)
        for server in servers[turn:] + servers[:turn]:
            before, began = server.cpu_seconds(), time.monotonic()
            count = load(server.port, cert)
            cpu = server.cpu_seconds() - before
            results[server.name].append((cpu / count, count / (time.monotonic() - began)))
    return results


def rows(programs, directory, backends, start, rounds):
    """Measures and prints all rows."""
    row = contestants(programs, directory, backends)
    cert = directory / "cert.pem"
    bench.os.sched_setaffinity(0, {1})  # whoever makes connections is not to disturb the proxy
    servers = [start(f"{name}", 0, port, command) for name, port, command in row]
    for server in servers:
        check_work(server, cert)
    measured = {}
    for title, unit, load in ROWS:
        bench.progress(title)
        results = measure(servers, cert, load, rounds)
        bench.progress("")
        measured[f"{title} ({unit})"] = report(title, unit, results)
    for server in servers:
        server.stop()
    return measured


def report(title, unit, results):
    """Medians, and each one's ratio to Stickler's."""
    put = (lambda cpu: cpu * 1e6) if unit == "us" else (lambda cpu: 1 / cpu)
    figures = {name: [put(cpu) for cpu, _ in runs] for name, runs in results.items()}
    medians = {name: statistics.median(runs) for name, runs in figures.items()}
    rates = {name: statistics.median(rate for _, rate in runs) for name, runs in results.items()}
    heading = "CPU us each" if unit == "us" else unit
    print(f"\n{title}")
    print(f"  {'':10} {heading:>16} {'ratio':>5}  {'range':>15} {'a second':>10} {'ratio':>5}")
    reported = {}
    for name, median in medians.items():
        ratio, rate = median / medians["stickler"], rates[name]
        spread = f"{min(figures[name]):.1f}-{max(figures[name]):.1f}"
        rate_ratio = rate / rates["stickler"]
        print(f"  {name:10} {median:16.1f} {ratio:5.2f}  {spread:>15} {rate:10.0f} {rate_ratio:5.2f}", flush=True)
        reported[name] = {"median": median, "ratio": ratio, "rate": rate, "rate_ratio": rate_ratio}
    return reported


def markdown(measured):
    """The same as a table for docs/performance.md."""
    names = list(next(iter(measured.values())))
    lines = ["", f"| HTTPS | {' | '.join(names)} |", f"| {' | '.join(['---'] * (len(names) + 1))} |"]
    for title, row in measured.items():
        ours = f"{row[names[0]]['median']:.1f}"
        ratios = [f"{row[name]['ratio']:.2f}" for name in names[1:]]
        lines.append(f"| {' | '.join([title, ours, *ratios])} |")
    return "\n".join(lines) + "\n"
