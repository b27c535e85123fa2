// Package natsjs publishes events into NATS JetStream.
//
//	nats://[user:password@|token@]host[:4222][,host...]/PREFIX?parameters      TLS: natss:// or tls://
//
// The subject of an event is PREFIX (default "hookline"), a dot, and the stream key as port.EncodeKey writes it: one
// subject per stream key, in whose order the events are stored. The body is the event; the headers are those of
// port.Message.Headers and Nats-Msg-Id, the event id.
//
// Parameters:
//
//	stream      name of the stream; default: PREFIX in upper case, dots as "_". With create=0 and no name given, any
//	            stream that has the subject takes the event
//	create      1: create the stream when it is missing, for PREFIX.>; default 0. An existing stream is left as it is
//	replicas    of the created stream, 1 to 5; default 1
//	max_age     of the created stream; default 72h
//	max_bytes   of the created stream; default 0: no limit
//	duplicates  window of the created stream's de-duplication; default 10m
//	creds       file with a user's JWT and seed
//	tls_first   1: TLS before the server's INFO
//
// # Durability, order, repetitions
//
// Publish waits for the stream's PubAck. By default a NATS server acknowledges before it has synced its disk; a single
// server that loses power may lose what it acknowledged in the last two minutes (its sync_interval). Use replicas=3, or
// sync_interval: always, where that matters. A created stream discards new messages when it is full (Publish fails and
// is repeated) rather than old ones that nobody has read.
//
// All subjects share one connection; nothing is buffered while it is away, and nothing of an old connection is sent on
// a new one. A repetition within the stream's duplicate window is recognised by the server through Nats-Msg-Id and not
// stored again, which holds for replays of events too; a later one is stored again, and consumers drop it by the id.
// Consumers get a key's events in order when they do not use Nak, and keep MaxAckPending at 1 or use an ordered
// consumer: redelivery in JetStream reorders.
package natsjs
