package api

import (
	"errors"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// restartDelay is the time between the answer to restartServer and the restart.
const restartDelay = time.Second

func getServerConfig(c *call) (any, error) {
	return answer{"code": CodeSuccess, "data": []map[string]string{c.api.deps.Config.All()}}, nil
}

func setServerConfig(c *call) (any, error) {
	changed, err := c.api.deps.Config.Set(c.dotted())
	if err != nil && changed == 0 {
		return nil, errors.Join(&callError{CodeOtherFailed, err.Error()}, err)
	}
	m := answer{"code": CodeSuccess, "changed": changed}
	if err != nil { // in effect, so it is a success; but not one to keep quiet about
		m["msg"] = err.Error()
		c.api.log.WarnContext(c.r.Context(), "configuration changed but not saved", "err", err)
	}
	return m, nil
}

func getAPIList(c *call) (any, error) {
	return answer{"code": CodeSuccess, "data": c.api.names}, nil
}

func version(c *call) (any, error) {
	return answer{"code": CodeSuccess, "data": c.api.deps.Version}, nil
}

// getStatistic counts what Hookline has; ZLMediaKit's counters of its own memory objects are 0.
func getStatistic(c *call) (any, error) {
	st := c.api.deps.Hub.Stats()
	tcp, udp := 0, 0
	for _, s := range c.api.deps.Sessions.List() {
		if s.Type == "udp" {
			udp++
		} else {
			tcp++
		}
	}
	listeners := 0
	if c.api.deps.Listeners != nil {
		listeners = c.api.deps.Listeners()
	}
	return answer{"code": CodeSuccess, "data": map[string]int{
		"MediaSource": st.Sources, "MultiMediaSourceMuxer": st.Publications,
		"TcpServer": listeners, "TcpSession": tcp, "UdpServer": 0, "UdpSession": udp, "TcpClient": 0,
		"Socket": listeners + tcp + udp, "FrameImp": 0, "Frame": 0, "Buffer": 0, "BufferRaw": 0,
		"BufferLikeString": 0, "BufferList": 0, "RtpPacket": 0, "RtmpPacket": 0,
	}}, nil
}

// threadLoad is one element of getThreadsLoad.
type threadLoad struct {
	Name    string `json:"name"`
	Load    int    `json:"load"`  // percent
	Delay   int    `json:"delay"` // ms
	FDCount int    `json:"fd_count"`
}

// getThreadsLoad shows one entry for each processor that Go may use. Go has no thread of its own for a connection, so
// the load of the process and its sessions are shared out evenly.
func getThreadsLoad(name string) func(*call) (any, error) {
	return func(c *call) (any, error) {
		procs := runtime.GOMAXPROCS(0)
		load := c.api.load.percent(time.Now(), procs)
		sessions := len(c.api.deps.Sessions.List())
		list := make([]threadLoad, procs)
		for i := range list {
			list[i] = threadLoad{
				Name: name + " " + strconv.Itoa(i), Load: load, FDCount: (sessions + procs - 1 - i) / procs,
			}
		}
		return listed(list), nil
	}
}

func restartServer(c *call) (any, error) {
	a := c.api
	if a.deps.Restart == nil {
		return nil, &callError{CodeOtherFailed, "restart is not possible"}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.closed && a.restart == nil {
		a.log.WarnContext(c.r.Context(), "restart asked for by api", "peer", c.r.RemoteAddr)
		a.restart = time.AfterFunc(restartDelay, a.deps.Restart)
	}
	return answer{"code": CodeSuccess, "msg": "the server leaves in one second"}, nil
}

func logIn(c *call) (any, error) {
	if c.api.strikes.out(ClientAddr(c.r, c.settings.ForwardedIPHeader), time.Now()) {
		return nil, &callError{CodeAuthFailed, "Too many wrong secrets from this address; wait a few seconds"}
	}
	challenge := cookieOf(c.r, cookieChallenge)
	want := digest(c.settings.Secret, challenge)
	if c.settings.Secret == "" || !c.api.logins.issued(challenge) || !same(strings.ToLower(c.text("digest")), want) {
		c.api.strikes.add(ClientAddr(c.r, c.settings.ForwardedIPHeader), time.Now())
		return nil, &callError{CodeAuthFailed, "Please login first"}
	}
	setCookie(c.w, c.r, cookieLogin, c.api.logins.begin(c.settings.Secret), loginLife)
	return answer{"code": CodeSuccess}, nil
}

func logOut(c *call) (any, error) {
	cookie := cookieOf(c.r, cookieLogin)
	c.api.logins.end(cookie)
	setCookie(c.w, c.r, cookieLogin, "", -time.Second)
	return answer{"code": CodeSuccess, "cookie": cookie}, nil
}

func getAllSession(c *call) (any, error) {
	return listed(c.api.deps.Sessions.matching(c.text("peer_ip"), c.integer("local_port"))), nil
}

func kickSession(c *call) (any, error) {
	id := c.text("id")
	if id == callerID(c.r) { // the answer goes out first
		c.w.Header().Set("Connection", "close")
		return answer{"code": CodeSuccess}, nil
	}
	if !c.api.deps.Sessions.Kick(id) {
		return nil, &callError{CodeOtherFailed, "can not find the target"}
	}
	return answer{"code": CodeSuccess}, nil
}

func kickSessions(c *call) (any, error) {
	hit, self := 0, callerID(c.r)
	for _, s := range c.api.deps.Sessions.matching(c.text("peer_ip"), c.integer("local_port")) {
		if s.ID != self && c.api.deps.Sessions.Kick(s.ID) {
			hit++
		}
	}
	return answer{"code": CodeSuccess, "count_hit": hit}, nil
}

// ConnectionID returns the session id of the connection on which r came, "" when it is not listed.
func ConnectionID(r *http.Request) string { return callerID(r) }

func callerID(r *http.Request) string {
	if c, ok := r.Context().Value(connKey{}).(*tracked); ok {
		return c.id
	}
	return ""
}
