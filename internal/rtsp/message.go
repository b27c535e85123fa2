package rtsp

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// errProtocol: bytes that RFC 2326 does not allow, or more of them than is taken.
var errProtocol = errors.New("rtsp: protocol error")

const (
	maxLine    = 4 << 10
	maxHeaders = 64
	maxBody    = 64 << 10
)

// request is one RTSP request.
type request struct {
	method string
	url    string
	proto  string            // "RTSP/1.0"; of a tunnel "HTTP/1.1"
	header map[string]string // names in lower case; the first of several
	body   []byte
}

// readFrame reads an interleaved frame, whose '$' was peeked at, into buf.
func readFrame(r *bufio.Reader, buf []byte) (channel uint8, payload []byte, err error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	n := int(head[2])<<8 | int(head[3])
	if cap(buf) < n {
		buf = make([]byte, n)
	}
	buf = buf[:n]
	if _, err := io.ReadFull(r, buf); err != nil {
		return 0, nil, err
	}
	return head[1], buf, nil
}

// readRequest reads one request. Empty lines before it are passed over.
func readRequest(r *bufio.Reader) (*request, error) {
	var line string
	for range 8 {
		var err error
		if line, err = readLine(r); err != nil {
			return nil, err
		}
		if line != "" {
			break
		}
	}
	words := strings.Fields(line)
	if len(words) != 3 || !strings.Contains(words[2], "/") {
		return nil, fmt.Errorf("%w: request line %.40q", errProtocol, line)
	}
	q := &request{method: words[0], url: words[1], proto: words[2], header: map[string]string{}}
	for n := 0; ; n++ {
		line, err := readLine(r)
		if err != nil {
			return nil, err
		}
		if line == "" {
			break
		}
		if n == maxHeaders {
			return nil, fmt.Errorf("%w: more than %d headers", errProtocol, maxHeaders)
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		name = strings.ToLower(strings.TrimSpace(name))
		if _, there := q.header[name]; !there {
			q.header[name] = strings.TrimSpace(value)
		}
	}
	return q, q.readBody(r)
}

func (q *request) readBody(r *bufio.Reader) error {
	v := q.header["content-length"]
	if v == "" || !strings.HasPrefix(q.proto, "RTSP/") { // the body of a tunnel never ends
		return nil
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 0 || n > maxBody {
		return fmt.Errorf("%w: Content-Length %.20q", errProtocol, v)
	}
	q.body = make([]byte, n)
	if _, err := io.ReadFull(r, q.body); err != nil {
		return err
	}
	return nil
}

// readLine reads one line without its end.
func readLine(r *bufio.Reader) (string, error) {
	b, err := r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) || len(b) > maxLine {
		return "", fmt.Errorf("%w: a line of more than %d bytes", errProtocol, maxLine)
	}
	if err != nil {
		return "", err
	}
	return strings.TrimRight(string(b), "\r\n"), nil
}

// reply is an answer to a request.
type reply struct {
	status int
	header []string // name, value, name, value
	body   string
}

// reasons are the phrases of RFC 2326 section 7.1.1.
func reason(status int) string {
	switch status {
	case 200:
		return "OK"
	case 400:
		return "Bad Request"
	case 401:
		return "Unauthorized"
	case 404:
		return "Stream Not Found"
	case 405:
		return "Method Not Allowed"
	case 406:
		return "Not Acceptable"
	case 415:
		return "Unsupported Media Type"
	case 454:
		return "Session Not Found"
	case 455:
		return "Method Not Valid in This State"
	case 457:
		return "Invalid Range"
	case 459:
		return "Aggregate Operation Not Allowed"
	case 461:
		return "Unsupported Transport"
	case 501:
		return "Not Implemented"
	case 503:
		return "Service Unavailable"
	default:
		return "Internal Server Error"
	}
}

// appendTo appends the reply to q.
func (p *reply) appendTo(dst []byte, q *request, session string) []byte {
	dst = fmt.Appendf(dst, "RTSP/1.0 %d %s\r\n", p.status, reason(p.status))
	if c := q.header["cseq"]; c != "" {
		dst = fmt.Appendf(dst, "CSeq: %.32s\r\n", c)
	}
	dst = append(dst, "Server: Hookline\r\n"...)
	if session != "" {
		dst = fmt.Appendf(dst, "Session: %s\r\n", session)
	}
	for i := 0; i+1 < len(p.header); i += 2 {
		dst = fmt.Appendf(dst, "%s: %s\r\n", p.header[i], oneLine(p.header[i+1]))
	}
	if p.body != "" {
		dst = fmt.Appendf(dst, "Content-Length: %d\r\n", len(p.body))
	}
	return append(append(dst, "\r\n"...), p.body...)
}

// oneLine keeps what comes from others inside its header.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 && r != '\t' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}
