// Package kafka publishes events into an Apache Kafka topic.
//
//	kafka://[user:password@]host[:9092][,host...]/TOPIC?parameters      TLS: kafkas://
//
// TOPIC defaults to "hookline". The record's key is the stream key, byte for byte, and its partition is chosen as Java's
// default partitioner does (murmur2 of the key), so that other producers and stream processors agree about it; an event
// of the server itself has the empty key, which is a key. The value is the event, the headers are those of
// port.Message.Headers.
//
// Parameters:
//
//	sasl       none, plain, scram-sha-256 or scram-sha-512; default: plain with a user, else none. PLAIN without TLS shows
//	           the password to the network
//	create     1: let the broker create the topic when it is missing (its auto.create.topics.enable); default 0
//	max_bytes  of a batch, and so of a record; must not be more than the topic's max.message.bytes; default 1000012
//	linger     time to wait for more records of a batch, up to 1s; default 0: what waits anyway is batched
//
// # Durability, order, repetitions
//
// Publish returns when all in-sync replicas have the record (acks=all; how many that are at least is the topic's
// min.insync.replicas). The producer is idempotent: what the client itself sends again, after a cut connection or a
// change of leader, is stored once and in order, with up to five requests in flight per broker.
//
// The client repeats a record by itself until it knows its fate. By default, and for the sake of its sequence numbers,
// it does so past the end of the record's context, and even for ever: an event that the lane has given up could land
// behind later ones. So:
//
//   - AllowIdempotentProduceCancellation lets the end of the context fail a record in flight. The client then raises its
//     producer epoch, and the brokers refuse what of the older epoch may still be on the way.
//   - The end of a context is noticed for the first record of a batch only, so a record may outlive its Publish by as
//     much as its neighbour's context (all of them are bounded). Until the client has settled it, its key is taken: the
//     next Publish of that key waits, and cannot overtake.
//   - A record that failed that way may have been stored. The lane repeats it as a new record: at least once, and
//     consumers drop repetitions by the id header.
//   - Neighbours in a batch fail with it; for them it is an error worth a repetition.
package kafka
