"""The peers that measurements stand beside: nginx, PostgreSQL, and a client that discards what it receives.

The servers are Debian's own (tools/install-packages bench), started here with folders and ports of their own.
"""

import os
import shutil
import signal
import socket
import ssl
import subprocess
import time

WAIT_SECONDS = 30


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_port(port, process, what):
    end = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"{what} did not start") from None
            time.sleep(0.01)


class Nginx:
    """One worker; files of `root` below /files/, and /status, which returns `status_body` with `status_fields`."""

    CONFIG = """
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log;
daemon off;
events {{ worker_connections 1024; }}
http {{
    access_log {folder}/access.log combined buffer=64k;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 100000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    geo $dollar {{ default "$"; }}
    types {{ application/fhir+ndjson ndjson gz; }}
    server {{
        listen 127.0.0.1:{plain};
        listen 127.0.0.1:{tls} ssl;
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        ssl_protocols TLSv1.3;
        location /files/ {{ alias {root}/; }}
        location /status {{
            default_type application/json;
            {fields}
            return 200 '{body}';
        }}
    }}
}}
"""

    def __init__(self, folder, root, certificate, key, status_fields=(), status_body=""):
        self.plain, self.tls = free_port(), free_port()
        os.makedirs(folder, exist_ok=True)
        config = os.path.join(folder, "nginx.conf")
        if "'" in status_body:
            raise ValueError("the status body cannot be quoted for nginx")
        status_body = status_body.replace("$", "${dollar}")  # nginx knows no other way to write one
        fields = " ".join(f'add_header {name} "{value}";' for name, value in status_fields)
        with open(config, "w", encoding="utf-8") as file:
            file.write("user root;" if os.geteuid() == 0 else "")
            file.write(self.CONFIG.format(folder=folder, root=root, plain=self.plain, tls=self.tls,
                                          certificate=certificate, key=key, fields=fields, body=status_body))
        self.process = subprocess.Popen([shutil.which("nginx", path="/usr/sbin:" + os.environ["PATH"]), "-p", folder,
                                         "-c", config], stdin=subprocess.DEVNULL)
        wait_for_port(self.plain, self.process, "nginx")
        self.pid = self.process.pid

    def base(self, tls):
        return f"https://127.0.0.1:{self.tls}" if tls else f"http://127.0.0.1:{self.plain}"

    def close(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(WAIT_SECONDS)


def let_through(folder):
    """Lets other users pass, though not look, on the way to a folder of ours."""
    while not os.path.ismount(folder):
        mode = os.stat(folder).st_mode
        if not mode & 0o001:
            os.chmod(folder, (mode & 0o7777) | 0o011)
        folder = os.path.dirname(folder)


class Postgres:
    """A cluster of its own with its defaults (fsync on), 1 GB of shared buffers; as the user postgres when we are root."""

    def __init__(self, folder):
        self.folder, self.port = folder, free_port()
        self.bin = max((os.path.join("/usr/lib/postgresql", version, "bin")
                        for version in os.listdir("/usr/lib/postgresql")), key=lambda path: float(path.split("/")[4]))
        os.makedirs(folder, exist_ok=True)
        self.as_user = []
        if os.geteuid() == 0:
            self.as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"]
            let_through(os.path.dirname(folder))
            shutil.chown(folder, "postgres", "postgres")
        self.data = os.path.join(folder, "data")
        self.run([os.path.join(self.bin, "initdb"), "-D", self.data, "-A", "trust", "-U", "postgres", "-E", "UTF8"])
        self.process = subprocess.Popen(
            [*self.as_user, os.path.join(self.bin, "postgres"), "-D", self.data, "-p", str(self.port), "-k", folder,
             "-c", "listen_addresses=127.0.0.1", "-c", "shared_buffers=1GB", "-c", "max_wal_size=16GB",
             "-c", "logging_collector=off"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder)
        wait_for_port(self.port, self.process, "PostgreSQL")

    def run(self, command, **options):
        done = subprocess.run([*self.as_user, *command], capture_output=True, text=True, check=False, cwd=self.folder,
                              env=dict(os.environ, LC_ALL="C"), **options)
        if done.returncode != 0:
            raise AssertionError(f"{command}: {done.stdout}{done.stderr}")
        return done.stdout

    def sql(self, text):
        """Runs commands, one transaction each; gives what they print."""
        return self.run([os.path.join(self.bin, "psql"), "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "-qAtX",
                         "-v", "ON_ERROR_STOP=1", "-f", "-"], input=text)

    def close(self):
        self.process.send_signal(signal.SIGINT)
        self.process.wait(WAIT_SECONDS)


# ---- a client that is never the slower side ----------------------------------------------------------------

BUFFER = bytearray(1 << 22)


def discard(host, port, request, tls_context=None):
    """Sends a request that ends its connection, and throws the answer away unread: over TLS without decrypting
    it. Gives (bytes received, cipher). The caller knows how many there must be at least."""
    connection = socket.create_connection((host, port))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    cipher = None
    if tls_context:
        wrapped = tls_context.wrap_socket(connection, server_hostname=host)
        cipher = wrapped.cipher()[0]
        wrapped.sendall(request)
        connection = socket.socket(fileno=wrapped.detach())
    else:
        connection.sendall(request)
    received = 0
    with connection:
        connection.setblocking(True)
        while True:
            got = connection.recv_into(BUFFER)
            if not got:
                return received, cipher
            received += got


def tls_client(certificate):
    context = ssl.create_default_context(cafile=certificate)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context
