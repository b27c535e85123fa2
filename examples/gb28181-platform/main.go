// Command gb28181-platform is the flow of a platform for GB28181 cameras: a viewer asks for a channel, the device is invited, it
// publishes; when nobody watches any more, it gets a BYE. What the devices are told is behind an interface; a SIP stack goes there.
//
//	go run ./examples/gb28181-platform [zlmediakit]
//
// with every hook.on_* URL set to http://127.0.0.1:9000/hooks/on_…: a Hookline's, or with the argument a plain ZLMediaKit's.
package main

import (
	"context"
	"log"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/hookline/hookline/receiver"
)

// Device is what the platform needs of SIP. Invite returns when the device has accepted; media follow.
type Device interface {
	Invite(ctx context.Context, channel string) error
	Bye(ctx context.Context, channel string) error
}

// States of a channel, which is a stream of app rtp.
const (
	Idle     = ""
	Inviting = "inviting"
	Live     = "live"
)

// patience is how long an invited device may take until it publishes. Then it is invited anew.
const patience = 10 * time.Second

// Platform keeps the states of channels.
type Platform struct {
	device  Device
	mu      sync.Mutex
	states  map[string]string    // guarded by mu
	invited map[string]time.Time // guarded by mu
}

// State returns the state of a channel.
func (p *Platform) State(channel string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.states[channel]
}

// mayInvite says whether to invite now. Several viewers may ask at once: one invites, all wait.
func (p *Platform) mayInvite(channel string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.states[channel] == Live || p.states[channel] == Inviting && time.Since(p.invited[channel]) < patience {
		return false
	}
	p.states[channel], p.invited[channel] = Inviting, time.Now()
	return true
}

// move changes the state of a channel that is in another.
func (p *Platform) move(channel, from, to string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.states[channel] == from {
		p.states[channel] = to
	}
}

// follow lets the states follow the publications, whoever sends: last unregister and end are states of the kit.
func (p *Platform) follow(c *receiver.Publication) {
	_, channel, ok := strings.Cut(c.Stream, "/rtp/")
	switch {
	case !ok:
	case c.State == receiver.Live:
		p.move(channel, Idle, Live)
		p.move(channel, Inviting, Live)
	case c.State == receiver.Closing || c.State == receiver.Ended:
		p.move(channel, Live, Idle) // who is being invited already waits for another publication
	}
}

// newPlatform returns the receiver of a platform, and what stops it.
func newPlatform(device Device, opts ...receiver.Option) (p *Platform, kit *receiver.Receiver, stop func(context.Context) error, err error) {
	p = &Platform{device: device, states: map[string]string{}, invited: map[string]time.Time{}}
	kit, err = receiver.New(append(opts,
		receiver.OnStreamNotFound(func(ctx context.Context, _ *receiver.Event, q *receiver.StreamNotFound) (shut bool, err error) {
			if q.App != "rtp" {
				return true, nil
			}
			if p.mayInvite(q.Stream) && p.device.Invite(ctx, q.Stream) != nil {
				p.move(q.Stream, Inviting, Idle)
				return true, nil // the viewer need not wait
			}
			return false, nil
		}),
		receiver.OnPublish(func(_ context.Context, _ *receiver.Event, q *receiver.Publish) (receiver.PublishDecision, error) {
			if q.App == "rtp" && p.State(q.Stream) == Idle {
				return receiver.RefusePublish("nobody invited it"), nil
			}
			return receiver.AllowPublish(receiver.PublishOptions{}), nil
		}),
		receiver.OnPlay(func(context.Context, *receiver.Event, *receiver.Play) (receiver.Decision, error) {
			return receiver.Allow(), nil
		}),
		receiver.OnStreamNoneReader(func(ctx context.Context, _ *receiver.Event, q *receiver.StreamNoneReader) (shut bool, err error) {
			if q.App != "rtp" {
				return false, nil
			}
			return true, p.device.Bye(ctx, q.Stream) // after an error the sender asks again
		}))...)
	if err != nil {
		return nil, nil, nil, err
	}
	_, changes, unwatch := kit.Watch(1 << 16) // a platform that is that far behind has other worries
	done := make(chan struct{})
	go func() {
		defer close(done)
		for c := range changes {
			p.follow(&c.Publication)
		}
	}()
	return p, kit, func(ctx context.Context) error {
		defer func() { <-done }()
		defer unwatch()
		return kit.Shutdown(ctx)
	}, nil
}

// stub only says what a device would be told.
type stub struct{}

func (stub) Invite(_ context.Context, channel string) error { return log.Output(1, "INVITE "+channel) }
func (stub) Bye(_ context.Context, channel string) error    { return log.Output(1, "BYE "+channel) }

func main() {
	var opts []receiver.Option
	if len(os.Args) > 1 && os.Args[1] == "zlmediakit" {
		opts = append(opts, receiver.WithZLMediaKit(receiver.ZLMediaKit{}))
	}
	_, kit, _, err := newPlatform(stub{}, opts...)
	if err == nil {
		err = (&http.Server{Addr: "127.0.0.1:9000", Handler: kit, ReadTimeout: patience}).ListenAndServe()
	}
	log.Fatal(err)
}
