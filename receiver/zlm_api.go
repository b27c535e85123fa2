package receiver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/hookline/hookline/event"
)

// ZLMediaKitAPI is a [Snapshotter] that reads from a plain ZLMediaKit.
type ZLMediaKitAPI struct {
	// URL is the server's HTTP address: "http://127.0.0.1:8080".
	URL string
	// Secret is api.secret.
	Secret string
	// Source is general.mediaServerId; "" has it asked for with getServerConfig.
	Source string
	// Client is used for requests; nil: one with a time-out of ten seconds.
	Client *http.Client
}

// Snapshot implements [Snapshotter] with getMediaList.
func (a *ZLMediaKitAPI) Snapshot(ctx context.Context) (*Snapshot, error) {
	source := a.Source
	if source == "" {
		var config []map[string]json.RawMessage
		if err := a.get(ctx, "getServerConfig", &config); err != nil {
			return nil, err
		}
		if len(config) > 0 {
			source = ServerStarted(config[0]).Config("general.mediaServerId")
		}
		if source == "" {
			return nil, errors.New("receiver: getServerConfig names no general.mediaServerId")
		}
	}
	s := &Snapshot{Source: source, Asked: time.Now(), Media: []StreamChanged{}}
	if err := a.get(ctx, "getMediaList", &s.Media); err != nil {
		return nil, err
	}
	return s, nil
}

func (a *ZLMediaKitAPI) get(ctx context.Context, what string, data any) error {
	u := strings.TrimSuffix(a.URL, "/") + "/index/api/" + what
	body := strings.NewReader(url.Values{"secret": {a.Secret}}.Encode()) // not in the address, which is logged
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u, body)
	if err != nil {
		return fmt.Errorf("receiver: %w", err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	client := a.Client
	if client == nil {
		client = &http.Client{Timeout: 10 * time.Second}
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("receiver: %w", err)
	}
	defer resp.Body.Close()
	var answer struct {
		Code *int            `json:"code"`
		Msg  string          `json:"msg"`
		Data json.RawMessage `json:"data"`
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("receiver: %s answers %d", what, resp.StatusCode)
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&answer); err != nil {
		return fmt.Errorf("receiver: %s: %w", what, err)
	}
	if answer.Code == nil || *answer.Code != 0 {
		return fmt.Errorf("receiver: %s: refused: %s", what, answer.Msg)
	}
	if len(answer.Data) == 0 {
		return nil // a list without elements
	}
	if err := json.Unmarshal(answer.Data, data); err != nil {
		return fmt.Errorf("receiver: %s: %w", what, err)
	}
	return nil
}

// KeepReconciled calls [Receiver.Reconcile] at once, then every so often, and a second after something became uncertain, until ctx
// ends, whose error it returns. Snapshots that fail are logged. There should be one for each sender.
func (r *Receiver) KeepReconciled(ctx context.Context, from Snapshotter, every time.Duration) error {
	if every <= 0 {
		return errors.New("receiver: the interval must be positive")
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	var doubt chan struct{}
	if r.zlm != nil {
		c, stop := r.zlm.doubt()
		defer stop()
		doubt = c
	}
	for {
		if _, err := r.Reconcile(ctx, from); err != nil && ctx.Err() == nil {
			r.log.Warn("snapshot failed", "error", err)
		}
		select {
		case <-tick.C:
		case <-doubt:
			select {
			case <-time.After(time.Second): // what belongs to it comes as well
			case <-ctx.Done():
			}
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// reconcile compares the state with a list of what was live when it was asked for, or a little later, and repairs it.
func (z *zlm) reconcile(s *Snapshot) ([]Change, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	now := time.Now()
	src, err := z.source(s.Source)
	if err != nil {
		return nil, err
	}
	if src.inc == nil {
		z.newIncarnation(src, &hook{index: -1, arrived: now})
	}
	var out []Change
	there := map[*life]map[string]bool{}
	for i := range s.Media {
		m := &s.Media[i]
		if m.Schema == "" || m.Stream == "" {
			continue
		}
		l, change := z.listed(src, m, s.Asked, now)
		if there[l] == nil {
			there[l] = map[string]bool{}
		}
		there[l][m.Schema] = true
		if change != nil {
			out = append(out, *change)
		}
	}
	for _, st := range src.streams {
		for _, l := range st.lives {
			if c := z.unlisted(l, there[l], s.Asked); c != nil {
				out = append(out, *c)
			}
		}
	}
	return out, nil
}

// listed makes true what the list says is live.
func (z *zlm) listed(src *zlmSource, m *StreamChanged, asked, now time.Time) (*life, *Change) {
	st := src.stream(m.Vhost+"/"+m.App+"/"+m.Stream, now)
	alive := now.Add(-time.Duration(min(m.AliveSecond, 1<<31)) * time.Second)
	h := &hook{index: -1, order: -1, arrived: now, first: alive, source: src, stream: st, inc: src.inc, listed: true}
	l, _ := st.match(h, m)
	if l == nil {
		ident := ""
		if m.OriginSock != nil {
			ident = m.OriginSock.Identifier
		}
		l = z.begin(h, m.Params, ident, m.CreateStamp)
		z.attach(l, now)
	}
	o := l.outputs[m.Schema]
	if o != nil && o.reg && (!o.gone || o.at.After(asked)) && (!l.ended || l.changed.After(asked)) {
		l.pub.Readers = m.TotalReaderCount
		if m.OriginSock != nil && m.OriginSock.Identifier != "" && l.closing.IsZero() {
			z.join(l, m.OriginSock.Identifier) // a publisher that came back
		}
		return l, nil
	}
	if o != nil && o.gone && !o.at.After(asked) {
		o.gone = false // that unregister was of another life
	}
	if !l.closing.IsZero() && !l.changed.After(asked) {
		l.closing, l.ended, l.gone, l.left = time.Time{}, false, time.Time{}, time.Time{}
	}
	z.registered(l, h, m)
	c := z.show(l, nil, true)
	return l, &c
}

// unlisted ends what is not in the list: a life, or schemas of it.
func (z *zlm) unlisted(l *life, there map[string]bool, asked time.Time) *Change {
	if l.ended || l.born.After(asked) || l.changed.After(asked) && there == nil {
		return nil
	}
	missing := 0
	for _, s := range l.live() {
		if o := l.outputs[s]; !there[s] && !o.at.After(asked) {
			o.gone, o.at = true, asked
			missing++
		}
	}
	if len(l.live()) > 0 || there != nil {
		if missing == 0 {
			return nil
		}
		l.pub.Uncertain = true
		c := z.show(l, nil, true)
		return &c
	}
	if missing == 0 && !l.closing.IsZero() {
		return nil // it is closing by itself
	}
	c := z.end(l, ReasonReconciled, asked)
	return &c
}

// synthesise is the kind of a change that no event told.
func synthesise(s State) event.Type {
	if s == Ended {
		return event.OnPublicationEnded
	}
	return event.OnStreamChanged
}
