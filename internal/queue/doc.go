// Package queue opens destinations in message queues: NATS JetStream, Kafka, Redis Streams and RabbitMQ. An endpoint
// whose URL has one of their schemes gets its events there instead of by HTTP, in the same lanes and the same order.
// The contract of a destination stands in package port, each queue's durability, de-duplication and URL parameters in
// its own package.
package queue
