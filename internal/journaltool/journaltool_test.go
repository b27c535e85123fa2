package journaltool_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/journal"
	"github.com/hookline/hookline/internal/journal/journaltest"
	"github.com/hookline/hookline/internal/journal/pebble"
	"github.com/hookline/hookline/internal/journaltool"
	"github.com/hookline/hookline/internal/leaktest"
	"github.com/hookline/hookline/internal/sequencer"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

func never(uint64, uint64) {}

func openJournal(t *testing.T, dir string) *pebble.Journal {
	t.Helper()
	j, err := pebble.Open(pebble.Config{Dir: dir, Fsync: true, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j
}

func closeJournal(t *testing.T, j *pebble.Journal) {
	t.Helper()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
}

// filled makes a journal of a server that was killed: 200 events of 5 streams of which the older ones were removed, one
// live publication, a cursor.
func filled(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "journal")
	j := openJournal(t, dir)
	s, err := sequencer.Open(sequencer.Config{Source: "srv", Logger: slog.New(slog.DiscardHandler)}, j, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		name := fact.Stream{Vhost: fact.DefaultVhost, App: "live", Stream: fmt.Sprint("s<&>é", i%5)}
		s.Raise(&fact.FlowReport{Live: name, MediaInfo: fact.MediaInfo{Stream: name, Params: "a=<b>&c"}, Player: i%2 == 0})
		// One after the other: of what waits together the events of one stream come before those of the next, and all of a
		// stream could be among the older ones.
		if err := s.WaitDurable(t.Context(), name.Key(), uint64(i/5+1)); err != nil {
			t.Fatal(err)
		}
	}
	name := fact.Stream{Vhost: fact.DefaultVhost, App: "live", Stream: "left"}
	s.Raise(&fact.PublicationStarted{Publication: "p", Live: name, MediaInfo: fact.MediaInfo{Stream: name}, Start: 1000})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := j.SetState([]journal.Op{{Key: "cursor/hook", Value: []byte{0xC1, 100}}}, true); err != nil {
		t.Fatal(err)
	}
	// What no server writes, but the journal can hold.
	ack, err := j.Append(journal.Batch{Records: []*journal.Record{{
		Key: "no\xffutf8", Seq: 1, Index: 5, ID: "x", Type: event.OnPlay, Class: event.History, Time: time.Unix(1, 2), Body: []byte("{ not JSON"),
	}}})
	if err == nil {
		err = ack.Wait()
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := j.Trim(51); err != nil {
		t.Fatal(err)
	}
	closeJournal(t, j)
	return dir
}

func export(t *testing.T, dir string) string {
	t.Helper()
	var out bytes.Buffer
	if _, err := journaltool.Export(t.Context(), dir, &out, never); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func load(t *testing.T, dir string) ([]*journal.Record, map[string][]byte, journal.Info) {
	t.Helper()
	j := openJournal(t, dir)
	defer closeJournal(t, j)
	recs, err := journaltest.ReadAll(j)
	if err != nil {
		t.Fatal(err)
	}
	st, err := j.State("")
	if err != nil {
		t.Fatal(err)
	}
	return recs, st, j.Info()
}

// What is exported and imported is the same journal, but for the new epoch.
func TestExportImport(t *testing.T) {
	dir := filled(t)
	text := export(t, dir)
	if text != export(t, dir) {
		t.Error("a second export differs: the first one has changed something")
	}
	copied := filepath.Join(t.TempDir(), "copy")
	n, err := journaltool.Import(t.Context(), strings.NewReader(text), copied, never)
	if err != nil || n.Records != 152 {
		t.Fatal(n, err)
	}
	recs, st, info := load(t, dir)
	got, state, at := load(t, copied)
	if at.First != info.First || at.Last != info.Last || at.SeqFloor != info.SeqFloor || at.Created != info.Created {
		t.Errorf("%+v, want %+v", at, info)
	}
	if !reflect.DeepEqual(st, state) {
		t.Errorf("state %v, want %v", state, st)
	}
	same := func(a, b *journal.Record) bool {
		return a.Position == b.Position && bytes.Equal(journal.Encode(nil, a), journal.Encode(nil, b))
	}
	if !slices.EqualFunc(got, recs, same) {
		t.Error("the records differ")
	}
	if export(t, copied) != text {
		t.Error("an export of the copy differs")
	}
	if _, err := journaltool.Import(t.Context(), strings.NewReader(text), copied, never); err == nil {
		t.Error("a directory was written over")
	}
	check, err := journaltool.Check(copied, never)
	if err != nil || check.EpochReason != journal.EpochRestored || len(check.Problems) > 0 {
		t.Errorf("%+v %v", check, err)
	}
	if check, err := journaltool.Check(dir, never); err != nil || check.EpochReason != "" || len(check.Problems) > 0 {
		t.Errorf("%+v %v", check, err)
	}

	// A server on the copy: a new epoch, the left publication is ended, seqs go on.
	j := openJournal(t, copied)
	s, err := sequencer.Open(sequencer.Config{Source: "srv", Logger: slog.New(slog.DiscardHandler)}, j, nil)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := s.Compensate(nil); n != 1 || err != nil {
		t.Errorf("%d publications were ended, %v", n, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	last, err := j.LastOfKey("__defaultVhost__/live/left")
	if err != nil || last.Seq != 2 || last.Epoch <= recs[0].Epoch || last.Index < 201 {
		t.Errorf("%+v %v", last, err)
	}
	closeJournal(t, j)
}

// What is not whole, or not what Export writes, leaves nothing behind.
func TestImportRefuses(t *testing.T) {
	text := export(t, filled(t))
	lines := strings.SplitAfter(strings.TrimSuffix(text, "\n"), "\n")
	without := func(i int) string { return strings.Join(slices.Delete(slices.Clone(lines), i, i+1), "") }
	swapped := slices.Clone(lines)
	swapped[20], swapped[21] = swapped[21], swapped[20]
	for name, in := range map[string]string{
		"empty": "", "cut": without(len(lines) - 1), "in a line": text[:len(text)/2], "no header": without(0), "a record less": without(30),
		"swapped": strings.Join(swapped, ""), "twice": text + text, "other": "{\"a\":1}\n", "two": lines[0] + `{"end":{"records":0,"states":0},"state":{"key":"a","value":""}}`,
		"version": strings.Replace(text, `"hooklineJournal":1`, `"hooklineJournal":2`, 1),
		"class":   strings.Replace(text, `"class":"lifecycle"`, `"class":"none"`, 1),
		"type":    strings.Replace(text, `"type":"on_flow_report"`, `"type":"on_nothing"`, 1),
		"long":    lines[0] + `{"state":{"key":"` + strings.Repeat("k", 9<<20) + `"}}`,
	} {
		dir := t.TempDir()
		if _, err := journaltool.Import(t.Context(), strings.NewReader(in), filepath.Join(dir, "j"), never); err == nil {
			t.Errorf("%s: was taken", name)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("%s: left %v %v", name, left, err)
		}
	}
}

// Damage is found, and told.
func TestCheckFinds(t *testing.T) {
	dir := filled(t)
	j := openJournal(t, dir)
	err := j.SetState([]journal.Op{
		{Key: "cursor/far", Value: []byte{0xC1, 0xff, 0xff, 0x7f}},
		{Key: "cursor/bad", Value: []byte("x")},
		{Key: "gap/hook/s", Value: []byte("{")},
		{Key: "dead/hook/1", Value: []byte(`{"record":"AA=="}`)},
		{Key: "park/hook/s", Value: []byte{1}},
		{Key: "sub/hook", Value: []byte("[")},
		{Key: "live/q", Value: []byte(`{"publication":"z"}`)},
		{Key: "seq/index", Value: make([]byte, 8)},
		{Key: "seq/identity", Value: []byte("?")},
	}, true)
	if err != nil {
		t.Fatal(err)
	}
	closeJournal(t, j)
	check, err := journaltool.Check(dir, never)
	if err != nil || len(check.Problems) != 9 {
		t.Errorf("%q %v", check.Problems, err)
	}
	if _, err := journaltool.Check(filepath.Join(dir, "none"), never); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "none")); err == nil {
		t.Error("check has made a directory")
	}
}

func TestStatsAndCompact(t *testing.T) {
	dir := filled(t)
	s, err := journaltool.Stats(t.Context(), dir, never)
	if err != nil || s.Events != 152 || s.Streams != 7 || s.Live != 1 || s.Endpoints["hook"] != 100 || s.Types["on_publish"] != 1 {
		t.Errorf("%+v %v", s, err)
	}
	before := export(t, dir)
	if _, _, err := journaltool.Compact(t.Context(), dir); err != nil {
		t.Error(err)
	}
	if export(t, dir) != before {
		t.Error("compaction has changed something")
	}
	j := openJournal(t, dir)
	if _, err := journaltool.Check(dir, never); !errors.Is(err, journal.ErrLocked) {
		t.Errorf("a journal that is in use: %v", err)
	}
	closeJournal(t, j)
}
