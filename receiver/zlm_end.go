package receiver

import "time"

// certify says when the life ended and how sure that is.
func (l *life) certify() {
	p := &l.pub
	switch {
	case l.closing.IsZero():
		p.EndedAt, p.EndCertainty, p.Reason = time.Time{}, Exact, ""
		return
	case l.gone.IsZero() && !l.left.IsZero():
		p.EndedAt, p.EndCertainty = l.left, Inferred
		if l.grace == 0 && l.timed && !l.retold {
			p.EndCertainty = Exact
		}
	case !l.gone.IsZero() && !l.left.IsZero() && !l.named:
		l.agree()
	case !l.gone.IsZero():
		p.EndedAt, p.EndCertainty = l.gone, Inferred
		if l.named {
			p.EndCertainty = Exact
		}
	default:
		p.EndCertainty = Unknown
	}
	if p.Reason != ReasonUnregistered || p.EndCertainty == Unknown {
		p.Uncertain = true
	}
}

// agree compares the two signs of the end: the publisher's report and the first unregister. They come together, or the unregister
// when the grace has passed; or one of them came with its retry.
func (l *life) agree() {
	p, s := &l.pub, l.source
	after, slack := l.gone.Sub(l.left), together/2
	if l.retold {
		slack = together // a report says the seconds
	}
	about := func(d time.Duration) bool { return after-d > -slack && after-d < slack }
	long := s.timeout + s.retryDelay
	p.EndCertainty = Inferred
	switch {
	case l.grace == 0 && after > -2*together:
		p.EndedAt = l.left
		if after <= 0 && after > -together {
			p.EndedAt = l.gone
		}
		if l.timed && (!l.retold && after < 2*together || after.Abs() < together) {
			p.EndCertainty = Exact
		}
	case after <= -2*together:
		p.EndedAt = l.left
		if !l.shaky && (about(-s.retryDelay) || about(-long)) {
			p.EndedAt = l.gone
		}
	case l.relieved():
		p.EndedAt, p.Uncertain = l.gone, true
	case after < slack || about(l.grace):
		p.EndedAt = l.gone
		retried := about(s.retryDelay) || about(long)
		p.Uncertain = p.Uncertain || retried
		if l.timed && !retried {
			p.EndCertainty = Exact
		}
	case about(s.retryDelay) || about(long):
		p.EndedAt, p.Uncertain = l.left, true
	default:
		p.EndedAt, p.Uncertain = l.gone, true
	}
}

// relieved says that another publisher may have taken over before the end, of which no report came.
func (l *life) relieved() bool {
	for _, o := range l.source.sessions {
		if o.life == nil && o.inc == l.inc && o.stream == l.stream.key && o.params == l.params &&
			o.at.After(l.left) && o.at.Before(l.gone) && o.follows(l, l.left) {
			return true
		}
	}
	return false
}
