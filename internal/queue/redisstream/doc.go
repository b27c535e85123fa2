// Package redisstream publishes events into Redis Streams (Redis 5 or later, Valkey), on one server or behind a proxy
// that looks like one; Redis Cluster and Sentinel are not spoken.
//
//	redis://[[user]:password@]host[:6379][/database]?parameters      TLS: rediss://
//
// An event becomes a stream entry with the fields of port.Message.Headers (those of Message.Header prefixed with "h:"),
// key (the stream key) and body.
//
// Parameters:
//
//	prefix        default "hookline"
//	layout        key: a Redis stream "PREFIX:<stream key>" for each stream key, the default;
//	              single: one Redis stream, PREFIX, for all of them
//	maxlen        trim a stream to about so many entries on each append (MAXLEN ~); default 0: never
//	dedup         layout=key: 0 switches the check against repetitions off; default 1
//	wait          replicas that must have the entry before Publish returns nil (WAIT); default 0
//	wait_timeout  for them; default 1s
//
// # Durability, order, repetitions
//
// XADD is acknowledged once the server has it in memory; what survives a crash of the server is a matter of its
// appendfsync, and what survives a fail-over of wait, which narrows the loss but does not exclude it. With maxlen, an
// entry that nobody has read may be trimmed: that is what was asked for.
//
// One command is one attempt: the client repeats nothing by itself. With layout=key a short script looks at the last
// entry of the stream and appends only if it has another id; since a lane repeats an event before it goes on to the
// next, that recognises its repetitions without memory for past ids. Everything else
// (layout=single, dedup=0, an entry trimmed or removed meanwhile, two lanes on one stream) is at least once: consumers
// drop repetitions by id.
//
// # Permissions
//
// PING, XADD, and for dedup EVAL, EVALSHA and XREVRANGE, on PREFIX*; WAIT and XSETID with wait.
package redisstream
