package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// attempt is one request to a receiver.
type attempt struct {
	At        time.Time
	Number    int
	Result    string
	URL       string
	Status    int
	Code      int
	Error     string
	LatencyMS float64
	Answer    string
	Batch     int
	Replay    string
	Late      bool
}

// print prints a line, and what there is to say of a failure below.
func (a *attempt) print(out io.Writer, endpoint string) {
	status, extra := "-", ""
	if a.Status != 0 {
		status = fmt.Sprint(a.Status)
	}
	if a.Code != 0 {
		extra += fmt.Sprint(" code ", a.Code)
	}
	if a.Batch > 1 {
		extra += fmt.Sprint(" in a batch of ", a.Batch)
	}
	if a.Replay != "" {
		extra += " replay " + oneLine(a.Replay)
	}
	if a.Late {
		extra += " late"
	}
	if a.Error != "" {
		extra += " " + oneLine(a.Error)
	}
	fmt.Fprintf(out, "%s   -> %-16s #%-3d %-9s %3s %9.1f ms%s\n", a.At.Local().Format("15:04:05.000"), oneLine(endpoint), a.Number,
		a.Result, status, a.LatencyMS, extra)
	if a.Result != "accepted" && a.Answer != "" {
		fmt.Fprintf(out, "                 %s\n", shorten(oneLine(a.Answer), 200))
	}
}

// shorten cuts a line.
func shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "..."
}
