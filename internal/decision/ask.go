package decision

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/attempts"
	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/stream"
	"github.com/hookline/hookline/internal/webhook"
)

// common are the members that every body has beside the hook's own.
type common struct {
	HookIndex     uint64         `json:"hook_index"`
	MediaServerID string         `json:"mediaServerId"`
	Event         event.Envelope `json:"event"`
}

type publishBody struct {
	stream.PublishQuestion
	common
}

type playBody struct {
	stream.PlayQuestion
	common
}

// question is one decision to be asked.
type question struct {
	hook    event.Type
	key     string  // of the stream; "" for the server itself
	vhost   string  // for the header; "": none
	share   string  // who shares a part of the room with it; "": the key
	slots   *slots  // the room that it takes; nil: that of all
	refusal string  // why not, without a URL; "": it is allowed
	body    any     // the JSON object, which holds *common
	common  *common // filled in by stamp
	barrier bool
}

// answer is what came of a question. body is nil unless the receiver answered code 0.
type answer struct {
	outcome fact.Outcome
	body    []byte
}

// ask decides within the deadline of cfg.
func (s *Service) ask(ctx context.Context, cfg *Config, q question) answer {
	start := time.Now()
	url := cfg.URLs[q.hook]
	var a answer
	if !cfg.Enable || url == "" {
		a.outcome = fact.Outcome{Allowed: q.hook != event.OnStreamNotFound && q.refusal == "", By: ByDefault, Message: q.refusal}
	} else {
		limited, cancel := context.WithTimeout(ctx, cfg.deadline())
		a = s.askHook(limited, cfg, url, q)
		cancel()
	}
	took := time.Since(start)
	a.outcome.DurationMS = took.Milliseconds()
	if s.deps.Observer != nil {
		s.deps.Observer.DecisionDone(Decision{
			Type: q.hook, Key: q.key, Start: start, Took: took, Outcome: a.outcome,
		})
	}
	return a
}

// askHook stamps the question, lets earlier events of the key arrive first, waits for room and sends.
func (s *Service) askHook(ctx context.Context, cfg *Config, url string, q question) answer {
	body, err := s.stamp(q.key, q)
	if err != nil {
		return failed(q, 0, err)
	}
	if q.barrier && s.deps.Barrier != nil {
		s.deps.Barrier.WaitAccepted(ctx, q.key, *q.common.Event.After, barrierTime)
	}
	room := s.slots
	if q.slots != nil {
		room = q.slots
	}
	release, err := room.acquire(ctx, cmp.Or(q.share, q.key))
	if err != nil {
		return failed(q, 0, fmt.Errorf("%w: %w", errNoRoom, ended(ctx)))
	}
	defer release()
	header := http.Header{}
	if q.vhost != "" {
		header["X-VHOST"] = []string{q.vhost}
	}
	return s.attempts(ctx, cfg, q, webhook.Request{
		URL:     url,
		Header:  header,
		Body:    body,
		Timeout: cfg.Timeout,
		Meta: webhook.Meta{
			Endpoint: s.deps.Endpoint, Stream: q.key, ID: q.common.Event.ID, Type: string(q.hook),
			Epoch: q.common.Event.Epoch,
		},
	})
}

var (
	errNoRoom = errors.New("no room among the decisions under way")
	errLeft   = errors.New("the client left")
	errLate   = errors.New("no answer within the deadline")
)

// ended says why ctx ended: its own deadline, or the caller's reason.
func ended(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return errLate
	}
	return errLeft
}

func (s *Service) stamp(key string, q question) ([]byte, error) {
	id, index, after, at := s.deps.Sequence.Stamp(key)
	source, incarnation, epoch := s.deps.Sequence.Identity()
	*q.common = common{
		HookIndex:     index,
		MediaServerID: source,
		Event: event.Envelope{
			ID: id, Type: q.hook, Source: source, Incarnation: incarnation, Epoch: epoch, Stream: key,
			After: &after, Time: at.UTC(),
		},
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(q.body); err != nil {
		return nil, fmt.Errorf("encode the question: %w", err)
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}

// attempts sends until there is an integral code, the attempts are used up, or ctx ends.
func (s *Service) attempts(ctx context.Context, cfg *Config, q question, r webhook.Request) answer {
	for n := 1; ; n++ {
		if cfg.Signer != nil { // with the time of the attempt
			if err := cfg.Signer.Headers(r.Header, q.common.Event.ID, time.Now(), r.Body); err != nil {
				return failed(q, n, err)
			}
		}
		at := time.Now()
		r.Meta.Attempt = n
		reply := s.deps.Sender.Send(ctx, r)
		class, code, msg := webhook.Classify(reply)
		if class != webhook.Accepted {
			msg = attempts.Masked(msg)
		}
		if s.deps.Observer != nil {
			s.deps.Observer.AttemptDone(s.observed(&r, class, attempts.Attempt{
				Type: q.hook, N: n, At: at, Latency: reply.Latency, Status: reply.Status, Code: code, Err: msg,
				Answer: reply.Body,
			}))
		}
		if class == webhook.Accepted {
			return answered(q, n, code, msg, reply.Body)
		}
		if ctx.Err() == nil && n > cfg.Retry {
			return failed(q, n, errors.New(msg))
		}
		// 410 is retried like any other status here: nobody is asked instead, and the client is waiting.
		if ctx.Err() != nil || !sleep(ctx, cfg.RetryDelay) {
			return failed(q, n, fmt.Errorf("%w; last attempt: %s", ended(ctx), msg))
		}
	}
}

// observed completes an attempt for the observer.
func (s *Service) observed(r *webhook.Request, class webhook.Class, a attempts.Attempt) attempts.Attempt {
	a.Endpoint, a.URL, a.Key, a.ID = s.deps.Endpoint, attempts.ShownURL(r.URL), r.Meta.Stream, r.Meta.ID
	switch {
	case class == webhook.Accepted && a.Code != 0:
		a.Result = attempts.Refused
	case class == webhook.Accepted:
		a.Result, a.Err = attempts.Accepted, ""
	case class == webhook.Rejected:
		a.Result = attempts.Rejected
	case class == webhook.Gone:
		a.Result = attempts.Gone
	default:
		a.Result = attempts.Retry
	}
	return a
}

// sleep returns false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func answered(q question, attempts, code int, msg string, body []byte) answer {
	allowed, message := verdict(q.hook, code, msg, body)
	a := answer{outcome: fact.Outcome{
		Allowed: allowed, By: ByHook, Message: message, RequestID: q.common.Event.ID, Attempts: attempts,
	}}
	if code == 0 {
		a.body = body
	}
	return a
}

// failed is the outcome of a question without an answer: not allowed, and for on_stream_not_found not closed.
func failed(q question, attempts int, err error) answer {
	return answer{outcome: fact.Outcome{
		By: ByFailed, Message: string(q.hook) + ": " + err.Error(), RequestID: q.common.Event.ID, Attempts: attempts,
	}}
}

// refusal is the text that the refused client may see.
func refusal(code int, msg string) string {
	if msg == "" {
		return "refused with code " + strconv.Itoa(code)
	}
	return msg
}
