"""Local servers that offer weights as a plain site or the Hugging Face Hub does, with adjustable faults."""

import hashlib
import http.server
import re
import threading
import time
from contextlib import contextmanager

NOISE = bytes(range(256)) * 1024
BODY = b'\x80\x02' + NOISE  # starts like the oldest checkpoints of torch
HALF = len(BODY) // 2
OTHER = b'\x80\x02' + NOISE[::-1]
DIGEST = hashlib.sha256(BODY).hexdigest()[:8]


class Handler(http.server.BaseHTTPRequestHandler):
    timeout = 10

    def log_message(self, *_):
        pass

    def answer(self, status, body=b'', **headers):
        self.send_response(status)
        for name, value in headers.items():
            if value is not None:
                self.send_header(name.replace('_', '-'), str(value))
        self.end_headers()
        if self.command != 'HEAD':
            self.wfile.write(body)


class Site(Handler):
    """Serve one file under every path; ``site`` controls how, and records requests and responses."""

    def do_GET(self):
        site = self.server.site
        site.asked.append((self.path, self.headers['Range'], self.headers['If-Range']))
        if site.statuses:
            self.answer(site.statuses.pop(0), Content_Length=0)
            return
        time.sleep(site.delay)
        body, version = site.body, dict(ETag=site.etag, Last_Modified=site.modified)
        wanted = re.fullmatch(r'bytes=(\d+)-', self.headers['Range'] or '')
        same = self.headers['If-Range'] in version.values() or not site.knows_if_range
        start = int(wanted[1]) if wanted and site.knows_ranges and same else 0
        if start > len(body):
            self.answer(416, Content_Range=f'bytes */{len(body)}', Content_Length=0)
            return
        start += site.shift if start else 0
        content = body[start:]
        # The announced length is correct, but the connection breaks.
        sent = content[: len(content) // 2] if site.drops else content
        content_range = f'bytes {start}-{len(body) - 1}/{len(body)}' if start else None
        length = len(content) if site.tells_length else None
        site.sent += len(sent)  # before sending: the client may send its next request at once
        self.answer(
            206 if start else 200, sent, Content_Range=content_range, Content_Length=length, **version
        )
        if site.drops:
            site.drops -= 1
            vars(site).update(site.after_a_drop)
            self.wfile.flush()
            site.lose(self.connection)


class Hub(Handler):
    """Serve files like huggingface.co, as far as downloads need it."""

    def do_GET(self):
        site = self.server.site
        site.asked.append((self.command, self.path))
        name = self.path.removeprefix('/owner/net/resolve/main/')
        commit = dict(X_Repo_Commit='0123456789abcdef0123456789abcdef01234567')
        if site.refuses:
            self.answer(403, X_Error_Code='GatedRepo', Content_Length=0)
        elif site.is_no_hub:
            self.answer(200, b'log in', Content_Length=6)
        elif name not in site.files:
            self.answer(404, X_Error_Code='EntryNotFound', Content_Length=0, **commit)
        else:
            body = site.files[name]
            etag = f'"{hashlib.sha256(body).hexdigest()}"'
            self.answer(200, body, ETag=etag, Content_Length=len(body), **commit)

    do_HEAD = do_GET


class State:
    """The behavior of a server, which each test adjusts."""

    def __init__(self, port):
        self.host = f'127.0.0.1:{port}'
        self.url = f'http://{self.host}'
        self.asked = []
        # for Site
        self.body, self.etag, self.modified = BODY, '"1"', None
        self.statuses = []  # of the first responses
        self.drops = 0  # responses that end halfway
        self.after_a_drop = {}  # attributes that change then
        self.lose = lambda connection: None  # breaks a connection
        self.knows_ranges = self.knows_if_range = self.tells_length = True
        self.shift = 0  # bytes between the requested and the sent range
        self.delay = 0  # seconds before a response
        self.sent = 0  # bytes so far
        # for Hub
        self.files = {}
        self.refuses = self.is_no_hub = False


@contextmanager
def served(handler):
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as httpd:
        httpd.site = State(httpd.server_port)
        thread = threading.Thread(target=httpd.serve_forever, kwargs=dict(poll_interval=0.01))
        thread.start()

        def stop():
            httpd.shutdown()
            httpd.server_close()
            thread.join()

        httpd.site.stop = stop
        yield httpd.site
        stop()


def kept(home):
    """Return the files that count as downloaded."""
    return [
        file.name
        for file in home.rglob('checkpoints/*')
        if file.suffix not in ('.part', '.version', '.lock', '.sha256')
    ]


def begun(home):
    return [file for file in home.rglob('checkpoints/*.part*') if file.is_file()]
