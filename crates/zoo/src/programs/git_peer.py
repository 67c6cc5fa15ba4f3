"""PORT FOLDER: the peer's Git server: the smart HTTP protocol, on a kernel MPTCP socket."""

import gzip
import http.server
import os
import socket
import subprocess
import sys
import urllib.parse

FOLDER = sys.argv[2]
SERVICES = ("git-upload-pack", "git-receive-pack")


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def git(self, service, repository, *options, **input):
        words = ["git", service.removeprefix("git-"), "--stateless-rpc", *options, repository]
        environment = dict(os.environ, GIT_PROTOCOL=self.headers.get("Git-Protocol", ""))
        return subprocess.run(words, stdout=subprocess.PIPE, env=environment, **input).stdout

    def answer(self, kind, content):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Cache-Control", "no-cache")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def body(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            content = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                content += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            content = self.rfile.read(int(self.headers["Content-Length"]))
        return gzip.decompress(content) if self.headers.get("Content-Encoding") == "gzip" else content

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        service = urllib.parse.parse_qs(url.query).get("service", [""])[0]
        if not url.path.endswith("/info/refs") or service not in SERVICES:
            return self.send_error(404)
        title = f"# service={service}\n"
        refs = self.git(service, FOLDER + url.path.removesuffix("/info/refs"), "--advertise-refs")
        self.answer(f"application/x-{service}-advertisement", f"{len(title) + 4:04x}{title}0000".encode() + refs)

    def do_POST(self):
        repository, _, service = self.path.rpartition("/")
        if service not in SERVICES:
            return self.send_error(404)
        result = self.git(service, FOLDER + repository, input=self.body())
        self.answer(f"application/x-{service}-result", result)


server = http.server.ThreadingHTTPServer(("", int(sys.argv[1])), Handler, bind_and_activate=False)
server.socket.close()
server.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_MPTCP)
server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.server_bind()
server.server_activate()
server.serve_forever()
