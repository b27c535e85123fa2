package server

import (
	"net/http"
	"sync"
	"time"

	"github.com/hookline/hookline/internal/decision"
	"github.com/hookline/hookline/internal/delivery"
	"github.com/hookline/hookline/internal/httplive"
	"github.com/hookline/hookline/internal/journal"
	"github.com/hookline/hookline/internal/rtmp"
)

type web struct{ s *Server }

func newWeb(s *Server) *web { return &web{s} }

func (w *web) publish([]*journal.Record)           {}
func (w *web) deliveryObserver() delivery.Observer { return delivery.Observer{} }
func (w *web) decisionObserver() decision.Observer { return nil }
func (w *web) close()                              {}
func (w *web) server() *http.Server {
	return &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.s.live.ServeHTTP(rw, r)
	})}
}

type sessionList struct {
	mu sync.Mutex
	n  int
}

func newSessionList() *sessionList { return &sessionList{} }
func (l *sessionList) count() int  { return l.n }

type rtmpSessions struct{ *sessionList }

func (rtmpSessions) Add(rtmp.Session) func() { return func() {} }

type liveSessions struct{ *sessionList }

func (liveSessions) Add(httplive.Session) func() { return func() {} }
