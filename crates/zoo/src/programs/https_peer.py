"""PORT FILE: the peer's HTTPS server, on a kernel MPTCP socket. GET gives the file, PUT takes anything and answers
with its SHA-256."""

import hashlib
import http.server
import socket
import ssl
import sys

FILE = sys.argv[2]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, content):
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self):
        with open(FILE, "rb") as opened:
            self.answer(opened.read())

    def do_PUT(self):
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.send_response_only(100)
            self.end_headers()
        digest, left = hashlib.sha256(), int(self.headers["Content-Length"])
        while left:
            piece = self.rfile.read(min(left, 65536))
            if not piece:
                raise ConnectionError("the body ends too early")
            digest.update(piece)
            left -= len(piece)
        self.answer(digest.hexdigest().encode())


server = http.server.ThreadingHTTPServer(("", int(sys.argv[1])), Handler, bind_and_activate=False)
server.socket.close()
server.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_MPTCP)
server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("certificate", "key")
server.socket = context.wrap_socket(server.socket, server_side=True)
server.server_bind()
server.server_activate()
server.serve_forever()
