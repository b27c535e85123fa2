package main

import (
	"bytes"
	"testing"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/receiver"
	"github.com/hookline/hookline/receiver/receivertest"
)

func TestMinimal(t *testing.T) {
	var out bytes.Buffer
	kit, err := receiver.New(options(&out)...)
	if err != nil {
		t.Fatal(err)
	}
	s := receivertest.New(kit)
	if a := s.Send(s.Make(event.OnPublish, "live/a", map[string]any{"params": "token=x"})); a.Code == 0 {
		t.Errorf("a wrong token is answered %s", a.Body)
	}
	if a := s.Send(s.Make(event.OnPublish, "live/a", map[string]any{"params": "token=let-me-in"})); a.Code != 0 {
		t.Errorf("the token is answered %s", a.Body)
	}
	for _, e := range s.Publication("live/a") {
		s.Send(e)
		s.Send(e)
	}
	const want = "__defaultVhost__/live/a: rtmp is there\n__defaultVhost__/live/a: rtmp is gone\n__defaultVhost__/live/a: ended (unpublish)\n"
	if out.String() != want {
		t.Errorf("printed\n%s", out.String())
	}
}
