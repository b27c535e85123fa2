// Package rabbitmq publishes events into RabbitMQ (AMQP 0-9-1).
//
//	amqp://[user:password@]host[:5672][,host...][/vhost]?parameters      TLS: amqps:// (port 5671)
//
// An event is published to one exchange, persistent and mandatory, with the stream key as port.EncodeKey writes it as
// its routing key, so that consumers bind by stream ("__defaultVhost__.live.*" at a topic exchange) or spread streams
// over queues (a consistent-hash exchange). message-id is the event id, type the event type; the headers are those of
// port.Message.Headers.
//
// Parameters:
//
//	exchange   default "hookline"
//	declare    1: declare the exchange, durable, when connecting; default 0. Queues are the consumers' business
//	type       of the declared exchange; default topic
//	prefix     put in front of the routing key, with a dot; default none
//	mandatory  0: what is bound to no queue is dropped by the server without a word; default 1: ErrRejected
//	auth       plain (default), or external for client certificates
//
// The vhost follows RabbitMQ's rule: no path is "/", and a "/" in its name is written %2F.
//
// # Durability, order, repetitions
//
// Publish waits for the publisher confirm, which RabbitMQ sends when every queue has the message on disk (for quorum
// queues: on a majority). All keys share one connection and one channel, on which the server keeps the order; a
// publisher that waits for each confirm keeps it across connections too. RabbitMQ knows no repetitions (streams with
// named publishers apart): delivery is at least once and consumers drop repetitions by message-id. Order at the consumer
// needs a single active consumer on the queue, and no requeueing.
//
// A message that was not confirmed in time while nothing else was either ends the connection: it is reset rather than
// trusted with more. A server that blocks publishers (memory or disk alarm) makes Publish fail fast as unavailable.
// An exception on the channel (no such exchange, no permission) names no message: everything in flight gets it.
package rabbitmq
