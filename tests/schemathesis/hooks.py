"""Signs half of the requests that schemathesis makes up, as whoever knows the secret would."""

import hashlib
import hmac
import os
import zlib

import schemathesis

SECRET = os.environ["PINTLE_SECRET"].encode()
EXAMPLE = b"4f2a1c9000000000000000000000000000000042"
COMMIT = os.environ["PINTLE_COMMIT"].encode()


class Signed:
    """Signs what is really sent: the body is complete when requests calls this."""

    def __call__(self, request):
        body = request.body or b""
        if isinstance(body, str):
            body = body.encode()
        if request.method != "POST" or not isinstance(body, bytes) or zlib.crc32(body) % 2:
            return request
        # The document's example is of a commit that this repository does not have.
        if EXAMPLE in body:
            body = body.replace(EXAMPLE, COMMIT)
        request.body = body
        request.headers["Content-Length"] = str(len(body))
        request.headers["X-Hub-Signature-256"] = "sha256=" + hmac.new(SECRET, body, hashlib.sha256).hexdigest()
        if "deploy" not in request.url and zlib.crc32(body) % 3:
            request.headers["X-GitHub-Event"] = "push"
        return request


@schemathesis.hook
def before_call(context, case, kwargs):
    kwargs["auth"] = Signed()
