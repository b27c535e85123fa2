// Package api is the HTTP face of the server: ZLMediaKit's /index/api, the event API /api/v1, health, readiness and
// metrics, in one http.Handler.
//
// Contract.
//
//   - /index/api answers as ZLMediaKit does: HTTP status 200 and an integer code in a JSON object. Only endpoints whose
//     feature exists are there; the others are 404, and getApiList does not name them.
//   - Nothing but login, logout, health and readiness is answered without the secret; /metrics asks for an allowed
//     address only. Secrets are compared in constant time and never logged.
//   - Everything that a client sends is bounded: head, body, number of parameters, results, records looked at, time.
//   - Broadcaster.Publish never blocks and keeps a bounded tail. A reader that is further behind reads the journal by
//     position, so a slow client costs no memory and misses nothing that the journal still has; what retention took is
//     named by a gap message. A client that does not take a message within a time-out is cut.
//   - The package knows streams, events and configuration through small interfaces; whoever composes the server fills
//     Deps. It starts no goroutine of its own, except the delayed restart that a client asked for; Close stops that and
//     ends all event streams.
//
// Handlers may be called from any number of goroutines.
package api
