"""Receives a Hookline server's events: verifies them, handles each once and in the order of its stream, and knows what is missing.

    WEBHOOK_SECRETS="whsec_… whsec_…" python3 receiver.py 9000 state.db

with the hook.on_* URLs of the server set to http://127.0.0.1:9000/. Python 3.9 or later, nothing else. Python has no ed25519 of
its own: sign with a whsec_ secret (v1); a request that is signed with v1a only is refused. "receiver.py check FILE" says which
vectors of event/testdata/webhook-signatures.json are authentic.
"""
import base64, hashlib, hmac, json, os, re, sqlite3, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BODY_LIMIT, MAX_RUNS = 4 << 20, 256
TABLES = """CREATE TABLE IF NOT EXISTS marks (source TEXT, stream TEXT, mark TEXT, PRIMARY KEY (source, stream));
CREATE TABLE IF NOT EXISTS publications (id TEXT, stream TEXT, start INTEGER, "end" INTEGER, reason TEXT);
CREATE TABLE IF NOT EXISTS missing (stream TEXT, first INTEGER, last INTEGER, reason TEXT);"""

# What is asked gets an answer of its own. A question that is not here is refused.
DECISIONS = {
    "on_publish": lambda body: {"code": 0},
    "on_play": lambda body: {"code": 0},
    "on_stream_none_reader": lambda body: {"code": 0, "close": False},
    "on_server_keepalive": lambda body: {"code": 0},
}

def handle(db, event, body, late):
    """Your effects, in the transaction that writes the mark: both are there, or none."""
    if event["type"] == "on_publication_ended":
        db.execute("INSERT INTO publications VALUES (?, ?, ?, ?, ?)",
                   (event.get("publication"), event["stream"], body.get("start"), body.get("end"), body.get("reason")))

def authentic(headers, body, keys, now, tolerance=300):
    """Standard Webhooks 1.0.0, v1. headers has lower-case names, body is bytes as they came."""
    ident, stamp, given = (headers.get("webhook-" + h) or "" for h in ("id", "timestamp", "signature"))
    if not re.fullmatch(r"[!-\-/-~]{1,256}", ident) or not re.fullmatch(r"0|[1-9][0-9]{0,10}", stamp):
        return False
    signatures = given.split(" ")
    if abs(now - int(stamp)) > tolerance or len(given) > 4096 or len(signatures) > 16:
        return False
    good = False
    for key in (k for k in keys if k.startswith("whsec_")):
        mac = hmac.new(base64.b64decode(key[6:]), f"{ident}.{stamp}.".encode() + body, hashlib.sha256)
        for s in signatures:
            good |= hmac.compare_digest(s.encode(), b"v1," + base64.b64encode(mac.digest()))
    return good

def skip(m, to):
    """Moves the mark over what was not handled, and remembers the run: it may come late."""
    if to > m["seq"]:
        begin = m["unseen"].pop()[0] if m["unseen"] and m["unseen"][-1][1] == m["seq"] else m["seq"] + 1
        m["unseen"] = (m["unseen"] + [[begin, to]])[-MAX_RUNS:]
        m["seq"] = to

def take(m, seq):
    """Says whether seq was never handled, and takes it out of the runs."""
    for i, (a, b) in enumerate(m["unseen"]):
        if a <= seq <= b:
            m["unseen"][i:i + 1] = [r for r in ([a, seq - 1], [seq + 1, b]) if r[0] <= r[1]]
            return True
    return False

def advance(m, event, body):
    """Moves the mark m. Returns whether to handle the event, whether it is late, and the gaps it tells of."""
    gaps, fresh = [], event["epoch"] > m["epoch"]
    if event["epoch"] < m["epoch"]:
        return False, False, gaps  # of a journal that is no more
    if fresh:
        m.update(epoch=event["epoch"], seq=0, unseen=[])
    notice = event["type"] == "on_event_gap"
    for g in [body] if notice else event.get("gap", []):
        if g["to"] > m["seq"]:
            gaps.append((max(g["from"], m["seq"] + 1), g["to"], g["reason"]))
            skip(m, g["to"])
    if notice:
        return False, False, gaps
    seq, late = event["seq"], bool(event.get("late"))
    if seq <= m["seq"]:
        return take(m, seq), True, gaps  # a duplicate, or one that was missing
    if late:
        skip(m, seq - 1)
    elif event["prev"] > m["seq"]:
        if not fresh:
            gaps.append((m["seq"] + 1, event["prev"], "missed"))
        skip(m, event["prev"])
    m["seq"] = seq
    return True, late, gaps

def receive(db, body):
    """Handles an event. KeyError, TypeError and ValueError: it is none."""
    event = body["event"]
    where, _ = (str(event["source"]), str(event["stream"])), int(event["epoch"])
    if "seq" not in event and event["type"] != "on_event_gap":
        return DECISIONS.get(event["type"], lambda body: {"code": -1, "msg": "no handler"})(body)
    if event.get("replay"):
        return {"code": 0}  # somebody looks at the past
    with db:  # a transaction
        row = db.execute("SELECT mark FROM marks WHERE source = ? AND stream = ?", where).fetchone()
        m = json.loads(row[0]) if row else {"epoch": 0, "seq": 0, "unseen": []}
        wanted, late, gaps = advance(m, event, body)
        db.executemany("INSERT INTO missing VALUES (?, ?, ?, ?)", [(where[1], *gap) for gap in gaps])
        if wanted:
            handle(db, event, body, late)
        db.execute("REPLACE INTO marks VALUES (?, ?, ?)", (*where, json.dumps(m)))
    for gap in gaps:
        print("gap", where[1], *gap, flush=True)
    if wanted:
        print("handled", where[1], event["epoch"], event["seq"], event["type"], *["late"] * late, flush=True)
    return {"code": 0}

class Receiver(BaseHTTPRequestHandler):
    protocol_version, timeout, wbufsize = "HTTP/1.1", 75, -1  # an answer is one packet

    def do_POST(self):
        length = self.headers.get("Content-Length", "")
        if not re.fullmatch("[0-9]{1,9}", length) or int(length) > BODY_LIMIT:
            self.close_connection = True
            return self.answer(413, {"code": -1, "msg": "length"})
        raw = self.rfile.read(int(length))
        now = float(os.environ.get("WEBHOOK_TEST_NOW") or time.time())  # vectors have a clock of their own
        if not authentic({k.lower(): v for k, v in self.headers.items()}, raw, KEYS, now):
            return self.answer(401, {"code": -1, "msg": "signature"})
        try:
            with LOCK:  # one after the other: the order of a stream is the order of its requests
                self.answer(200, receive(DB, json.loads(raw)))
        except (KeyError, TypeError, ValueError):
            self.answer(400, {"code": -1, "msg": "not an event"})
        except sqlite3.Error as e:
            self.answer(500, {"code": -1, "msg": str(e)})  # it comes again

    def answer(self, status, body):
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    log_message = lambda *args: None

if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8")
    if sys.argv[1] == "check":
        for v in json.load(open(sys.argv[2], encoding="utf-8"))["verify"]:
            print("ok" if authentic(v["headers"], v["body"].encode(), v["keys"], v["now"], v["tolerance_seconds"]) else "refused", v["name"])
        sys.exit()
    KEYS, LOCK = os.environ["WEBHOOK_SECRETS"].split(), threading.Lock()
    DB = sqlite3.connect(sys.argv[2], check_same_thread=False)
    DB.executescript(TABLES)
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver)
    print("listening on 127.0.0.1:%d" % server.server_port, flush=True)
    server.serve_forever()
