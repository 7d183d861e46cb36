"""A folder over HTTP on this machine, as a plain server and as the hub."""

import hashlib
import http.server
import re
import threading
from contextlib import contextmanager
from functools import partial


class Folder(http.server.SimpleHTTPRequestHandler):
    """/OWNER/REPO/resolve/main/FILE is answered as huggingface.co does, from the folder OWNER/REPO."""

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
    """The URL of a server for the folder."""
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), partial(handler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f'http://127.0.0.1:{server.server_port}'
        server.shutdown()
        thread.join()
