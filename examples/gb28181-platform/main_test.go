package main

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/receiver"
	"github.com/hookline/hookline/receiver/receivertest"
)

// camera notes what it is told.
type camera struct {
	mu    sync.Mutex
	calls []string
	deaf  bool
}

func (c *camera) note(s string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls = append(c.calls, s)
	if c.deaf {
		return errors.New("no answer")
	}
	return nil
}

// Invite implements Device.
func (c *camera) Invite(_ context.Context, channel string) error { return c.note("INVITE " + channel) }

// Bye implements Device.
func (c *camera) Bye(_ context.Context, channel string) error { return c.note("BYE " + channel) }

// sender sends hooks of either kind.
type sender interface {
	ask(typ event.Type, name string) receivertest.Answer
	begin(name string)
	end(name string)
}

type hookline struct{ *receivertest.Sender }

func (s hookline) ask(typ event.Type, name string) receivertest.Answer {
	return s.Send(s.Make(typ, name, nil))
}

func (s hookline) begin(name string) { s.Send(s.Register(name, "rtsp")) }

func (s hookline) end(name string) {
	s.Send(s.Unregister(name, "rtsp"))
	s.Send(s.End(name, "no_reader"))
}

type zlmediakit struct{ *receivertest.ZLMediaKit }

func (s zlmediakit) ask(typ event.Type, name string) receivertest.Answer {
	h := s.Publish(name, "")
	h.Type = typ
	return s.Send(h)
}

func (s zlmediakit) begin(name string) { s.Send(s.Changed(name, "rtsp", true)) }

func (s zlmediakit) end(name string) { s.Send(s.Changed(name, "rtsp", false)) }

func TestFlow(t *testing.T) {
	senders := map[string]func(*receiver.Receiver) sender{
		"Hookline":   func(k *receiver.Receiver) sender { return hookline{receivertest.New(k)} },
		"ZLMediaKit": func(k *receiver.Receiver) sender { return zlmediakit{receivertest.NewZLMediaKit(k)} },
	}
	for name, make1 := range senders {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { flow(t, make1, name == "ZLMediaKit") })
		})
	}
}

func flow(t *testing.T, make1 func(*receiver.Receiver) sender, plain bool) {
	var opts []receiver.Option
	if plain {
		opts = append(opts, receiver.WithZLMediaKit(receiver.ZLMediaKit{}))
	}
	c := &camera{}
	p, kit, stop, err := newPlatform(c, opts...)
	if err != nil {
		t.Fatal(err)
	}
	s := make1(kit)
	expect := func(what string, got, want any) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	state := func(want string) {
		t.Helper()
		synctest.Wait()
		expect("state", p.State("c1"), want)
	}
	if a := s.ask(event.OnPublish, "rtp/c1"); a.Code == 0 {
		t.Error("who was not invited may publish")
	}
	for range 2 {
		s.ask(event.OnStreamNotFound, "rtp/c1")
		s.ask(event.OnStreamNotFound, "rtp/c1") // another viewer
		state(Inviting)
		expect("on_publish", s.ask(event.OnPublish, "rtp/c1").Code, 0)
		s.begin("rtp/c1")
		state(Live)
		s.ask(event.OnStreamNoneReader, "rtp/c1")
		s.end("rtp/c1")
		state(Idle)
	}
	c.deaf = true
	if a := s.ask(event.OnStreamNotFound, "rtp/c1"); string(a.Body) != `{"code":0,"msg":"success","close":true}` {
		t.Errorf("without an answer of the device the viewer gets %s", a.Body)
	}
	state(Idle)
	if err := stop(t.Context()); err != nil {
		t.Error(err)
	}
	want := []string{"INVITE c1", "BYE c1", "INVITE c1", "BYE c1", "INVITE c1"}
	if !slices.Equal(c.calls, want) {
		t.Errorf("the device was told %q, want %q", c.calls, want)
	}
}
