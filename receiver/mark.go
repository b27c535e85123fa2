package receiver

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/hookline/hookline/event"
)

// MaxRanges is the largest number of ranges in [Mark.Unseen]. Beyond it the lowest are forgotten, and an event in them that
// comes after all counts as a duplicate; [Stats.Forgotten] counts them.
const MaxRanges = 256

// Key names what has a mark.
type Key struct {
	// Source is the mediaServerId of the sender.
	Source string
	// Stream is the stream key; "" for events of the server itself.
	Stream string
	// Replay is the id of a replay, "" for live events. The marks of a replay are of no use when it is over.
	Replay string
}

// Digest returns 64 hexadecimal digits that name k in a [Store]: no other key has the same. Databases differ in the lengths,
// the case and the bytes that they take in a key.
func (k Key) Digest() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %d %s%s%s", len(k.Source), len(k.Stream), k.Source, k.Stream, k.Replay)) // lengths keep parts apart
	return hex.EncodeToString(sum[:])
}

// Range is a run of seqs, both ends included.
type Range struct{ From, To uint64 }

// Mark says what was handled of a stream. The zero Mark says that nothing is known.
type Mark struct {
	// Epoch is the epoch that Seq and Unseen belong to; 0 when nothing is known.
	Epoch int64
	// Seq is the highest seq that was handled or is known to be missing.
	Seq uint64
	// Unseen are the runs at or below Seq that were never handled and may come yet: ascending, not touching.
	Unseen []Range
	// Recent are the ids of the newest events of a stream of plain ZLMediaKit that were handled, at most [MaxRecent], oldest first.
	Recent []uint64
	// Heard is when something of the stream came last, in Unix seconds, up to an hour early; 0: not known. [Receiver.Prune] goes by it.
	Heard int64
}

// IsZero says that nothing is known.
func (m Mark) IsZero() bool {
	return m.Epoch == 0 && m.Seq == 0 && m.Heard == 0 && len(m.Unseen) == 0 && len(m.Recent) == 0
}

// MaxRecent is the largest number of ids in [Mark.Recent].
const MaxRecent = 64

const markVersion = "1"

// ErrBadMark is wrapped by the errors of [ParseMark].
var ErrBadMark = errors.New("receiver: bad mark")

// String returns the text that stores keep: the version, the epoch, the seq, the unseen runs, and the recent ids in base 36
// behind "@", and the time that something was heard behind "t", separated by spaces.
func (m Mark) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %d %d", markVersion, m.Epoch, m.Seq)
	for _, r := range m.Unseen {
		fmt.Fprintf(&b, " %d-%d", r.From, r.To)
	}
	for _, id := range m.Recent {
		b.WriteString(" @")
		b.WriteString(strconv.FormatUint(id, 36))
	}
	if m.Heard != 0 {
		b.WriteString(" t")
		b.WriteString(strconv.FormatInt(m.Heard, 10))
	}
	return b.String()
}

// ParseMark reads what [Mark.String] wrote; "" is the zero Mark.
func ParseMark(s string) (Mark, error) {
	if s == "" {
		return Mark{}, nil
	}
	f := strings.Split(s, " ")
	if len(f) < 3 || f[0] != markVersion || len(f)-3 > MaxRanges+MaxRecent+1 {
		return Mark{}, fmt.Errorf("%w: not of version %s, or too long", ErrBadMark, markVersion)
	}
	var m Mark
	var err1, err2 error
	m.Epoch, err1 = strconv.ParseInt(f[1], 10, 64)
	m.Seq, err2 = strconv.ParseUint(f[2], 10, 64)
	if err1 != nil || err2 != nil || m.Epoch < 0 || m.Seq > maxSeq {
		return Mark{}, fmt.Errorf("%w: epoch or seq", ErrBadMark)
	}
	f = f[3:]
	if n := len(f); n > 0 && strings.HasPrefix(f[n-1], "t") {
		var err error
		if m.Heard, err = strconv.ParseInt(f[n-1][1:], 10, 64); err != nil || m.Heard <= 0 {
			return Mark{}, fmt.Errorf("%w: the time", ErrBadMark)
		}
		f = f[:n-1]
	}
	low := uint64(1)
	for _, t := range f {
		if id, ok := strings.CutPrefix(t, "@"); ok {
			n, err := strconv.ParseUint(id, 36, 64)
			if err != nil || len(m.Recent) == MaxRecent {
				return Mark{}, fmt.Errorf("%w: a recent id", ErrBadMark)
			}
			m.Recent = append(m.Recent, n)
			continue
		}
		a, b, _ := strings.Cut(t, "-")
		from, err1 := strconv.ParseUint(a, 10, 64)
		to, err2 := strconv.ParseUint(b, 10, 64)
		if err1 != nil || err2 != nil || m.Recent != nil || len(m.Unseen) == MaxRanges || from < low || to < from || to > m.Seq {
			return Mark{}, fmt.Errorf("%w: a run", ErrBadMark)
		}
		low = to + 2
		m.Unseen = append(m.Unseen, Range{from, to})
	}
	return m, nil
}

// action is what is to be done with an event.
type action uint8

const (
	apply     action = iota // handle it
	applyLate               // handle it: it is below the mark and was never handled
	moveOnly                // a gap notice: nothing to handle but its gap
	duplicate               // it was handled
	obsolete                // of an epoch that is over
)

// step is what an event does to a mark.
type step struct {
	next   Mark
	act    action
	fresh  bool // the first event of the stream, or of its epoch
	reset  bool // a higher epoch
	gaps   []Gap
	missed Range // what prev says is missing, From 0: nothing
	forgot uint64
}

// advance decides about an event. It changes neither m nor e.
func (m Mark) advance(e *event.Envelope, named []event.Gap) step {
	s := step{next: Mark{Epoch: m.Epoch, Seq: m.Seq, Unseen: slices.Clone(m.Unseen), Recent: m.Recent}}
	if e.Epoch < m.Epoch {
		s.act = obsolete
		return s
	}
	if m.Epoch == 0 || e.Epoch > m.Epoch {
		s.fresh, s.reset = true, m.Epoch != 0
		s.next = Mark{Epoch: e.Epoch}
	}
	for _, g := range named {
		if g.To <= s.next.Seq || g.From > g.To {
			continue // known, or handled although the sender never got to know
		}
		told := Gap{Gap: g, Missing: Range{max(g.From, s.next.Seq+1), g.To}}
		if from := s.next.Seq + 1; from < g.From && !s.fresh {
			told.Before = Range{from, g.From - 1}
		}
		s.skip(g.To)
		s.gaps = append(s.gaps, told)
	}
	if e.Seq == 0 {
		s.act = moveOnly
		return s
	}
	if e.Seq <= s.next.Seq {
		s.act = duplicate
		if s.next.take(e.Seq) {
			s.act = applyLate
			s.trim()
		}
		return s
	}
	if e.Late {
		// Its gap never came here: this store is new. What is below was not handled by it either.
		s.skip(e.Seq - 1)
		s.next.Seq, s.act = e.Seq, applyLate
		return s
	}
	if e.Prev != nil && *e.Prev > s.next.Seq && *e.Prev < e.Seq {
		if !s.fresh {
			s.missed = Range{s.next.Seq + 1, *e.Prev}
		}
		s.skip(*e.Prev)
	}
	s.next.Seq = e.Seq
	return s
}

// tellMissed puts what prev says is missing among the gaps.
func (s *step) tellMissed() {
	if s.missed.From != 0 {
		s.gaps = append(s.gaps, Gap{
			Gap: event.Gap{From: s.missed.From, To: s.missed.To, Reason: ReasonMissed}, Missing: s.missed,
		})
	}
}

// unclear returns what should be fetched before the step is done; From 0: nothing.
func (s *step) unclear() Range {
	if len(s.gaps) > 0 && s.gaps[0].Before.From != 0 {
		return s.gaps[0].Before
	}
	if len(s.gaps) > 0 {
		return Range{} // the sender names it; what lies behind comes with the next event
	}
	return s.missed
}

// skip moves the mark to seq over what was not handled.
func (s *step) skip(seq uint64) {
	m := &s.next
	if seq <= m.Seq {
		return
	}
	if n := len(m.Unseen); n > 0 && m.Unseen[n-1].To == m.Seq {
		m.Unseen[n-1].To = seq
	} else {
		m.Unseen = append(m.Unseen, Range{m.Seq + 1, seq})
	}
	m.Seq = seq
	s.trim()
}

func (s *step) trim() {
	if over := len(s.next.Unseen) - MaxRanges; over > 0 {
		s.next.Unseen = slices.Delete(s.next.Unseen, 0, over)
		s.forgot += uint64(over)
	}
}

// take removes seq from the unseen runs and says whether it was in one.
func (m *Mark) take(seq uint64) bool {
	i, found := slices.BinarySearchFunc(m.Unseen, seq, func(r Range, seq uint64) int {
		switch {
		case r.To < seq:
			return -1
		case r.From > seq:
			return 1
		}
		return 0
	})
	if !found {
		return false
	}
	r := m.Unseen[i]
	var rest []Range
	if r.From < seq {
		rest = append(rest, Range{r.From, seq - 1})
	}
	if r.To > seq {
		rest = append(rest, Range{seq + 1, r.To})
	}
	m.Unseen = slices.Replace(m.Unseen, i, i+1, rest...)
	return true
}
