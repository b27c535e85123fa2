package receiver

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/hookline/hookline/event"
)

// TestEntryGolden holds what is on disk against the text that earlier versions wrote.
func TestEntryGolden(t *testing.T) {
	prev := uint64(15)
	e := &Event{
		Envelope: event.Envelope{
			ID: "r-7", Type: event.OnStreamChanged, Source: "s\xff", Incarnation: "r", Epoch: 1767319445678, Stream: "v/live/\xfe", Publication: "p", Seq: 17,
			Prev: &prev, Time: time.Date(2026, 1, 2, 3, 4, 5, 678901234, time.UTC), Compensation: true, Late: true, Replay: "again",
			Gap: []event.Gap{{From: 16, To: 16, Count: 1, Types: []event.Type{event.OnRecordMP4}, Reason: event.ReasonRefused}},
		},
		HookIndex: 7, Body: []byte("{\n\"schema\":\"rtmp\",\"regist\":true}"),
	}
	entry, err := sealEntry(e)
	if err != nil {
		t.Fatal(err)
	}
	const want = `hookline-inbox/1 {"hook_index":7,"event":{"id":"r-7","type":"on_stream_changed","source":"s\ufffd","incarnation":"r","epoch":1767319445678,` +
		`"stream":"v/live/\ufffd","publication":"p","seq":17,"prev":15,"time":"2026-01-02T03:04:05.678901234Z","compensation":true,` +
		`"gap":[{"from":16,"to":16,"count":1,"types":["on_record_mp4"],"reason":"refused"}],"late":true,"replay":"again"}}` + "\n{\n\"schema\":\"rtmp\",\"regist\":true}"
	if string(entry.Data) != want {
		t.Errorf("the entry is\n%s, want\n%s", entry.Data, want)
	}
	if entry.ID != "dc4e5bb64e5c47cb1b5c65094d60916284889e55b098730db3c75d8a5c1a9376" {
		t.Errorf("its ID is %s", entry.ID)
	}
	got, err := openEntry(entry)
	if err != nil {
		t.Fatal(err)
	}
	if got.Source != e.Source || got.Stream != e.Stream || got.Replay != e.Replay || !got.Time.Equal(e.Time) || *got.Prev != 15 || len(got.Gap) != 1 ||
		got.HookIndex != 7 || !bytes.Equal(got.Body, e.Body) || !got.Late || !got.Compensation {
		t.Errorf("read back: %+v", got)
	}
	bare := *e
	bare.Gap = nil
	if other, _ := sealEntry(&bare); other.ID == entry.ID {
		t.Error("an event that tells of a gap has the ID of one that does not")
	}
}

func TestKeyText(t *testing.T) {
	for _, k := range []Key{{}, {"s", "v/a/b", ""}, {"s", "", "r"}, {"\xff.", "\x00", "直播"}} {
		text, err := k.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var got Key
		if err := got.UnmarshalText(text); err != nil || got != k {
			t.Errorf("%q: %s, %q, %v", k, text, got, err)
		}
	}
	if text, _ := (Key{"s", "v/a/b", "r"}).MarshalText(); string(text) != "cw.di9hL2I.cg" {
		t.Errorf("%s", text)
	}
	for _, bad := range []string{"", ".", "...", "a..", "!..", "cx..", "cw==.."} {
		if err := new(Key).UnmarshalText([]byte(bad)); !errors.Is(err, ErrBadKey) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// FuzzEntry reads what a store has kept: it is an event that can be written again, or an error.
func FuzzEntry(f *testing.F) {
	good, err := sealEntry(&Event{Envelope: event.Envelope{ID: "a", Type: event.OnStreamChanged, Source: "s", Epoch: 1, Seq: 1}, Body: []byte(`{"a":1}`)})
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{
		string(good.Data), "", entryVersion, entryVersion + "{}\n{}", entryVersion + "null\n", entryVersion + `{"event":{}}` + "\n",
		entryVersion + `{"event":{"id":"a","type":"b","source":"c","epoch":1,"gap":[{"from":2,"to":1}]}}` + "\n{}", "hookline-inbox/2 {}\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := openEntry(Entry{Key: Key{"s", "v/a/b", ""}, Data: data})
		if err != nil {
			if !errors.Is(err, errBadEntry) {
				t.Errorf("%v", err)
			}
			return
		}
		again, err := sealEntry(e)
		if err != nil {
			t.Skip() // a time that has no text
		}
		o, err := openEntry(again)
		if err != nil || o.ID != e.ID || o.Seq != e.Seq || !bytes.Equal(o.Body, e.Body) || o.HookIndex != e.HookIndex {
			t.Errorf("%v: %+v, before %+v", err, o, e)
		}
	})
}
