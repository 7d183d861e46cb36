"""Local servers: a folder as a plain server or as the hub, and scripted unusual responses."""

import hashlib
import http.server
import re
import socket
import threading
import time
from contextlib import contextmanager
from functools import partial


class Folder(http.server.SimpleHTTPRequestHandler):
    """Serve /OWNER/REPO/resolve/main/FILE like huggingface.co, from the folder OWNER/REPO."""

    def translate_path(self, path):
        return super().translate_path(re.sub('/resolve/main/', '/', path))

    def end_headers(self):
        if '/resolve/main/' in self.path:
            self.send_header('X-Repo-Commit', '0123456789abcdef0123456789abcdef01234567')
            self.send_header('ETag', f'"{hashlib.sha256(self.path.encode()).hexdigest()}"')
            self.send_header('X-Error-Code', 'EntryNotFound')
        super().end_headers()

    def log_message(self, *_):
        pass


@contextmanager
def serve(folder, handler=Folder):
    """Serve a folder and yield the URL."""
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), partial(handler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f'http://127.0.0.1:{server.server_port}'
        server.shutdown()
        thread.join()


class Scripted:
    """A server that sends the next of its scripts to each connection, and the last one to all further ones.

    Args:
        reads: whether to read the request first.
    """

    def __init__(self, reads=True):
        self.reads = reads
        self.listener = socket.create_server(('127.0.0.1', 0))
        self.port = self.listener.getsockname()[1]
        self.url = f'http://127.0.0.1:{self.port}/net.pth'
        self.scripts, self.asked, self.times = [], [], []
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.answer, args=[connection], daemon=True).start()

    def answer(self, connection):
        with connection, connection.makefile('rb') as stream:
            lines = iter(stream.readline, b'\r\n') if self.reads else ()
            self.asked.append(b''.join(lines).decode('latin-1'))
            self.times.append(time.monotonic())
            script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
            try:
                for part in [script] if isinstance(script, bytes) else script:
                    connection.sendall(part)
            except OSError:  # the client has disconnected
                pass


def answer(body=b'', status='200 OK', **headers):
    headers = {'Content-Length': len(body)} | {
        name.replace('_', '-'): value for name, value in headers.items()
    }
    lines = [
        f'HTTP/1.1 {status}',
        *(f'{key}: {value}' for key, value in headers.items() if value is not None),
    ]
    return '\r\n'.join([*lines, '', '']).encode('latin-1') + body


def chunked(*parts):
    return answer(Transfer_Encoding='chunked', Content_Length=None) + b''.join(parts)


def dribble(data, repeat=b''):
    for i in range(len(data)):
        yield data[i : i + 1]
        time.sleep(0.02)
    while repeat:
        yield repeat
        time.sleep(0.02)


def silence():
    time.sleep(5)
    yield b''
