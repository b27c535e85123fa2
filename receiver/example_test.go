package receiver_test

import (
	"bytes"
	"context"
	"fmt"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/receiver"
	"github.com/hookline/hookline/receiver/receivertest"
)

// An event that comes twice is handled once; one that comes after all is handled late.
func Example() {
	kit, err := receiver.New(
		receiver.OnStreamChanged(func(_ context.Context, e *receiver.Event, c *receiver.StreamChanged) error {
			fmt.Println(e.Seq, c.Stream, c.Schema, c.Regist, e.Late)
			return nil
		}),
		receiver.OnGap(func(_ context.Context, _ *receiver.Event, g *receiver.Gap) error {
			fmt.Println("missing", g.Missing.From, "to", g.Missing.To, g.Reason)
			return nil
		}),
	)
	if err != nil {
		fmt.Println(err)
		return
	}
	// In a program: http.Handle("/hooks", kit).
	sender := receivertest.New(kit)
	there, gone, back := sender.Register("live/a", "rtmp"), sender.Unregister("live/a", "rtmp"), sender.Register("live/a", "rtmp")
	sender.Send(there)
	sender.Send(there)
	sender.Send(sender.Lose(event.ReasonRefused, gone))
	sender.Send(back)
	sender.Send(receivertest.Late(gone))
	// Output:
	// 1 a rtmp true false
	// missing 2 to 2 refused
	// 3 a rtmp true false
	// 2 a rtmp false true
}

func ExampleOnPublish() {
	kit, err := receiver.New(receiver.OnPublish(
		func(_ context.Context, _ *receiver.Event, p *receiver.Publish) (receiver.PublishDecision, error) {
			if p.App != "live" {
				return receiver.RefusePublish("no such application"), nil
			}
			grace := 5000
			return receiver.AllowPublish(receiver.PublishOptions{ContinuePushMS: &grace}), nil
		}))
	if err != nil {
		fmt.Println(err)
		return
	}
	sender := receivertest.New(kit)
	for _, stream := range []string{"live/a", "test/a"} {
		fmt.Println(string(sender.Send(sender.Make(event.OnPublish, stream, nil)).Body))
	}
	// Output:
	// {"code":0,"msg":"success","continue_push_ms":5000}
	// {"code":-1,"msg":"no such application"}
}

func ExampleReceiver_Watch() {
	kit, err := receiver.New()
	if err != nil {
		fmt.Println(err)
		return
	}
	now, changes, stop := kit.Watch(100)
	defer stop()
	fmt.Println(len(now), "publications")
	sender := receivertest.New(kit)
	for _, e := range sender.Publication("live/a") {
		sender.Send(e)
		c := <-changes
		fmt.Printf("%s %s %v %q\n", c.Publication.Stream, c.Publication.State, c.Publication.Schemas, c.Publication.Reason)
	}
	// Output:
	// 0 publications
	// __defaultVhost__/live/a live [rtmp] ""
	// __defaultVhost__/live/a closing [] ""
	// __defaultVhost__/live/a ended [] "unpublish"
}

func ExampleReceiver_Reconcile() {
	kit, err := receiver.New()
	if err != nil {
		fmt.Println(err)
		return
	}
	// In a program: &receiver.API{URL: "http://127.0.0.1:8080", Secret: "…"}.
	sender := receivertest.New(kit)
	sender.Register("live/a", "rtmp") // never delivered
	repaired, err := kit.Reconcile(context.Background(), sender)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, c := range repaired {
		fmt.Println(c.Publication.Stream, c.Publication.State, c.Synthesised)
	}
	// Output:
	// __defaultVhost__/live/a live true
}

// A plain ZLMediaKit: the unregister overtakes the register, and a retry comes late.
func ExampleWithZLMediaKit() {
	kit, err := receiver.New(
		receiver.WithZLMediaKit(receiver.ZLMediaKit{LifeParam: "life"}),
		receiver.OnPublish(func(context.Context, *receiver.Event, *receiver.Publish) (receiver.PublishDecision, error) {
			return receiver.AllowPublish(receiver.PublishOptions{}), nil
		}),
		receiver.OnStreamChanged(func(_ context.Context, e *receiver.Event, c *receiver.StreamChanged) error {
			fmt.Println(e.HookIndex, c.Schema, c.Regist, e.Certainty)
			return nil
		}),
	)
	if err != nil {
		fmt.Println(err)
		return
	}
	zlm := receivertest.NewZLMediaKit(kit)
	zlm.Send(zlm.Publish("live/a", "life=7f3a"))
	there, gone := zlm.Changed("live/a", "rtmp", true), zlm.Changed("live/a", "rtmp", false)
	first, second := zlm.Attempt(there), zlm.Attempt(gone)
	second.At, first.At = 0, 10e6 // ns
	if _, err := receivertest.ReplayTrace(context.Background(), kit, []receivertest.Request{second, first}, 1); err != nil {
		fmt.Println(err)
	}
	zlm.Send(there) // a retry of what was handled
	p, _ := kit.Publication("zlm", "7f3a")
	fmt.Println(p.State, p.Reason, p.EndCertainty)
	// Output:
	// 1 rtmp true exact
	// 2 rtmp false exact
	// closing unregistered exact
}

// Requests to any receiver are written down and sent again.
func Example_record() {
	kit, err := receiver.New()
	if err != nil {
		fmt.Println(err)
		return
	}
	var file bytes.Buffer // in a program: a file
	recorder := receivertest.NewRecorder(kit, &file)
	sender := receivertest.New(recorder)
	sender.Send(sender.Register("live/a", "rtmp"))
	trace, err := receivertest.ReadTrace(&file)
	if err != nil {
		fmt.Println(err)
		return
	}
	answers, err := receivertest.ReplayTrace(context.Background(), kit, trace, 0)
	fmt.Println(len(trace), trace[0].Status, answers[0].Code, err, kit.Stats().Duplicates)
	// Output:
	// 1 200 0 <nil> 1
}
