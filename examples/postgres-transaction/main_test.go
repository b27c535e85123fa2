package main

import (
	"testing"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/pgtest"
	"github.com/hookline/hookline/receiver/receivertest"
)

func TestEachRowOnce(t *testing.T) {
	db := pgtest.Open(t, pgtest.Start(t).DSN(pgtest.Admin))
	var sent []*receivertest.Event
	for run := range 3 { // each run of the program gets everything again
		kit, err := newReceiver(t.Context(), db)
		if err != nil {
			t.Fatal(err)
		}
		s := receivertest.New(kit)
		if a := s.Send(s.Make(event.OnPublish, "live/b", nil)); a.Code != 0 {
			t.Errorf("on_publish is answered %s", a.Body)
		}
		if run == 0 {
			for range 3 {
				sent = append(sent, s.Register("live/a", "rtmp"), s.Register("live/a", "rtsp"), s.Unregister("live/a", "rtmp"),
					s.Make(event.OnRecordMP4, "live/a", map[string]any{"file_path": "/a/" + string(rune('0'+len(sent))), "time_len": 1.5, "file_size": 100}),
					s.End("live/a", "unpublish"))
			}
			lost := s.Register("live/a", "rtmp")
			end := s.End("live/a", "connection_lost")
			sent = append(sent, s.Lose(event.ReasonRefused, lost), end)
		}
		for _, e := range sent {
			if a := s.Send(e); a.Status != 200 {
				t.Fatalf("%d %s", a.Status, a.Body)
			}
		}
		var publications, ended, files, gaps int
		err = db.QueryRowContext(t.Context(), `SELECT (SELECT count(*) FROM publications), (SELECT count(*) FROM publications WHERE ended >= began AND reason <> ''),
 (SELECT count(*) FROM recordings), (SELECT count(*) FROM missing)`).Scan(&publications, &ended, &files, &gaps)
		if err != nil {
			t.Fatal(err)
		}
		if publications != 4 || ended != 4 || files != 3 || gaps != 1 {
			t.Errorf("run %d: %d publications, %d ended, %d recordings, %d gaps", run, publications, ended, files, gaps)
		}
	}
}
