// Package fact holds what happened, as typed Go values: the only word that the media plane says to the event plane.
//
// Contract. A fact is raised inside the serialisation domain of what it is about (the stream's own lock), so that
// the order in which facts of one key are raised is their causal order. Raising never blocks. The JSON form of a
// fact is the body of its hook without the members that the sender adds ("hook_index", "mediaServerId", "event").
// Field names and types are ZLMediaKit's; they never change.
package fact
