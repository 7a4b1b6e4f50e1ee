"""A Qdrant of its own for a test: real sockets and the requests of a real client, over the Qdrant inside this process.

It can be told to fail: each entry of `faults` is what becomes of one request, in order.
"""

import json
import re
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from qdrant_client import QdrantClient, models

from support.processes import PATIENCE


class Server:
    """One node. Nodes that share a `store` are a cluster.

    Attributes:
        faults: what becomes of the next requests: a status, "close" (no answer), "hang", "lost" (done, but no answer)
            or None (as usual); used up from the left.
        seen: (method, path, body) of all requests.
        key: the only api-key it takes; None for any.
        dead: whether it closes every connection.
    """

    def __init__(self, store=None, port=0):
        self.store = store or QdrantClient(":memory:")
        self.faults, self.seen, self.key, self.dead, self.done = [], [], None, False, threading.Event()
        self.lock = threading.Lock()
        handler = type("Handler", (Handler,), {"node": self})
        self.http = ThreadingHTTPServer(("127.0.0.1", port), handler)
        self.http.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.http.server_port}"
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()

    def sent(self, path):
        """The bodies of the requests whose path ends like this."""
        return [body for _, target, body in self.seen if target.endswith(path)]


class Handler(BaseHTTPRequestHandler):
    node: Server

    def log_message(self, *_):
        pass

    def handle_one(self):
        length = int(self.headers.get("Content-Length") or 0)
        body, path = json.loads(self.rfile.read(length) or "null"), self.path.split("?")[0]
        node = self.node
        node.seen.append((self.command, path, body))
        fault = node.faults.pop(0) if node.faults else None
        if node.dead or fault == "close":
            return self.drop()
        if fault == "hang":
            return node.done.wait(PATIENCE)
        if node.key is not None and self.headers.get("api-key") != node.key:
            return self.answer(401, {"status": {"error": "Must provide an API key"}})
        if isinstance(fault, int):
            return self.answer(fault, {"status": {"error": "Service internal error: a shard has no living replica"}})
        if fault == "html":
            return self.reply(200, b"<html>hello</html>")
        try:
            with node.lock:
                result = answer(node.store, self.command, path, body)
        except ValueError as error:
            return self.answer(404 if "not found" in str(error) else 400, {"status": {"error": str(error)}})
        if fault == "lost":
            return self.drop()
        return self.answer(200, {"result": plain(result), "status": "ok", "time": 0.001})

    do_GET = do_PUT = do_POST = do_DELETE = handle_one  # noqa: N815

    def drop(self):
        self.connection.shutdown(socket.SHUT_RDWR)

    def answer(self, status, content):
        self.reply(status, json.dumps(content).encode())

    def reply(self, status, data):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        if status == 429:
            self.send_header("Retry-After", "0")
        self.end_headers()
        self.wfile.write(data)


def plain(result):
    if isinstance(result, list):
        return [plain(item) for item in result]
    return result.model_dump(mode="json") if hasattr(result, "model_dump") else result


def answer(store, method, path, body):
    """What Qdrant answers to one request."""
    if path == "/collections":
        return store.get_collections()
    if path == "/aliases":
        return store.get_aliases()
    if path == "/collections/aliases":
        return store.update_collection_aliases(models.ChangeAliasesOperation.model_validate(body).actions)
    name, rest = re.fullmatch(r"/collections/([^/]+)(/.*)?", path).groups()
    return ANSWERS[method, rest or ""](store, name, body)


def create(store, name, body):
    request = models.CreateCollection.model_validate(body)
    vectors, codes = request.vectors, request.quantization_config
    return store.create_collection(name, vectors_config=vectors, quantization_config=codes)


def upsert(store, name, body):
    return store.upsert(name, models.PointsBatch.model_validate(body).batch)


def retrieve(store, name, body):
    return store.retrieve(name, body["ids"], with_payload=body["with_payload"], with_vectors=body["with_vector"])


def delete(store, name, body):
    kind = models.PointIdsList if "points" in body else models.FilterSelector
    return store.delete(name, kind.model_validate(body))


def count(store, name, body):
    return store.count(name, models.Filter.model_validate(body["filter"]) if body.get("filter") else None)


def query(store, name, body):
    requests = [models.QueryRequest.model_validate({**search, "params": None}) for search in body["searches"]]
    return store.query_batch_points(name, requests)


def groups(store, name, body):
    request = models.QueryGroupsRequest.model_validate(body)
    return store.query_points_groups(
        name,
        request.group_by,
        request.query,
        query_filter=request.filter,
        limit=request.limit,
        group_size=request.group_size,
        with_payload=request.with_payload,
        with_vectors=request.with_vector,
    )


ANSWERS = {
    ("GET", ""): lambda store, name, body: store.get_collection(name),
    ("GET", "/exists"): lambda store, name, body: {"exists": store.collection_exists(name)},
    ("PUT", ""): create,
    ("DELETE", ""): lambda store, name, body: store.delete_collection(name),
    ("PUT", "/index"): lambda store, name, body: {"operation_id": 0, "status": "completed"},
    ("PUT", "/points"): upsert,
    ("POST", "/points"): retrieve,
    ("POST", "/points/delete"): delete,
    ("POST", "/points/count"): count,
    ("POST", "/points/query/batch"): query,
    ("POST", "/points/query/groups"): groups,
}
