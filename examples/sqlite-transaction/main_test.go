package main

import (
	"path/filepath"
	"testing"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/receiver/receivertest"
)

func TestOneRowForEachPublication(t *testing.T) {
	file := filepath.Join(t.TempDir(), "test.db")
	var sender *receivertest.Sender
	var sent []*receivertest.Event
	for run := range 3 { // each run of the program gets everything again
		kit, db, err := newReceiver(t.Context(), file)
		if err != nil {
			t.Fatal(err)
		}
		fresh := receivertest.New(kit)
		if run == 0 {
			sender = fresh
			for range 4 {
				sent = append(sent, sender.Publication("live/a")...)
			}
			lost := sender.Register("live/a", "rtmp")
			sent = append(sent, sender.Lose(event.ReasonRefused, lost))
		}
		for _, e := range sent {
			if a := fresh.Send(e); a.Status != 200 {
				t.Fatalf("%d %s", a.Status, a.Body)
			}
		}
		var rows, gaps int
		if err := db.QueryRowContext(t.Context(), `SELECT (SELECT count(*) FROM publications), (SELECT count(*) FROM missing)`).Scan(&rows, &gaps); err != nil {
			t.Fatal(err)
		}
		if rows != 4 || gaps != 1 {
			t.Errorf("run %d: %d publications, %d gaps", run, rows, gaps)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
}
