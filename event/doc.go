// Package event is the public vocabulary of Hookline's event plane: the types of events, their delivery
// classes, the additive "event" member of every hook body, and the objects inside it.
//
// Contract. A body is ZLMediaKit's, field for field, plus one member named "event" ([Envelope]). The id of an
// event, its hook_index, its seq and its time are fixed when it is raised and are the same on every attempt.
// (Source, Epoch, Stream, Seq) is unique. Within one stream key seq increases and time never decreases.
// A receiver has a gap only when Prev exceeds the highest seq that it has seen of that key in that epoch.
//
// The package imports the standard library only.
package event
