// Package decision asks the hooks whose answer somebody waits for: on_publish, on_play, on_stream_not_found, on_rtsp_realm,
// on_rtsp_auth and on_http_access. It is the decision half of stream.Gate; on_stream_none_reader is delivered in the lane of
// its key, elsewhere.
//
// Contract.
//
//   - Every call answers within (retry+1)*timeout + retry*retry_delay of the configuration that was current when it
//     began, or when its context ends, whichever is first. It is called without any lock held.
//   - No answer is a refusal (By "failed"): for on_stream_not_found, going on waiting. Without a URL, or with hooks off,
//     nothing is sent and the default applies (By "default").
//   - The request is stamped once: id, hook_index, time and after are the same on every attempt. It has no seq, and
//     its outcome is for the caller to raise.
//   - What is not an integral code on HTTP status 200 is retried, as ZLMediaKit does; an integral code is final.
//   - on_publish first gives what was raised for the key before it up to 300 ms to be accepted, inside the deadline.
//   - At most Deps.MaxConcurrent requests are in flight, an eighth of them for one stream key, so that one key whose
//     receiver hangs leaves room for the others. Questions about files have room of their own, as much as one stream key,
//     and of that an eighth for one address. Waiting for room counts against the deadline.
//
// The package starts no goroutine that outlives a call.
package decision
