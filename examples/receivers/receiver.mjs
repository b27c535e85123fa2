// Receives a Hookline server's events: verifies them, handles each once and in the order of its stream, and knows what is missing.
//
//   WEBHOOK_SECRETS="whsec_… whpk_…" node receiver.mjs 9000 state.json
//
// with the hook.on_* URLs of the server set to http://127.0.0.1:9000/. Node 20 or later, nothing else. Marks and effects are in one
// file that is replaced as a whole, so they agree whenever the process is killed. That costs as much as the file is long: with more
// than some hundred streams take a database, with marks and effects in one transaction.
// "receiver.mjs check FILE" says which vectors of event/testdata/webhook-signatures.json are authentic.
import crypto from 'node:crypto';
import fs from 'node:fs';
import http from 'node:http';

const [BODY_LIMIT, MAX_RUNS] = [4 << 20, 256];

// What is asked gets an answer of its own. A question that is not here is refused.
const DECISIONS = {
  on_publish: () => ({code: 0}),
  on_play: () => ({code: 0}),
  on_stream_none_reader: () => ({code: 0, close: false}),
  on_server_keepalive: () => ({code: 0}),
};

// Your effects: changes of state.live, which is written together with the mark.
function handle(live, event, body, late) {
  if (late) return; // its state is not the present one
  if (event.type === 'on_stream_changed' && body.regist) live[event.stream] = event.publication;
  if (event.type === 'on_publication_ended' && live[event.stream] === event.publication) delete live[event.stream];
}

// Standard Webhooks 1.0.0, v1 and v1a. body is a Buffer with the bytes as they came.
function authentic(headers, body, keys, now, tolerance = 300) {
  const [id, stamp, given] = ['id', 'timestamp', 'signature'].map((h) => headers['webhook-' + h] ?? '');
  if (!/^[!-\-/-~]{1,256}$/.test(id) || !/^(0|[1-9][0-9]{0,10})$/.test(stamp)) return false;
  const signatures = given.split(' ');
  if (Math.abs(now - Number(stamp)) > tolerance || given.length > 4096 || signatures.length > 16) return false;
  const signed = Buffer.concat([Buffer.from(`${id}.${stamp}.`), body]);
  let good = false;
  for (const key of keys) {
    const raw = Buffer.from(key.slice(key.indexOf('_') + 1), 'base64');
    const want = Buffer.from('v1,' + crypto.createHmac('sha256', raw).update(signed).digest('base64'));
    for (const s of signatures.map((s) => Buffer.from(s))) {
      if (key.startsWith('whsec_')) good = (s.length === want.length && crypto.timingSafeEqual(s, want)) || good;
      if (key.startsWith('whpk_') && s.toString().startsWith('v1a,')) good = verify1a(raw, s.toString().slice(4), signed) || good;
    }
  }
  return good;
}

function verify1a(raw, text, signed) {
  const signature = Buffer.from(text, 'base64');
  if (signature.length !== 64 || signature.toString('base64') !== text) return false; // one text for one signature
  const der = Buffer.concat([Buffer.from('302a300506032b6570032100', 'hex'), raw]);
  return crypto.verify(null, signed, {key: der, format: 'der', type: 'spki'}, signature);
}

// Moves the mark over what was not handled, and remembers the run: it may come late.
function skip(m, to) {
  if (to <= m.seq) return;
  const last = m.unseen.at(-1);
  if (last?.[1] === m.seq) last[1] = to;
  else m.unseen.push([m.seq + 1, to]);
  Object.assign(m, {seq: to, unseen: m.unseen.slice(-MAX_RUNS)});
}

// Says whether seq was never handled, and takes it out of the runs.
function take(m, seq) {
  const i = m.unseen.findIndex(([a, b]) => a <= seq && seq <= b);
  if (i < 0) return false;
  const [a, b] = m.unseen[i];
  m.unseen.splice(i, 1, ...[[a, seq - 1], [seq + 1, b]].filter(([a, b]) => a <= b));
  return true;
}

// Moves the mark m. Returns whether to handle the event, whether it is late, and the gaps it tells of.
function advance(m, event, body) {
  if (event.epoch < m.epoch) return [false, false, []]; // of a journal that is no more
  const [gaps, fresh] = [[], event.epoch > m.epoch];
  if (fresh) Object.assign(m, {epoch: event.epoch, seq: 0, unseen: []});
  const notice = event.type === 'on_event_gap';
  for (const g of notice ? [body] : event.gap ?? []) {
    if (g.to <= m.seq) continue;
    gaps.push([Math.max(g.from, m.seq + 1), g.to, g.reason]);
    skip(m, g.to);
  }
  if (notice) return [false, false, gaps];
  const late = Boolean(event.late);
  if (event.seq <= m.seq) return [take(m, event.seq), true, gaps]; // a duplicate, or one that was missing
  if (late) skip(m, event.seq - 1);
  else if (event.prev > m.seq) {
    if (!fresh) gaps.push([m.seq + 1, event.prev, 'missed']);
    skip(m, event.prev);
  }
  m.seq = event.seq;
  return [true, late, gaps];
}

function isEvent(e) {
  const whole = (n) => Number.isSafeInteger(n) && n >= 0;
  return e && [e.id, e.type, e.source, e.stream].every((s) => typeof s === 'string') && whole(e.epoch) && e.epoch > 0 &&
    (e.seq === undefined || whole(e.seq) && e.seq > 0 && whole(e.prev));
}

// Handles an event. It does not wait for anything: the order of a stream is the order of its requests.
function receive(body) {
  const event = body.event;
  if (event.seq === undefined && event.type !== 'on_event_gap') return (DECISIONS[event.type] ?? (() => ({code: -1, msg: 'no handler'})))(body);
  if (event.replay) return {code: 0}; // somebody looks at the past
  const next = structuredClone(state); // if anything fails, nothing has happened
  const m = next.marks[JSON.stringify([event.source, event.stream])] ??= {epoch: 0, seq: 0, unseen: []};
  const [wanted, late, gaps] = advance(m, event, body);
  if (wanted) handle(next.live, event, body, late);
  const fd = fs.openSync(file + '.new', 'w');
  fs.writeSync(fd, JSON.stringify(next));
  fs.fsyncSync(fd);
  fs.closeSync(fd);
  fs.renameSync(file + '.new', file);
  state = next;
  for (const gap of gaps) console.log('gap', event.stream, ...gap);
  if (wanted) console.log('handled', event.stream, event.epoch, event.seq, event.type, ...(late ? ['late'] : []));
  return {code: 0};
}

function serve(req, res) {
  let [parts, size] = [[], 0];
  const answer = (status, body) => res.writeHead(status, {'Content-Type': 'application/json'}).end(JSON.stringify(body));
  req.on('data', (part) => (size += part.length) <= BODY_LIMIT && parts.push(part));
  req.on('end', () => {
    if (size > BODY_LIMIT) return answer(413, {code: -1, msg: 'length'});
    const raw = Buffer.concat(parts);
    const now = Number(process.env.WEBHOOK_TEST_NOW) || Date.now() / 1000; // vectors have a clock of their own
    if (!authentic(req.headers, raw, keys, now)) return answer(401, {code: -1, msg: 'signature'});
    let body;
    try { body = JSON.parse(raw); } catch { /* answered below */ }
    if (!isEvent(body?.event)) return answer(400, {code: -1, msg: 'not an event'});
    try { answer(200, receive(body)); } catch (e) { answer(500, {code: -1, msg: String(e)}); } // it comes again
  });
}

const [port, file] = process.argv.slice(2);
const keys = (process.env.WEBHOOK_SECRETS ?? '').split(/\s+/).filter(Boolean);
let state = {marks: {}, live: {}};
if (port === 'check') {
  for (const v of JSON.parse(fs.readFileSync(file)).verify) {
    console.log(authentic(v.headers, Buffer.from(v.body), v.keys, v.now, v.tolerance_seconds) ? 'ok' : 'refused', v.name);
  }
} else {
  if (fs.existsSync(file)) state = JSON.parse(fs.readFileSync(file));
  const server = http.createServer(serve).listen(Number(port), '127.0.0.1', () => console.log(`listening on 127.0.0.1:${server.address().port}`));
}
