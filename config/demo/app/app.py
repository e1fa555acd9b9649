"""The demo's services: what they are asked, and by whom they are answered."""

import json
import os
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path.startswith("/ticks"):
            self.ticks()
        else:
            self.answer({
                "greeting": os.environ.get("GREETING"),
                "service": os.environ.get("CS_SERVER"),
                "replica": os.environ.get("CS_REPLICA"),
                "path": self.path,
                "time": time.strftime("%H:%M:%S"),
            })

    def do_POST(self):
        length = int(self.headers.get("Content-Length", 0))
        self.answer({"service": os.environ.get("CS_SERVER"), "received": len(self.rfile.read(length))})

    def answer(self, value):
        body = (json.dumps(value) + "\n").encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def ticks(self):
        """Server-sent events for as long as somebody listens: an open stream is use."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        try:
            while True:
                self.wfile.write(f"data: {time.strftime('%H:%M:%S')}\n\n".encode())
                self.wfile.flush()
                time.sleep(1)
        except OSError:
            pass  # The listener left.

    def log_message(self, format, *args):
        print(format % args, flush=True)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


if __name__ == "__main__":
    server = Server(("127.0.0.1", int(os.environ["PORT"])), Handler)
    print(f"listening on {server.server_port}", flush=True)
    server.serve_forever()
