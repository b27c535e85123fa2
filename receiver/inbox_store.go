package receiver

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/hookline/hookline/event"
)

// InboxStore is a [Store] that can keep events from the moment they are accepted until they are handled; see [WithInbox].
type InboxStore interface {
	Store
	// Accept keeps entries behind those that are there, in their order. Nil means: kept, as durably as the store is. After an
	// error some may be kept all the same, of each key the first ones. An entry of which Key and ID are there is left where it
	// is. Accept does not wait for updates that are in progress, but for the time of their commit; where a store can't do
	// that, it says so.
	Accept(ctx context.Context, entries []Entry) error
	// Waiting returns the keys that have entries.
	Waiting(ctx context.Context) ([]Backlog, error)
	// First returns the oldest entry of k; ok is false when there is none. ctx is that of the function in an Update of k.
	First(ctx context.Context, k Key) (e Entry, ok bool, err error)
	// Remove has the entry that First has returned removed in the transaction that writes the mark. ctx is that of the function
	// in an Update of k.
	Remove(ctx context.Context, k Key, id string) error
}

// Entry is an event in an inbox.
type Entry struct {
	Key Key
	// ID names the event, with the gaps that it tells of, within its key: 64 hexadecimal digits.
	ID string
	// Data is the event, as the kit writes it: some text and the body that came, at most [WithBodyLimit] and 1 KiB beyond the
	// names in it.
	Data []byte
}

// Backlog is what waits of one key.
type Backlog struct {
	Key Key
	// Count is the number of entries; a store may count some that are gone.
	Count int
	// First is the ID of the oldest.
	First string
}

// ErrBadKey is wrapped by the errors of [Key.UnmarshalText].
var ErrBadKey = errors.New("receiver: bad key")

// MarshalText returns a text from which the key can be had again: three parts in unpadded base64url with dots between them.
func (k Key) MarshalText() ([]byte, error) {
	enc := base64.RawURLEncoding
	var out []byte
	for i, s := range []string{k.Source, k.Stream, k.Replay} {
		if i > 0 {
			out = append(out, '.')
		}
		out = enc.AppendEncode(out, []byte(s))
	}
	return out, nil
}

// UnmarshalText reads what [Key.MarshalText] wrote.
func (k *Key) UnmarshalText(text []byte) error {
	parts := strings.Split(string(text), ".")
	if len(parts) != 3 {
		return fmt.Errorf("%w: %d parts", ErrBadKey, len(parts))
	}
	var got [3]string
	for i, p := range parts {
		b, err := base64.RawURLEncoding.Strict().DecodeString(p)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrBadKey, err)
		}
		got[i] = string(b)
	}
	*k = Key{got[0], got[1], got[2]}
	return nil
}

// entryVersion begins the text of an entry.
const entryVersion = "hookline-inbox/1 "

// entryHead is the first line of an entry, behind the version. The body follows.
type entryHead struct {
	Index uint64          `json:"hook_index"`
	Event *event.Envelope `json:"event"`
}

// errBadEntry is wrapped by the errors of openEntry.
var errBadEntry = errors.New("receiver: an entry of the inbox can't be read")

// entryID is the ID of the entry of an event. An event that is sent again may name gaps that it did not name before.
func entryID(e *Event) string {
	h := sha256.New()
	_, _ = io.WriteString(h, e.ID) // never fails
	for _, g := range e.Gap {
		_, _ = fmt.Fprintf(h, "\x00%d-%d", g.From, g.To)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// sealEntry makes an entry of an event.
func sealEntry(e *Event) (Entry, error) {
	head, err := json.Marshal(entryHead{e.HookIndex, &e.Envelope}) // has no line feed
	if err != nil {
		return Entry{}, fmt.Errorf("receiver: %w", err)
	}
	data := make([]byte, 0, len(entryVersion)+len(head)+1+len(e.Body))
	data = append(append(append(append(data, entryVersion...), head...), '\n'), e.Body...)
	return Entry{Key{e.Source, e.Stream, e.Replay}, entryID(e), data}, nil
}

// openEntry makes the event of an entry. Names that are no UTF-8 are right in the key only.
func openEntry(entry Entry) (*Event, error) {
	rest, ok := bytes.CutPrefix(entry.Data, []byte(entryVersion))
	line, body, whole := bytes.Cut(rest, []byte{'\n'})
	if !ok || !whole {
		return nil, fmt.Errorf("%w: not of this version", errBadEntry)
	}
	var head entryHead
	if err := json.Unmarshal(line, &head); err != nil {
		return nil, fmt.Errorf("%w: %w", errBadEntry, err)
	}
	if head.Event == nil {
		return nil, fmt.Errorf("%w: no event", errBadEntry)
	}
	e := &Event{Envelope: *head.Event, HookIndex: head.Index, Body: body}
	e.Source, e.Stream, e.Replay = entry.Key.Source, entry.Key.Stream, entry.Key.Replay
	if err := check(&e.Envelope); err != nil {
		return nil, fmt.Errorf("%w: %w", errBadEntry, err)
	}
	return e, nil
}
