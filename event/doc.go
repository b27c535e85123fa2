// Package event is the public vocabulary of Hookline's event plane: the types of events, their delivery
// classes, the additive "event" member of every hook body and the objects inside it, the signature of a request,
// and the CloudEvents form of an event.
//
// Contract. A body is ZLMediaKit's, field for field, plus one member named "event" ([Envelope]). The id of an
// event, its hook_index, its seq and its time are fixed when it is raised and are the same on every attempt.
// (Source, Epoch, Stream, Seq) is unique. Within one stream key seq increases and time never decreases.
// A receiver has a gap only when Prev exceeds the highest seq that it has seen of that key in that epoch.
//
// # Signature
//
// With a secret or a key, every request is signed as Standard Webhooks 1.0.0 describes, whatever the form of its body:
//
//	webhook-id: the id of the event, without dots
//	webhook-timestamp: Unix seconds of this attempt, not of the event
//	webhook-signature: signatures of "id.timestamp.body", separated by spaces
//
// A signature is "v1," and the base64 of an HMAC-SHA256 for each secret, then "v1a," and the base64 of an ed25519
// signature for each key. Secrets are "whsec_" and the base64 of 24 to 64 bytes; keys are "whsk_" (private) and "whpk_"
// (public) and the base64 of 32 bytes. A receiver accepts a request when one signature matches one of its keys and the
// timestamp is within five minutes of its clock, and passes over versions that it does not know. To rotate a key, give
// the sender both, then replace it at the receivers, then take the old one from the sender.
//
// [Signer] and [Verifier] are safe for concurrent use. Errors never hold a secret, and neither [Secret] nor [SigningKey]
// prints as what it is.
//
// # CloudEvents
//
// An endpoint may ask for CloudEvents 1.0 in structured mode instead ([AppendCloudEvent]; several in one request:
// [CloudEventBatch]). The attributes hold what the member "event" holds in the other form:
//
//	specversion      "1.0"
//	id               event.id
//	source           "/hookline/" and the mediaServerId, percent-encoded: [CloudEventSource]
//	type             "hookline." and the name of the hook: "hookline.on_stream_changed"
//	subject          event.stream, the stream key; absent for events of the server itself
//	time             event.time
//	datacontenttype  "application/json"
//	partitionkey     the stream key; for events of the server itself the source
//	sequence         event.seq; absent where event.seq is
//	prev             event.prev
//	after            event.after
//	epoch            event.epoch
//	incarnation      event.incarnation
//	publication      event.publication
//	hookindex        hook_index
//	compensation     true or absent, as event.compensation
//	late             true or absent, as event.late
//	replay           event.replay
//	gap              event.gap: the text of the JSON array, as a string, because attributes hold no lists
//	streamb64        base64 of the stream key, only when it has characters that attributes may not have
//	data             the hook's body with hook_index and mediaServerId, without the member event
//
// Numbers of 64 bits (sequence, prev, after, epoch, hookindex) are strings of 20 digits, because a CloudEvents Integer
// has 32 bits; as strings they sort like numbers. There is no sequencetype: its only defined value promises 32 bits and
// no holes. As in the other form, a hole in sequence is no loss; prev tells. A notice of missing events
// (on_event_gap) has no sequence, and the gap is its data.
//
// Control characters, noncharacters and bytes that are not UTF-8 become U+FFFD in attributes, since CloudEvents
// disallows them; streamb64 keeps the stream key whole. New attributes may be added; receivers ignore those that they do
// not know.
//
// # Test vectors
//
// The files in testdata let receivers in other languages test themselves: webhook-signatures.json holds requests to
// sign, and requests to accept or refuse; cloudevents/NAME.json an event of each type in both forms; cloudevents/batch.json
// a batch. They say what this package does: a test fails when they differ, and go test ./event -update writes them anew.
//
// The package imports the standard library only.
package event
