package api

import (
	"errors"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/delivery"
	"github.com/hookline/hookline/internal/journal"
)

// Errors of a Platform. Beside them delivery.ErrNoDeadLetter is understood. What wraps none of these is taken for a
// failure of the server: it is logged and the client is not told why.
var (
	// ErrNoEndpoint says that there is no endpoint of that name.
	ErrNoEndpoint = errors.New("no such endpoint")
	// ErrNoReplay says that there is no replay of that id.
	ErrNoReplay = errors.New("no such replay")
	// ErrConflict says that what was asked for can't be done in the present state, such as a replay of a range that
	// holds nothing, or one more when there are many. The client is shown the text of what wraps it.
	ErrConflict = errors.New("not possible now")
)

// Platform is what can be seen and done to endpoints, dead letters and replays. It is safe for concurrent use.
type Platform interface {
	// Endpoints returns every endpoint, in any order.
	Endpoints() []EndpointInfo
	// Define makes an endpoint or changes one that was made so, durably and at once. FieldErrors, ErrConflict when it is
	// defined elsewhere, and what Allow returned; with an error nothing was changed.
	Define(d Definition) (created bool, err error)
	// Remove removes an endpoint that was made by Define and gives up what it is owed. ErrNoEndpoint, ErrConflict.
	Remove(endpoint string, allow func(version string) error) error
	// Pause keeps an endpoint from sending, or lets it go on. It is idempotent. ErrNoEndpoint.
	Pause(endpoint string, paused bool) error
	// DeadLetters returns the dead letters of one endpoint, of all for "". An endpoint that was removed may still have
	// some; one that has none is not an error.
	DeadLetters(endpoint string) ([]delivery.DeadLetter, error)
	// DeadLetter returns one dead letter with its event. delivery.ErrNoDeadLetter.
	DeadLetter(endpoint string, position uint64) (delivery.DeadLetter, *journal.Record, error)
	// Redrive sends a dead letter once more; it stays one until it is accepted. ErrNoEndpoint,
	// delivery.ErrNoDeadLetter.
	Redrive(endpoint string, position uint64) error
	// Discard forgets a dead letter for good. delivery.ErrNoDeadLetter.
	Discard(endpoint string, position uint64, reason string) error
	// StartReplay starts a replay, or with DryRun only counts. ErrNoEndpoint, ErrConflict.
	StartReplay(r ReplayRequest) (ReplayInfo, error)
	// Replays returns the replays that run and some that ran, in any order.
	Replays() []ReplayInfo
	// CancelReplay ends a replay; one that has ended stays as it is. ErrNoReplay.
	CancelReplay(id string) error
}

// EndpointInfo is one endpoint.
type EndpointInfo struct {
	Name, Format string
	// Origin is one of the Origin constants, Keys what its definition says, with secrets masked, and Version changes with
	// it; "" when it has no definition that could be changed.
	Origin  string
	Keys    map[string]string
	Version string
	// State is one of the State constants.
	State string
	// URLs are where it sends, without user, password and query.
	URLs []string
	// Events and Streams are its filters; empty: no limit.
	Events, Streams []string
	Paused          bool
	Stats           delivery.Stats
}

// Definition is a change of the definition of an endpoint.
type Definition struct {
	Name string
	// Keys and values as in a section [endpoint.NAME]; nil takes a key away. A value that is what was shown in place of a
	// secret leaves the secret.
	Keys map[string]*string
	// Replace takes every other key away.
	Replace bool
	// Allow is asked with the version of what is there, "" for nothing, while nobody else can change it.
	Allow func(version string) error
}

// Origins of an endpoint.
const (
	OriginHook = "hook" // the hook.on_* URLs
	OriginFile = "file" // a section of the config file
	OriginAPI  = "api"  // made by API
)

// States of an endpoint.
const (
	StateUp     = "up"
	StateDown   = "down"   // everything fails at one of its URLs
	StatePaused = "paused" // somebody wants it to wait
	StateGone   = "gone"   // one of its URLs answered 410 and is not used any more
)

// ReplayRequest asks for events once more.
type ReplayRequest struct {
	Endpoint string
	// From and To are the first and the last position; 0: open.
	From, To uint64
	// Since and Until bound the time of the events, Until excluded; zero: open.
	Since, Until time.Time
	// Types and Streams limit it further; empty: no limit. Streams are patterns as in delivery.Config.
	Types   []event.Type
	Streams []string
	// Stall is how long nothing of it may be accepted or given up before it has failed; 0: the default.
	Stall time.Duration
	// DryRun counts and sends nothing.
	DryRun bool
}

// ReplayInfo is a replay.
type ReplayInfo struct {
	ID, Endpoint string
	// From and To are the first and the last position, and At the last one up to which everything is done.
	From, To, At uint64
	// Count is the number of events that are selected, Delivered and Failed those that were accepted and given up.
	Count, Delivered, Failed uint64
	// GapFrom and GapTo are positions that were asked for and that retention has removed; 0: none.
	GapFrom, GapTo uint64
	// Missed, once it is done, are selected events that retention removed before they were sent.
	Missed uint64
	// State is one of the Replay constants, and Error says why it has failed.
	State, Error string
	// Started and Ended; Ended is zero while it runs.
	Started, Ended time.Time
}

// States of a replay.
const (
	ReplayRunning   = "running"
	ReplayDone      = "done"
	ReplayCancelled = "cancelled"
	ReplayFailed    = "failed" // its receiver took nothing for too long, or its endpoint was removed
)
