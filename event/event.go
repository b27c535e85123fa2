package event

import "time"

// Type names an event; the values are the hook names of ZLMediaKit, which are also the config keys that hold
// their URLs.
type Type string

// The hooks of ZLMediaKit, and three of Hookline's own: OnPublicationEnded, OnEventGap and OnAdminAction.
const (
	OnPublish          Type = "on_publish"
	OnPlay             Type = "on_play"
	OnHTTPAccess       Type = "on_http_access"
	OnRTSPRealm        Type = "on_rtsp_realm"
	OnRTSPAuth         Type = "on_rtsp_auth"
	OnShellLogin       Type = "on_shell_login"
	OnStreamNotFound   Type = "on_stream_not_found"
	OnStreamNoneReader Type = "on_stream_none_reader"
	OnStreamChanged    Type = "on_stream_changed"
	OnRecordMP4        Type = "on_record_mp4"
	OnRecordTS         Type = "on_record_ts"
	OnFlowReport       Type = "on_flow_report"
	OnPublicationEnded Type = "on_publication_ended"
	OnSendRTPStopped   Type = "on_send_rtp_stopped"
	OnRTPServerTimeout Type = "on_rtp_server_timeout"
	OnServerStarted    Type = "on_server_started"
	OnServerExited     Type = "on_server_exited"
	OnServerKeepalive  Type = "on_server_keepalive"
	OnEventGap         Type = "on_event_gap"
	OnAdminAction      Type = "on_admin_action"
)

// Types returns every type, in a fixed order that is never changed, only appended to: the journal stores the index.
func Types() []Type {
	return []Type{
		OnPublish, OnPlay, OnHTTPAccess, OnRTSPRealm, OnRTSPAuth, OnShellLogin, OnStreamNotFound,
		OnStreamNoneReader, OnStreamChanged, OnRecordMP4, OnRecordTS, OnFlowReport, OnPublicationEnded,
		OnSendRTPStopped, OnRTPServerTimeout, OnServerStarted, OnServerExited, OnServerKeepalive, OnEventGap,
		OnAdminAction,
	}
}

// Class says how an event is delivered.
type Class uint8

const (
	// Lifecycle events are sequenced, journaled, delivered in order and retried until accepted.
	Lifecycle Class = iota
	// Decision requests are answered within a deadline or fail closed; they have no seq.
	Decision
	// Question is on_stream_none_reader: in the lane of its key, without a seq, withdrawn when its condition ends.
	Question
	// Heartbeat is on_server_keepalive: the latest wins, never retried.
	Heartbeat
	// History is the journaled outcome of a decision or a question, owed to every endpoint but the one that answered.
	History
)

// String returns the class's name in lower case.
func (c Class) String() string {
	switch c {
	case Lifecycle:
		return "lifecycle"
	case Decision:
		return "decision"
	case Question:
		return "question"
	case Heartbeat:
		return "heartbeat"
	case History:
		return "history"
	}
	return "unknown"
}

// ClassOf returns the class in which the hook t itself is sent.
func ClassOf(t Type) Class {
	switch t {
	case OnPublish, OnPlay, OnHTTPAccess, OnRTSPRealm, OnRTSPAuth, OnShellLogin, OnStreamNotFound:
		return Decision
	case OnStreamNoneReader:
		return Question
	case OnServerKeepalive:
		return Heartbeat
	default:
		return Lifecycle
	}
}

// Envelope is the "event" member of a body.
type Envelope struct {
	// ID has no dots and is the same on every attempt, redrive and replay.
	ID   string `json:"id"`
	Type Type   `json:"type"`
	// Source is the mediaServerId of the server that raised the event.
	Source string `json:"source"`
	// Incarnation names the run of the process that raised the event.
	Incarnation string `json:"incarnation"`
	// Epoch is the creation time of the journal in Unix milliseconds. A higher epoch resets every mark.
	Epoch int64 `json:"epoch"`
	// Stream is the key "vhost/app/stream" after stream_replace; "" for events of the server itself.
	Stream string `json:"stream"`
	// Publication is the lifecycle of the key to which the event belongs; absent when it belongs to none.
	Publication string `json:"publication,omitempty"`
	// Seq is the position among the events of the key, from 1; 0 and absent for decisions, questions,
	// heartbeats and gap notices.
	Seq uint64 `json:"seq,omitempty"`
	// Prev is the seq of the preceding event of the key that is owed to this endpoint; 0: none known.
	// It is present exactly when Seq is.
	Prev *uint64 `json:"prev,omitempty"`
	// After is the last seq raised for the key when a decision or a question was asked; absent elsewhere.
	After *uint64 `json:"after,omitempty"`
	// Time never decreases within a key; RFC 3339 with nanoseconds, UTC.
	Time time.Time `json:"time"`
	// Compensation marks an event that was raised at start-up for something that a crash had ended.
	Compensation bool `json:"compensation,omitempty"`
	// Gap names events of this key that this endpoint will not get in order; only where the endpoint has no
	// on_event_gap URL.
	Gap []Gap `json:"gap,omitempty"`
	// Late marks a dead letter that was sent again: events of the key with a higher seq came before it.
	Late bool `json:"late,omitempty"`
	// Replay is the id of the replay that somebody asked for and this delivery is part of; absent elsewhere.
	Replay string `json:"replay,omitempty"`
}

// Gap names a run of events of one key that an endpoint will not get, or not in order.
type Gap struct {
	// From and To are the first and the last seq of the run, both included.
	From uint64 `json:"from"`
	To   uint64 `json:"to"`
	// Count is the number of owed events in the run.
	Count uint64 `json:"count"`
	// Types are the types of the missing events, each once.
	Types []Type `json:"types"`
	// Reason is one of the Reason constants.
	Reason string `json:"reason"`
}

// Reasons of a gap.
const (
	// ReasonRefused: the receiver answered with a status that is not retried, or with something that can't be
	// read, until the attempts were used up.
	ReasonRefused = "refused"
	// ReasonExpired: the event was older than delivery.max_age before it was accepted.
	ReasonExpired = "expired"
	// ReasonGone: the receiver answered 410 and the URL is disabled.
	ReasonGone = "gone"
	// ReasonRetention: retention removed the event from the journal before it was delivered.
	ReasonRetention = "retention"
	// ReasonShed: the journal was too slow or full and the event was not written.
	ReasonShed = "shed"
)
